//! Requesters that are gone.

use std::time::Duration;

use super::{AFTER, REQUESTER, drain, frame, free, limits, messages, open, peer, ready, stage, take};
use crate::stage::{BACK_FOR, CLOSED_FOR, ORPHANED_FOR};
use crate::wire::Control;
use crate::PlanEpoch;

#[test]
fn who_lost_its_connection_opens_its_stage_again_or_loses_it() {
    let mut stages = ready();
    let lost = Duration::from_secs(5);
    stages.orphan(lost, peer(AFTER), false);
    assert_eq!(stages.poll_timeout(), Some(limits().idle));
    stages.orphan(lost, peer(REQUESTER), false);
    assert_eq!(stages.poll_timeout(), Some(lost + ORPHANED_FOR));
    stages.open(2 * lost, peer(REQUESTER), open(7, 1));
    assert_eq!(stages.poll_timeout(), Some(2 * lost + limits().idle));
    drain(&mut stages);
    stages.orphan(2 * lost, peer(REQUESTER), false);
    stages.handle_timeout(2 * lost + ORPHANED_FOR);
    assert_eq!(drain(&mut stages), [free(7)]);
}

#[test]
fn a_requester_that_closed_its_connection_does_not_keep_the_memory() {
    let lost = Duration::from_secs(5);
    let mut stages = ready();
    stages.orphan(lost, peer(REQUESTER), true);
    stages.handle_timeout(lost + CLOSED_FOR);
    assert_eq!(drain(&mut stages), [free(7)]);

    // It is back, and takes a while to open it again.
    let mut stages = ready();
    stages.orphan(lost, peer(REQUESTER), true);
    let back = lost + CLOSED_FOR / 2;
    stages.connected(back, peer(AFTER));
    assert_eq!(stages.poll_timeout(), Some(lost + CLOSED_FOR));
    stages.connected(back, peer(REQUESTER));
    assert_eq!(stages.poll_timeout(), Some(back + BACK_FOR));
    stages.open(back + BACK_FOR / 2, peer(REQUESTER), open(7, 1));
    drain(&mut stages);
    stages.handle_timeout(back + 2 * BACK_FOR);
    assert_eq!(drain(&mut stages), []);
}

#[test]
fn nothing_is_computed_for_who_is_gone() {
    for closed in [true, false] {
        let mut stages = ready();
        for at in 0..4 {
            take(&mut stages, frame(7, 1, 0, at, 1));
        }
        assert_eq!(drain(&mut stages).len(), 1, "one step is computed");
        stages.orphan(Duration::ZERO, peer(REQUESTER), closed);
        stages.computed(Duration::ZERO, 1, vec![vec![0; 4]]);
        assert_eq!(drain(&mut stages), [], "nor sent on");
        // What was computed is held if it comes again.
        stages.open(Duration::ZERO, peer(REQUESTER), open(7, 2));
        stages.loaded(Duration::ZERO, stage(7), PlanEpoch(2), Ok(1));
        let told = messages(drain(&mut stages));
        assert!(
            matches!(&told[..], [(_, Control::StageOpened(opened))] if opened.held_positions == 1),
            "{told:?}"
        );
    }
}

#[test]
fn nothing_stays_of_who_left_the_circle() {
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 5));
    drain(&mut stages);
    stages.forget(peer(AFTER));
    assert!(!stages.is_empty());
    stages.forget(peer(REQUESTER));
    assert_eq!(drain(&mut stages), [free(7)]);
    stages.computed(Duration::ZERO, 1, vec![vec![0; 20]]);
    assert_eq!(drain(&mut stages), []);
}
