//! Requesters hear that they share a device.

use std::time::Duration;

use super::{BEFORE, REQUESTER, drain, frame, messages, open, open_ready, peer, ready, take};
use crate::PeerId;
use crate::stage::{SHARED_EVERY, Stages};
use crate::wire::Control;

/// The sessions whose requesters are told.
fn told(stages: &mut Stages) -> Vec<u64> {
    let told = |(to, message): (PeerId, Control)| match message {
        Control::KeepAlive(alive) if alive.shared => {
            assert_eq!(to, peer(REQUESTER));
            Some(alive.session.0)
        }
        _ => None,
    };
    messages(drain(stages))
        .into_iter()
        .filter_map(told)
        .collect()
}

#[test]
fn sessions_whose_rows_wait_for_each_other_hear_so_now_and_then() {
    let mut stages = ready();
    open_ready(&mut stages, open(8, 1));
    take(&mut stages, frame(7, 1, 0, 0, 1));
    // More of the same session waits for nobody else.
    take(&mut stages, frame(7, 1, 0, 1, 1));
    assert_eq!(told(&mut stages), []);
    take(&mut stages, frame(8, 1, 0, 0, 1));
    assert_eq!(told(&mut stages), [7, 8]);
    take(&mut stages, frame(8, 1, 0, 1, 1));
    assert_eq!(told(&mut stages), []);
    stages.handle_frame(SHARED_EVERY, peer(BEFORE), frame(8, 1, 0, 2, 1));
    assert_eq!(told(&mut stages), [7, 8]);
}

#[test]
fn who_waits_for_the_owner_hears_so() {
    let mut stages = ready();
    stages.set_owner_busy(Duration::ZERO, true);
    take(&mut stages, frame(7, 1, 0, 0, 1));
    assert_eq!(told(&mut stages), [], "it had its turn at once");
    stages.computed(Duration::from_millis(1), 1, vec![vec![0; 4]]);
    let later = Duration::from_millis(2);
    stages.handle_frame(later, peer(BEFORE), frame(7, 1, 0, 1, 1));
    assert_eq!(told(&mut stages), [7]);
}
