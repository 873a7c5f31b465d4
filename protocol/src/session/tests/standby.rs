//! Devices that hold layers for a placement to come.

use std::time::Duration;

use super::half::peer;
use super::requester::{opened, ring, session};
use crate::session::{Session, SessionOutput};
use crate::wire::{Control, StageRefused, StageRefusedCode};
use crate::world::LAYERS;
use crate::{PlanEpoch, SessionId};

const ID: SessionId = SessionId(1);
const NOW: Duration = Duration::from_secs(1);

/// Messages to a node.
fn sent_to(session: &mut Session, node: usize) -> Vec<Control> {
    let outputs = std::iter::from_fn(|| session.poll_output());
    let to_node = outputs.filter_map(|output| match output {
        SessionOutput::Send(to, message) if to == peer(node) => Some(message),
        _ => None,
    });
    to_node.collect()
}

/// The stages on the nodes 1 and 2 open in this epoch, and the node 3 is to stand by.
fn place(session: &mut Session, epoch: u32) {
    let placed = session.place(NOW, ring(&[(1, 6), (2, LAYERS)]));
    placed.expect("valid");
    for node in [1, 2] {
        session.handle_control(NOW, peer(node), opened(ID, epoch));
    }
    assert!(session.is_running());
    session.stand_by(&ring(&[(3, 6)]));
}

#[test]
fn who_stood_by_and_does_not_any_more_is_told_to_free_what_it_has() {
    let mut session = session(ID, 0);
    place(&mut session, 1);
    let first = sent_to(&mut session, 3);
    assert!(
        matches!(first[..], [.., Control::OpenStage(_)]),
        "{first:?}"
    );
    place(&mut session, 2);
    let second = sent_to(&mut session, 3);
    assert!(matches!(second[..], [Control::OpenStage(_)]), "{second:?}");
    // Its owner needs it now; what it has is of the first placement.
    let refused = StageRefused {
        session: ID,
        epoch: PlanEpoch(2),
        code: StageRefusedCode::Unwilling,
        words: "my owner first".to_owned(),
        available_bytes: 0,
    };
    session.handle_control(NOW, peer(3), refused.into());
    let third = sent_to(&mut session, 3);
    assert!(
        matches!(third[..], [Control::CloseStage(close)] if close.epoch == PlanEpoch(2)),
        "{third:?}"
    );
}
