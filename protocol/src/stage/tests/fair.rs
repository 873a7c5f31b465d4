//! Requesters beside each other: numbers that meet, and shares of the time.

use std::time::Duration;

use super::{
    AFTER, ANOTHER, BEFORE, OWNER, REQUESTER, drain, frame, limits, messages, of, open, peer, step,
};
use crate::stage::{StageLimits, StageOutput, Stages};
use crate::wire::{CloseStage, Control, OpenStage, StageRefusedCode};
use crate::{PlanEpoch, SessionId};

/// A session whose requester sends its rows itself.
fn fed_by_itself(requester: u8, session: u64) -> OpenStage {
    OpenStage {
        predecessor: peer(requester),
        ..open(session, 1)
    }
}

fn open_of(stages: &mut Stages, requester: u8, open: OpenStage) {
    let (id, epoch) = (of(requester, open.session.0), open.epoch);
    stages.open(Duration::ZERO, peer(requester), open);
    stages.loaded(Duration::ZERO, id, epoch, Ok(()));
}

#[test]
fn two_requesters_may_choose_the_same_number() {
    let mut stages = Stages::new(peer(OWNER), limits());
    for requester in [REQUESTER, ANOTHER] {
        open_of(&mut stages, requester, fed_by_itself(requester, 7));
        let told = messages(drain(&mut stages));
        assert!(
            matches!(&told[..], [(to, Control::StageOpened(_))] if *to == peer(requester)),
            "{told:?}"
        );
    }
    stages.handle_frame(Duration::ZERO, peer(ANOTHER), frame(7, 1, 0, 0, 2));
    let running = step(&mut stages).expect("its rows");
    assert_eq!(running.parts[0].stage, of(ANOTHER, 7));
    stages.computed(Duration::ZERO, running.number, vec![vec![0; 8]]);
    drain(&mut stages);
    // Each asks about its own and closes its own.
    for (requester, held) in [(REQUESTER, 0), (ANOTHER, 2)] {
        stages.query(Duration::ZERO, peer(requester), SessionId(7));
        let told = messages(drain(&mut stages));
        assert!(
            matches!(&told[..], [(to, Control::SessionState(state))]
            if *to == peer(requester) && state.held_positions == held),
            "{told:?}"
        );
    }
    let close = CloseStage {
        session: SessionId(7),
        epoch: PlanEpoch(1),
    };
    stages.close(peer(REQUESTER), close);
    assert_eq!(drain(&mut stages), [StageOutput::Free(of(REQUESTER, 7))]);
    assert!(!stages.is_empty());
}

#[test]
fn what_could_be_rows_of_two_sessions_is_refused() {
    let mut stages = Stages::new(peer(OWNER), limits());
    // The frames of both would come from the same peer, under the same number.
    open_of(&mut stages, REQUESTER, open(7, 1));
    drain(&mut stages);
    open_of(&mut stages, ANOTHER, open(7, 1));
    let told = messages(drain(&mut stages));
    assert!(
        matches!(&told[..], [(to, Control::StageRefused(refused))]
        if *to == peer(ANOTHER) && refused.code == StageRefusedCode::TooManySessions),
        "{told:?}"
    );
    // Nobody keeps a requester from what it sends itself by naming it first.
    let mut stages = Stages::new(peer(OWNER), limits());
    open_of(&mut stages, ANOTHER, fed_by_itself(REQUESTER, 7));
    open_of(&mut stages, REQUESTER, fed_by_itself(REQUESTER, 7));
    drain(&mut stages);
    stages.handle_frame(Duration::ZERO, peer(REQUESTER), frame(7, 1, 0, 0, 1));
    let running = step(&mut stages).expect("its rows");
    assert_eq!(running.parts[0].stage, of(REQUESTER, 7));
    assert_ne!((BEFORE, AFTER), (REQUESTER, ANOTHER));
}

#[test]
fn a_requester_with_many_sessions_has_no_more_of_the_time_than_one_with_one() {
    let many = 7;
    let mut stages = Stages::new(
        peer(OWNER),
        StageLimits {
            sessions: 16,
            each: 16,
            ..limits()
        },
    );
    for session in 0..many {
        open_of(&mut stages, REQUESTER, fed_by_itself(REQUESTER, session));
    }
    open_of(&mut stages, ANOTHER, fed_by_itself(ANOTHER, 100));
    drain(&mut stages);
    let (mut now, mut at, mut rows_of) = (Duration::ZERO, [0; 101], [0; 2]);
    let mut running = None;
    for _ in 0..200 {
        // Everybody always has as many rows waiting as fit into a step.
        let sessions = (0..many).map(|session| (REQUESTER, session));
        for (from, session) in sessions.chain([(ANOTHER, 100)]) {
            let start = &mut at[session as usize];
            let rows = frame(session, 1, 0, *start, 8);
            if *start + 8 <= 100 && stages.has_room_for(peer(from)) {
                stages.handle_frame(now, peer(from), rows);
                *start += 8;
            }
        }
        running = running.or_else(|| step(&mut stages));
        let Some(step_now) = running.take() else {
            break;
        };
        let requester = step_now.parts[0].stage.requester;
        rows_of[usize::from(requester == peer(ANOTHER))] += step_now.parts[0].rows;
        now += Duration::from_millis(10);
        let hidden = step_now.parts.into_iter().map(|part| part.hidden);
        stages.computed(now, step_now.number, hidden.collect());
        running = step(&mut stages);
        if at[100] + 8 > 100 {
            break;
        }
    }
    let [theirs, its] = rows_of;
    assert!(its + 16 >= theirs, "{its} rows of one, {theirs} of many");
}
