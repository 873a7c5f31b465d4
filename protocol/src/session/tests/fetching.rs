//! What stages say of the weights that they fetch.

use std::time::Duration;

use super::half::peer;
use super::requester::{opened, ring, session};
use crate::session::{Cause, Session, SessionEvent, SessionOutput};
use crate::wire::{Control, StageFetching, StageRefused, StageRefusedCode};
use crate::world::LAYERS;
use crate::{PlanEpoch, SessionId};

const ID: SessionId = SessionId(1);
const NOW: Duration = Duration::from_secs(1);

/// Two stages that open, on the nodes 1 and 2, in epoch 1.
fn opening() -> Session {
    let mut session = session(ID, 0);
    place(&mut session);
    session
}

fn place(session: &mut Session) {
    let placed = session.place(NOW, ring(&[(1, 6), (2, LAYERS)]));
    placed.expect("valid");
    while session.poll_output().is_some() {}
}

fn fetching(epoch: u32, received_bytes: u64) -> Control {
    StageFetching {
        session: ID,
        epoch: PlanEpoch(epoch),
        received_bytes,
        total_bytes: 80_000_000,
    }
    .into()
}

/// What is told when a node says this.
fn told(session: &mut Session, from: usize, message: Control) -> Vec<SessionOutput> {
    session.handle_control(NOW, peer(from), message);
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn told_of(from: usize, received_bytes: u64) -> Vec<SessionOutput> {
    vec![SessionOutput::Event(SessionEvent::Fetching {
        peer: peer(from),
        received_bytes,
        total_bytes: 80_000_000,
    })]
}

#[test]
fn how_far_an_opening_stage_is_is_told_until_it_is_open() {
    let mut session = opening();
    assert_eq!(told(&mut session, 1, fetching(1, 0)), told_of(1, 0));
    let some = 12_000_000;
    assert_eq!(told(&mut session, 1, fetching(1, some)), told_of(1, some));
    // The other counts for itself.
    assert_eq!(told(&mut session, 2, fetching(1, some)), told_of(2, some));
    // Twice, or back, is nothing new.
    assert_eq!(told(&mut session, 1, fetching(1, some)), []);
    assert_eq!(told(&mut session, 1, fetching(1, 0)), []);
    // One that is open has all.
    assert_eq!(told(&mut session, 1, opened(ID, 1)), []);
    assert_eq!(told(&mut session, 1, fetching(1, 2 * some)), []);
    assert_eq!(
        told(&mut session, 2, opened(ID, 1)),
        [SessionOutput::Opened { from: 0 }]
    );
    assert_eq!(told(&mut session, 2, fetching(1, 2 * some)), []);
}

#[test]
fn strangers_and_other_epochs_tell_nothing() {
    let mut session = opening();
    place(&mut session);
    for (from, epoch) in [(3, 2), (0, 2), (1, 0), (1, 1), (1, 3), (1, u32::MAX)] {
        assert_eq!(told(&mut session, from, fetching(epoch, 9)), []);
    }
    assert_eq!(told(&mut session, 1, fetching(2, 9)), told_of(1, 9));
    // A placement that broke has no stages.
    let refused = StageRefused {
        session: ID,
        epoch: PlanEpoch(2),
        code: StageRefusedCode::NoWeights,
        words: "nobody has them".to_owned(),
        available_bytes: 0,
    };
    let broken = told(&mut session, 2, refused.into());
    assert!(matches!(
        broken[..],
        [SessionOutput::Event(SessionEvent::Broken {
            cause: Cause::Refused { .. },
            ..
        })]
    ));
    assert_eq!(told(&mut session, 1, fetching(2, 80_000_000)), []);
    // The next one counts anew.
    place(&mut session);
    assert_eq!(told(&mut session, 1, fetching(3, 9)), told_of(1, 9));
}

#[test]
fn whoever_says_much_is_told_of_a_thousand_times_at_most() {
    let mut session = opening();
    let mut count = 0;
    for received in 0..200_000 {
        count += told(&mut session, 1, fetching(1, 400 * received)).len();
        // Another total does not begin anew.
        let other = StageFetching {
            session: ID,
            epoch: PlanEpoch(1),
            received_bytes: 1,
            total_bytes: 1 + received,
        };
        count += told(&mut session, 1, other.into()).len();
    }
    assert!(count > 0 && count <= 1_001, "{count}");
}
