//! Requesters that are gone.

use std::time::Duration;

use super::{
    AFTER, ANOTHER, REQUESTER, drain, frame, free, limits, messages, open, peer, ready, stage, take,
};
use crate::PlanEpoch;
use crate::stage::{BACK_FOR, CLOSED_FOR, ORPHANED_FOR, StageOutput, Stages};
use crate::wire::{Control, StageRefusedCode};

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
fn a_requester_that_comes_and_goes_does_not_keep_what_it_left() {
    let mut stages = ready();
    let mut now = Duration::ZERO;
    let freed = |stages: &mut Stages| drain(stages).contains(&free(7));
    // As a phone that changes its network every second, and asks something else each time.
    let hop = Duration::from_secs(1);
    while !freed(&mut stages) {
        stages.orphan(now, peer(REQUESTER), false);
        stages.connected(now, peer(REQUESTER));
        now += hop;
        stages.handle_timeout(now);
        assert!(now <= ORPHANED_FOR, "it is kept for ever");
    }
    // One that opens it keeps it however often.
    let mut stages = ready();
    for _ in 0..60 {
        stages.orphan(now, peer(REQUESTER), false);
        stages.connected(now, peer(REQUESTER));
        stages.open(now, peer(REQUESTER), open(7, 1));
        now += hop;
        stages.handle_timeout(now);
        assert!(!freed(&mut stages));
    }
}

#[test]
fn what_a_requester_lost_gives_way_to_what_it_opens() {
    // Of two places one is another's.
    let two = || {
        let mut stages = ready();
        stages.open(Duration::ZERO, peer(ANOTHER), open(9, 1));
        drain(&mut stages);
        stages
    };
    let mut stages = two();
    stages.open(Duration::ZERO, peer(REQUESTER), open(8, 1));
    assert!(!drain(&mut stages).contains(&free(7)), "it is not lost");
    let mut stages = two();
    stages.orphan(Duration::ZERO, peer(REQUESTER), false);
    stages.orphan(Duration::ZERO, peer(ANOTHER), false);
    stages.connected(Duration::ZERO, peer(REQUESTER));
    stages.open(Duration::ZERO, peer(REQUESTER), open(8, 1));
    let outputs = drain(&mut stages);
    assert_eq!(outputs[0], free(7));
    assert!(matches!(&outputs[1..], [StageOutput::Load(load)] if load.stage == stage(8)));
    // And memory.
    let mut stages = ready();
    stages.orphan(Duration::ZERO, peer(REQUESTER), false);
    stages.open(Duration::ZERO, peer(REQUESTER), open(8, 1));
    drain(&mut stages);
    let full = Err((StageRefusedCode::Memory, "full", 5));
    stages.loaded(Duration::ZERO, stage(8), PlanEpoch(1), full);
    let outputs = drain(&mut stages);
    assert_eq!(outputs[0], free(7));
    assert!(matches!(&outputs[1..], [StageOutput::Load(load)] if load.stage == stage(8)));
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
        stages.loaded(Duration::ZERO, stage(7), PlanEpoch(2), Ok(()));
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
