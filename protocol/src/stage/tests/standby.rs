//! Stages that only stand by.

use std::time::Duration;

use super::{
    OWNER, REQUESTER, drain, frame, free, limits, messages, open, open_ready, peer, stage, steps,
    take,
};
use crate::stage::{StageOutput, Stages};
use crate::wire::{Control, OpenStage, StageRefusedCode};
use crate::{PlanEpoch, SessionId};

fn standby(session: u64) -> OpenStage {
    OpenStage {
        standby: true,
        ..open(session, 1)
    }
}

/// Session 7 stands by, and is ready.
fn ready() -> Stages {
    let mut stages = Stages::new(peer(OWNER), limits());
    open_ready(&mut stages, standby(7));
    drain(&mut stages);
    stages
}

/// Session 7 was freed, and its requester told.
fn gave_way(outputs: Vec<StageOutput>) {
    assert_eq!(outputs[0], free(7));
    let sent = messages(outputs);
    assert!(
        matches!(&sent[0], (to, Control::StageRefused(refused))
            if *to == peer(REQUESTER) && refused.session == SessionId(7)),
        "{sent:?}"
    );
}

#[test]
fn a_standby_takes_rows_once_it_is_in_the_ring() {
    let mut stages = ready();
    assert!(!stages.helps());
    take(&mut stages, frame(7, 1, 0, 0, 1));
    assert_eq!(drain(&mut stages), []);
    open_ready(&mut stages, open(7, 2));
    drain(&mut stages);
    assert!(stages.helps());
    take(&mut stages, frame(7, 2, 0, 0, 1));
    assert_eq!(steps(&drain(&mut stages)).len(), 1);
}

#[test]
fn a_standby_gives_its_memory_to_a_stage_that_works() {
    let mut stages = ready();
    let (session, epoch) = (stage(8), PlanEpoch(1));
    let full = Err((StageRefusedCode::Memory, "it is full", 0));
    // Not to another standby.
    stages.open(Duration::ZERO, peer(REQUESTER), standby(8));
    stages.loaded(Duration::ZERO, session, epoch, full);
    drain(&mut stages);
    stages.open(Duration::ZERO, peer(REQUESTER), open(8, 1));
    drain(&mut stages);
    stages.loaded(Duration::ZERO, session, epoch, full);
    let outputs = drain(&mut stages);
    assert!(matches!(outputs.last(), Some(StageOutput::Load(load)) if load.stage == session));
    gave_way(outputs);
    // There is nothing more to give.
    stages.loaded(Duration::ZERO, session, epoch, full);
    assert_eq!(drain(&mut stages)[0], StageOutput::Free(session));
}

#[test]
fn a_standby_gives_its_place_to_a_stage_that_works() {
    let mut stages = ready();
    open_ready(&mut stages, open(8, 1));
    drain(&mut stages);
    stages.open(Duration::ZERO, peer(REQUESTER), standby(9));
    let sent = messages(drain(&mut stages));
    assert!(
        matches!(&sent[..], [(_, Control::StageRefused(_))]),
        "{sent:?}"
    );
    stages.open(Duration::ZERO, peer(REQUESTER), open(9, 1));
    gave_way(drain(&mut stages));
}
