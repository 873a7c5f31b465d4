//! Who has a place, memory and computing when not all can.

use std::time::Duration;

use super::{
    AFTER, ANOTHER, OWNER, REQUESTER, drain, frame, free, limits, of, open, open_ready, peer,
    ready, take,
};
use crate::stage::{RESTS_AFTER, StageLimits, StageOutput, Stages};
use crate::wire::{Control, OpenStage, StageRefusedCode};
use crate::{PeerId, PlanEpoch, SessionId};

fn is_refused(output: &StageOutput, requester: u8, session: u64, code: StageRefusedCode) -> bool {
    matches!(output, StageOutput::Send(to, Control::StageRefused(refused))
        if *to == peer(requester) && refused.session == SessionId(session) && refused.code == code)
}

/// A stage that is all of the owner's model.
fn alone(session: u64) -> OpenStage {
    OpenStage {
        predecessor: peer(OWNER),
        successor: peer(OWNER),
        last: true,
        ..open(session, 1)
    }
}

#[test]
fn a_requester_has_so_many_sessions_and_leaves_places_to_others() {
    let (sessions, each) = (8, 3);
    let mut stages = Stages::new(
        peer(OWNER),
        StageLimits {
            sessions,
            each,
            ..limits()
        },
    );
    for session in 0..5 {
        stages.open(Duration::ZERO, peer(REQUESTER), open(session, 1));
    }
    let outputs = drain(&mut stages);
    let loads = outputs
        .iter()
        .filter(|output| matches!(output, StageOutput::Load(_)));
    assert_eq!(loads.count(), each);
    let code = StageRefusedCode::TooManySessions;
    assert!((3..5).all(|session| {
        outputs
            .iter()
            .any(|o| is_refused(o, REQUESTER, session, code))
    }));
    stages.open(Duration::ZERO, peer(ANOTHER), open(7, 1));
    assert!(matches!(drain(&mut stages)[..], [StageOutput::Load(_)]));
    // The owner has no such limit.
    for session in 10..14 {
        stages.open(Duration::ZERO, peer(OWNER), open(session, 1));
    }
    let outputs = drain(&mut stages);
    assert!(
        outputs
            .iter()
            .all(|output| matches!(output, StageOutput::Load(_)))
    );
}

#[test]
fn what_the_owner_computes_alone_takes_places_and_memory_of_others() {
    let mut stages = ready();
    stages.open(Duration::from_secs(1), peer(ANOTHER), open(8, 1));
    drain(&mut stages);
    // Both places are taken, that of session 7 for longer.
    stages.open(Duration::from_secs(2), peer(OWNER), alone(9));
    let outputs = drain(&mut stages);
    let code = StageRefusedCode::Memory;
    assert!(outputs.contains(&free(7)), "{outputs:?}");
    assert!(
        outputs
            .iter()
            .any(|output| is_refused(output, REQUESTER, 7, code))
    );
    // And there is no memory while session 8 has it.
    let full = || Err((StageRefusedCode::Memory, "full", 5));
    let (now, epoch) = (Duration::from_secs(2), PlanEpoch(1));
    stages.loaded(now, of(OWNER, 9), epoch, full());
    let outputs = drain(&mut stages);
    assert!(outputs.contains(&StageOutput::Free(of(ANOTHER, 8))));
    assert!(matches!(outputs.last(), Some(StageOutput::Load(load)) if load.stage == of(OWNER, 9)));
    // When nobody has any more of it, it is refused as ever.
    stages.loaded(now, of(OWNER, 9), epoch, full());
    assert!(
        drain(&mut stages)
            .iter()
            .any(|output| is_refused(output, OWNER, 9, code))
    );
}

/// Session 7 of another, and one of the owner's, part of a ring, that lacks memory at this time: whether
/// it takes that of session 7.
fn ring_of_owner_takes(stages: &mut Stages, now: Duration) -> bool {
    stages.open(now, peer(OWNER), open(8, 1));
    drain(stages);
    let full = Err((StageRefusedCode::Memory, "full", 5));
    stages.loaded(now, of(OWNER, 8), PlanEpoch(1), full);
    let outputs = drain(stages);
    let memory = StageRefusedCode::Memory;
    let told = |o: &StageOutput| is_refused(o, REQUESTER, 7, memory);
    let again =
        |o: &StageOutput| matches!(o, StageOutput::Load(load) if load.stage == of(OWNER, 8));
    let takes = outputs.contains(&free(7));
    assert_eq!(outputs.iter().any(told), takes, "its requester is told");
    assert_eq!(outputs.iter().any(again), takes);
    let refused = |o: &StageOutput| is_refused(o, OWNER, 8, memory);
    assert_eq!(outputs.iter().any(refused), !takes);
    takes
}

#[test]
fn what_the_owner_computes_with_others_takes_the_room_of_what_rests() {
    assert!(ring_of_owner_takes(&mut ready(), RESTS_AFTER));
    // Its place, too.
    let mut stages = ready();
    stages.open(Duration::ZERO, peer(ANOTHER), open(9, 1));
    drain(&mut stages);
    stages.open(RESTS_AFTER, peer(OWNER), open(8, 1));
    assert!(drain(&mut stages).contains(&free(7)));
}

#[test]
fn what_the_owner_computes_with_others_takes_nothing_that_is_at_work() {
    let just_before = RESTS_AFTER - Duration::from_millis(1);
    assert!(!ring_of_owner_takes(&mut ready(), just_before));
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 1));
    assert!(
        !ring_of_owner_takes(&mut stages, 2 * RESTS_AFTER),
        "its rows wait"
    );
}

#[test]
fn a_slow_successor_holds_up_only_the_sessions_that_go_to_it() {
    let mut stages = ready();
    let elsewhere = OpenStage {
        successor: peer(ANOTHER),
        ..open(8, 1)
    };
    open_ready(&mut stages, elsewhere);
    drain(&mut stages);
    stages.set_congested(Duration::ZERO, peer(AFTER), true);
    let computed = |stages: &mut Stages| -> Vec<u64> {
        let outputs = drain(stages);
        let steps = outputs.into_iter().filter_map(|output| match output {
            StageOutput::Compute(step) => Some(step),
            _ => None,
        });
        steps
            .flat_map(|step| step.parts)
            .map(|part| part.stage.session.0)
            .collect()
    };
    take(&mut stages, frame(7, 1, 0, 0, 1));
    assert_eq!(computed(&mut stages), []);
    take(&mut stages, frame(8, 1, 0, 0, 1));
    assert_eq!(computed(&mut stages), [8]);
    stages.computed(Duration::ZERO, 1, vec![vec![0; 4]]);
    // It wakes for what it can do.
    let from: PeerId = peer(super::BEFORE);
    assert!(stages.has_room_for(from));
    take(&mut stages, frame(7, 1, 0, 1, 9));
    assert!(!stages.has_room_for(from), "its predecessor feels it");
    assert_eq!(computed(&mut stages), []);
    assert!(
        stages
            .poll_timeout()
            .is_some_and(|due| due > Duration::ZERO)
    );
    stages.set_congested(Duration::ZERO, peer(AFTER), false);
    assert_eq!(computed(&mut stages), [7]);
}
