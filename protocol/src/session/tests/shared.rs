//! A requester hears that others need a stage, too.

use std::time::Duration;

use super::half::peer;
use super::requester::{opened, ring, session};
use crate::session::{Session, SessionEvent, SessionOutput};
use crate::stage::SHARED_EVERY;
use crate::wire::{Control, KeepAlive};
use crate::world::LAYERS;
use crate::{PlanEpoch, SessionId};

const ID: SessionId = SessionId(1);

/// How often that is told of what came.
fn told(session: &mut Session) -> usize {
    let outputs = std::iter::from_fn(|| session.poll_output());
    let shared = |output: &SessionOutput| {
        matches!(output, SessionOutput::Event(SessionEvent::Shared { .. }))
    };
    outputs.filter(shared).count()
}

#[test]
fn however_often_stages_say_that_they_are_shared_it_is_told_now_and_then() {
    let mut session = session(ID, 0);
    let placed = session.place(Duration::ZERO, ring(&[(1, 6), (2, LAYERS)]));
    placed.expect("valid");
    for node in [1, 2] {
        session.handle_control(Duration::ZERO, peer(node), opened(ID, 1));
    }
    let alive = |shared| -> Control {
        KeepAlive {
            session: ID,
            epoch: PlanEpoch(1),
            next_position: 0,
            shared,
        }
        .into()
    };
    session.handle_control(Duration::ZERO, peer(1), alive(false));
    assert_eq!(told(&mut session), 0);
    for node in [1, 2].repeat(500) {
        session.handle_control(Duration::ZERO, peer(node), alive(true));
    }
    assert_eq!(told(&mut session), 1);
    session.handle_control(SHARED_EVERY, peer(2), alive(true));
    assert_eq!(told(&mut session), 1);
}
