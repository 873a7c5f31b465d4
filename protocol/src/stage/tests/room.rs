//! Who has a place, memory and computing when not all can.

use std::time::Duration;

use super::{AFTER, OWNER, REQUESTER, drain, frame, limits, open, open_ready, peer, ready, take};
use crate::stage::{StageLimits, StageOutput, Stages};
use crate::wire::{Control, OpenStage, StageRefusedCode};
use crate::{PeerId, PlanEpoch, SessionId};

const ANOTHER: u8 = 9;

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
    assert!(
        outputs.contains(&StageOutput::Free(SessionId(7))),
        "{outputs:?}"
    );
    assert!(
        outputs
            .iter()
            .any(|output| is_refused(output, REQUESTER, 7, code))
    );
    // And there is no memory while session 8 has it.
    let full = || Err((StageRefusedCode::Memory, "full", 5));
    let (now, epoch) = (Duration::from_secs(2), PlanEpoch(1));
    stages.loaded(now, SessionId(9), epoch, full());
    let outputs = drain(&mut stages);
    assert!(outputs.contains(&StageOutput::Free(SessionId(8))));
    assert!(
        matches!(outputs.last(), Some(StageOutput::Load(load)) if load.session == SessionId(9))
    );
    // When nobody has any more of it, it is refused as ever.
    stages.loaded(now, SessionId(9), epoch, full());
    assert!(
        drain(&mut stages)
            .iter()
            .any(|output| is_refused(output, OWNER, 9, code))
    );
}

#[test]
fn what_the_owner_computes_with_others_takes_nothing_of_theirs() {
    let mut stages = ready();
    stages.open(Duration::ZERO, peer(OWNER), open(8, 1));
    drain(&mut stages);
    let full = Err((StageRefusedCode::Memory, "full", 5));
    stages.loaded(Duration::ZERO, SessionId(8), PlanEpoch(1), full);
    let outputs = drain(&mut stages);
    assert!(!outputs.contains(&StageOutput::Free(SessionId(7))));
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
            .map(|part| part.session.0)
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
