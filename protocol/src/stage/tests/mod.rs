//! What a stage does with frames and messages, one by one.

mod fair;
mod gone;
mod overwritten;
mod owner;
mod ready;
mod room;
mod shared;
mod standby;

use std::time::Duration;

use super::{KEEP_ALIVE, StageLimits, StageOutput, Stages, Step};
use crate::wire::{
    Answer, CloseStage, ContentHash, Control, Dtype, Frame, FrameHeader, HandOverReason,
    HiddenShape, Kind, OpenStage, StageRefusedCode,
};
use crate::{Arithmetic, Branch, LayerRange, PeerId, PlanEpoch, SessionId, StageId};

const REQUESTER: u8 = 1;
const BEFORE: u8 = 2;
const AFTER: u8 = 3;
const ANOTHER: u8 = 9;
/// Whose the device is.
const OWNER: u8 = 8;

fn peer(byte: u8) -> PeerId {
    PeerId::from_public_key([byte; 32])
}

fn open(session: u64, epoch: u32) -> OpenStage {
    OpenStage {
        session: SessionId(session),
        epoch: PlanEpoch(epoch),
        manifest: ContentHash([9; 32]),
        layers: LayerRange::new(2, 5).expect("forwards"),
        predecessor: peer(BEFORE),
        successor: peer(AFTER),
        context: 100,
        shape: HiddenShape::new(1, Dtype::F32, 32).expect("small"),
        memory_bytes: 1_000,
        standby: false,
        last: false,
        arithmetic: Arithmetic::CANONICAL_1,
    }
}

/// Rows from `start` on, each the bytes of its position.
fn frame(session: u64, epoch: u32, branch: u32, start: u32, rows: u32) -> Frame {
    let header = FrameHeader {
        kind: Kind::Hidden {
            dtype: Dtype::F32,
            answer: Answer::LastRow,
        },
        session: SessionId(session),
        epoch: PlanEpoch(epoch),
        branch: Branch(branch),
        start_position: start,
        rows,
        payload_bytes: 0,
    };
    let payload = (start..start + rows).flat_map(u32::to_le_bytes).collect();
    Frame::new(header, payload).expect("a valid frame")
}

fn limits() -> StageLimits {
    StageLimits {
        sessions: 2,
        each: 2,
        queued_bytes: 40,
        step_rows: 8,
        idle: Duration::from_secs(60),
    }
}

/// Stages with session 7 open and ready in epoch 1.
fn ready() -> Stages {
    let mut stages = Stages::new(peer(OWNER), limits());
    open_ready(&mut stages, open(7, 1));
    drain(&mut stages);
    stages
}

fn open_ready(stages: &mut Stages, open: OpenStage) {
    let (stage, epoch) = (stage(open.session.0), open.epoch);
    stages.open(Duration::ZERO, peer(REQUESTER), open);
    stages.loaded(Duration::ZERO, stage, epoch, Ok(()));
}

fn of(requester: u8, session: u64) -> StageId {
    StageId {
        requester: peer(requester),
        session: SessionId(session),
    }
}

/// The stage of a session of the requester's.
fn stage(session: u64) -> StageId {
    of(REQUESTER, session)
}

fn free(session: u64) -> StageOutput {
    StageOutput::Free(stage(session))
}

fn drain(stages: &mut Stages) -> Vec<StageOutput> {
    std::iter::from_fn(|| stages.poll_output()).collect()
}

fn take(stages: &mut Stages, frame: Frame) {
    stages.handle_frame(Duration::ZERO, peer(BEFORE), frame);
}

/// Session, start and rows.
type Part = (u64, u32, u32);

/// The number of each step that is to be computed, and its parts.
fn steps(outputs: &[StageOutput]) -> Vec<(u64, Vec<Part>)> {
    let step = |output: &StageOutput| match output {
        StageOutput::Compute(step) => {
            let parts = step.parts.iter();
            let parts = parts.map(|p| (p.stage.session.0, p.start_position, p.rows));
            Some((step.number, parts.collect()))
        }
        _ => None,
    };
    outputs.iter().filter_map(step).collect()
}

fn messages(outputs: Vec<StageOutput>) -> Vec<(PeerId, Control)> {
    let message = |output| match output {
        StageOutput::Send(to, message) => Some((to, message)),
        _ => None,
    };
    outputs.into_iter().filter_map(message).collect()
}

/// The step that has begun, if one has.
fn step(stages: &mut Stages) -> Option<Step> {
    let mut steps = drain(stages).into_iter().filter_map(|output| match output {
        StageOutput::Compute(step) => Some(step),
        _ => None,
    });
    steps.next()
}

#[test]
fn a_stage_is_loaded_before_it_is_open_and_opening_again_changes_nothing() {
    let mut stages = Stages::new(peer(OWNER), limits());
    stages.open(Duration::ZERO, peer(REQUESTER), open(7, 1));
    let outputs = drain(&mut stages);
    assert!(matches!(&outputs[..], [StageOutput::Load(load)] if load.context == 100));
    // Not ready yet: nobody wants its frames.
    let header = *frame(7, 1, 0, 0, 2).header();
    assert_eq!(stages.agreed(peer(BEFORE), &header), None);
    stages.loaded(Duration::ZERO, stage(7), PlanEpoch(1), Ok(()));
    for _ in 0..2 {
        let sent = messages(drain(&mut stages));
        assert!(matches!(&sent[..], [(to, Control::StageOpened(opened))]
            if *to == peer(REQUESTER) && opened.held_positions == 0));
        stages.open(Duration::ZERO, peer(REQUESTER), open(7, 1));
    }
    assert!(stages.agreed(peer(BEFORE), &header).is_some());
}

#[test]
fn only_the_predecessor_is_heard_and_only_in_the_epoch_in_force() {
    let mut stages = ready();
    for (from, frame) in [
        (REQUESTER, frame(7, 1, 0, 0, 1)),
        (AFTER, frame(7, 1, 0, 0, 1)),
        (BEFORE, frame(7, 0, 0, 0, 1)),
        (BEFORE, frame(7, 2, 0, 0, 1)),
        (BEFORE, frame(8, 1, 0, 0, 1)),
    ] {
        assert_eq!(stages.agreed(peer(from), frame.header()), None);
        stages.handle_frame(Duration::ZERO, peer(from), frame);
        assert_eq!(drain(&mut stages), []);
    }
}

#[test]
fn rows_are_computed_in_order_and_sent_on_to_the_successor() {
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 3));
    take(&mut stages, frame(7, 1, 0, 3, 2));
    assert_eq!(steps(&drain(&mut stages)), [(1, vec![(7, 0, 3)])]);
    stages.computed(Duration::ZERO, 1, vec![vec![1; 12]]);
    let outputs = drain(&mut stages);
    assert_eq!(steps(&outputs), [(2, vec![(7, 3, 2)])]);
    // Not the last stage: all rows go on.
    let sent = |output: &StageOutput| match output {
        StageOutput::SendFrame(to, frame) => Some((*to, frame.header().rows)),
        _ => None,
    };
    assert_eq!(outputs.iter().find_map(sent), Some((peer(AFTER), 3)));
    // The result of a step that is not being computed is nobody's.
    stages.computed(Duration::ZERO, 1, vec![vec![1; 12]]);
    assert_eq!(drain(&mut stages), []);
}

#[test]
fn the_last_stage_sends_what_was_asked_for() {
    let answers = [
        (Answer::AllRows, (0, 3, 12)),
        (Answer::LastRow, (2, 1, 4)),
        (Answer::Done, (0, 3, 0)),
    ];
    for (answer, expected) in answers {
        let mut stages = Stages::new(peer(OWNER), limits());
        let mut last = open(7, 1);
        (last.successor, last.last) = (peer(REQUESTER), true);
        open_ready(&mut stages, last);
        let (mut header, payload) = frame(7, 1, 0, 0, 3).into_parts();
        header.kind = Kind::Hidden {
            dtype: Dtype::F32,
            answer,
        };
        take(&mut stages, Frame::new(header, payload).expect("valid"));
        stages.computed(Duration::ZERO, 1, vec![(0..12).collect()]);
        let sent = drain(&mut stages).pop();
        let Some(StageOutput::SendFrame(to, frame)) = sent else {
            panic!("{answer:?} sent {sent:?}");
        };
        let header = frame.header();
        let found = (header.start_position, header.rows, frame.payload().len());
        assert_eq!((to, found), (peer(REQUESTER), expected));
        assert!(
            frame
                .payload()
                .iter()
                .rev()
                .zip((0..12).rev())
                .all(|(a, b)| *a == b)
        );
    }
}

#[test]
fn a_rejected_draft_is_dropped_and_a_gap_is_told() {
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 2));
    take(&mut stages, frame(7, 1, 0, 2, 4));
    // From position 3 on the draft was wrong; what was queued before it stays.
    take(&mut stages, frame(7, 1, 1, 3, 1));
    take(&mut stages, frame(7, 1, 0, 6, 1));
    drain(&mut stages);
    stages.computed(Duration::ZERO, 1, vec![vec![0; 8]]);
    assert_eq!(steps(&drain(&mut stages)), [(2, vec![(7, 2, 4)])]);
    stages.computed(Duration::ZERO, 2, vec![vec![0; 16]]);
    assert_eq!(steps(&drain(&mut stages)), [(3, vec![(7, 3, 1)])]);

    take(&mut stages, frame(7, 1, 1, 5, 1));
    let sent = messages(drain(&mut stages));
    assert!(matches!(&sent[..], [(to, Control::SessionState(state))]
        if *to == peer(REQUESTER) && state.held_positions == 3));
}

#[test]
fn rows_that_were_rolled_back_while_they_were_computed_go_nowhere() {
    let mut stages = ready();
    let sent = |stages: &mut Stages| {
        let sent = |output: &StageOutput| matches!(output, StageOutput::SendFrame(..));
        drain(stages).iter().filter(|output| sent(output)).count()
    };
    take(&mut stages, frame(7, 1, 0, 0, 2));
    take(&mut stages, frame(7, 1, 0, 2, 1));
    // What is computed lies before it.
    take(&mut stages, frame(7, 1, 1, 2, 1));
    stages.computed(Duration::ZERO, 1, vec![vec![0; 8]]);
    assert_eq!(sent(&mut stages), 1);
    take(&mut stages, frame(7, 1, 2, 2, 1));
    stages.computed(Duration::ZERO, 2, vec![vec![0; 4]]);
    assert_eq!(sent(&mut stages), 0);
    stages.computed(Duration::ZERO, 3, vec![vec![0; 4]]);
    assert_eq!(sent(&mut stages), 1);
}

#[test]
fn a_later_epoch_keeps_the_caches_of_the_same_layers_only() {
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 5));
    stages.computed(Duration::ZERO, 1, vec![vec![0; 20]]);
    let mut held = Vec::new();
    for (epoch, layers) in [(2, (2, 5)), (3, (2, 6))] {
        let mut again = open(7, epoch);
        again.layers = LayerRange::new(layers.0, layers.1).expect("forwards");
        open_ready(&mut stages, again);
        for (_, message) in messages(drain(&mut stages)) {
            if let Control::StageOpened(opened) = message {
                held.push(opened.held_positions);
            }
        }
    }
    assert_eq!(held, [5, 0]);
}

#[test]
fn what_cannot_be_opened_is_refused() {
    let mut stages = ready();
    open_ready(&mut stages, open(8, 4));
    drain(&mut stages);
    let mut other = open(8, 4);
    other.context = 50;
    for (from, open, code) in [
        (REQUESTER, open(9, 1), StageRefusedCode::TooManySessions),
        (AFTER, open(7, 2), StageRefusedCode::TooManySessions),
        (REQUESTER, open(8, 3), StageRefusedCode::OldEpoch),
        (REQUESTER, other, StageRefusedCode::Unsupported),
    ] {
        stages.open(Duration::ZERO, peer(from), open);
        let sent = messages(drain(&mut stages));
        assert!(
            matches!(&sent[..], [(to, Control::StageRefused(refused))]
            if *to == peer(from) && refused.code == code),
            "{sent:?}"
        );
    }
    // Nor does another close or ask about what is not its own.
    let close = CloseStage {
        session: SessionId(7),
        epoch: PlanEpoch(9),
    };
    stages.close(peer(AFTER), close);
    stages.query(Duration::ZERO, peer(AFTER), SessionId(7));
    let sent = messages(drain(&mut stages));
    assert!(matches!(&sent[..], [(_, Control::SessionState(state))]
        if state.layers.is_empty() && state.held_positions == 0));
    stages.close(peer(REQUESTER), close);
    assert_eq!(drain(&mut stages), [free(7)]);
}

#[test]
fn a_full_queue_is_felt_by_the_predecessor_alone() {
    let mut stages = ready();
    for start in 0..11 {
        assert!(stages.has_room_for(peer(BEFORE)), "{start}");
        take(&mut stages, frame(7, 1, 0, start, 1));
    }
    // One is computed, ten of four bytes wait.
    assert!(!stages.has_room_for(peer(BEFORE)) && stages.has_room_for(peer(AFTER)));
}

#[test]
fn sessions_take_turns_and_share_steps_of_few_rows() {
    let mut stages = ready();
    let mut other = open(8, 1);
    other.predecessor = peer(REQUESTER);
    open_ready(&mut stages, other);
    drain(&mut stages);
    take(&mut stages, frame(7, 1, 0, 0, 8));
    stages.handle_frame(Duration::ZERO, peer(REQUESTER), frame(8, 1, 0, 0, 8));
    take(&mut stages, frame(7, 1, 0, 8, 1));
    assert_eq!(steps(&drain(&mut stages)), [(1, vec![(7, 0, 8)])]);
    stages.computed(Duration::ZERO, 1, vec![vec![0; 32]]);
    assert_eq!(steps(&drain(&mut stages)), [(2, vec![(8, 0, 8)])]);
    stages.handle_frame(Duration::ZERO, peer(REQUESTER), frame(8, 1, 0, 8, 1));
    stages.computed(Duration::ZERO, 2, vec![vec![0; 32]]);
    assert_eq!(
        steps(&drain(&mut stages)),
        [(3, vec![(7, 8, 1), (8, 8, 1)])]
    );
}

#[test]
fn a_requester_that_waits_hears_of_its_stage() {
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 5));
    drain(&mut stages);
    assert_eq!(stages.poll_timeout(), Some(KEEP_ALIVE));
    stages.handle_timeout(KEEP_ALIVE + Duration::from_millis(30));
    let sent = messages(drain(&mut stages));
    assert!(matches!(&sent[..], [(to, Control::KeepAlive(alive))]
        if *to == peer(REQUESTER) && alive.next_position == 0));
    stages.computed(2 * KEEP_ALIVE, 1, vec![vec![0; 20]]);
    assert_eq!(stages.poll_timeout(), Some(limits().idle), "nothing waits");
    stages.handle_timeout(limits().idle);
    assert!(drain(&mut stages).contains(&free(7)));
    assert!(stages.is_empty() && stages.poll_timeout().is_none());
}

#[test]
fn a_stage_that_is_moved_while_it_computes_holds_what_the_step_leaves() {
    let mut stages = ready();
    take(&mut stages, frame(7, 1, 0, 0, 5));
    stages.computed(Duration::ZERO, 1, vec![vec![0; 20]]);
    // From position 2 on the draft was wrong; these rows take its place when the epoch changes.
    take(&mut stages, frame(7, 1, 1, 2, 2));
    drain(&mut stages);
    open_ready(&mut stages, open(7, 2));
    let sent = messages(drain(&mut stages));
    assert!(matches!(&sent[..], [(_, Control::StageOpened(opened))]
        if opened.held_positions == 2));
    // What the step gives is of the old epoch, and nobody's; the rows come again.
    take(&mut stages, frame(7, 2, 0, 2, 3));
    assert_eq!(drain(&mut stages), []);
    stages.computed(Duration::ZERO, 2, vec![vec![0; 8]]);
    let outputs = drain(&mut stages);
    assert!(
        matches!(&outputs[..], [StageOutput::Compute(_)]),
        "{outputs:?}"
    );
    assert_eq!(steps(&outputs), [(3, vec![(7, 2, 3)])]);
}

#[test]
fn what_was_loaded_for_an_earlier_epoch_does_not_open_a_later_one() {
    let mut stages = Stages::new(peer(OWNER), limits());
    stages.open(Duration::ZERO, peer(REQUESTER), open(7, 1));
    let mut wider = open(7, 2);
    wider.context = 200;
    stages.open(Duration::ZERO, peer(REQUESTER), wider);
    drain(&mut stages);
    let session = stage(7);
    stages.loaded(Duration::ZERO, session, PlanEpoch(1), Ok(()));
    assert_eq!(drain(&mut stages), []);
    let full = Err((StageRefusedCode::Memory, "it has 3 kB", 3_000));
    stages.loaded(Duration::ZERO, session, PlanEpoch(2), full);
    let outputs = drain(&mut stages);
    assert_eq!(outputs[0], StageOutput::Free(session));
    assert!(
        matches!(&messages(outputs)[..], [(_, Control::StageRefused(refused))]
        if refused.epoch == PlanEpoch(2) && refused.available_bytes == 3_000)
    );
}

#[test]
fn a_requester_whose_many_rows_are_computed_in_short_steps_hears_of_its_stage() {
    let mut stages = ready();
    let step = KEEP_ALIVE / 4;
    for start in 0..8 {
        take(&mut stages, frame(7, 1, 0, start, 1));
    }
    drain(&mut stages);
    let mut now = Duration::ZERO;
    let mut heard = 0;
    for number in 1..8 {
        now += step;
        if stages.poll_timeout().is_some_and(|due| due <= now) {
            stages.handle_timeout(now);
        }
        stages.computed(now, number, vec![vec![0; 4]]);
        heard += messages(drain(&mut stages)).len();
    }
    assert_eq!(heard, 1);
}

#[test]
fn a_stage_may_stay_for_ever_and_leaves_within_what_the_wire_can_say() {
    let forever = StageLimits {
        idle: Duration::MAX,
        ..limits()
    };
    let mut stages = Stages::new(peer(OWNER), forever);
    let now = Duration::from_secs(5);
    stages.open(now, peer(REQUESTER), open(7, 1));
    stages.loaded(now, stage(7), PlanEpoch(1), Ok(()));
    assert_eq!(stages.poll_timeout(), Some(Duration::MAX));
    stages.handle_timeout(Duration::from_secs(1 << 40));
    drain(&mut stages);
    assert!(!stages.is_empty());
    stages.hand_over(HandOverReason::Owner, Duration::MAX);
    let sent = messages(drain(&mut stages));
    assert_eq!(sent.len(), 1);
    assert!(sent[0].1.encode(&mut Vec::new()).is_ok());
}

#[test]
fn rows_that_could_not_be_computed_end_their_session_and_no_other() {
    let mut stages = Stages::new(peer(OWNER), limits());
    for session in [1, 2] {
        open_ready(&mut stages, open(session, 1));
    }
    take(&mut stages, frame(1, 1, 0, 0, 3));
    take(&mut stages, frame(2, 1, 0, 0, 2));
    drain(&mut stages);
    stages.computed(Duration::ZERO, 1, vec![Vec::new()]);
    let outputs = drain(&mut stages);
    let refused = outputs.iter().any(|output| {
        matches!(
            output,
            StageOutput::Send(to, Control::StageRefused(refused))
                if *to == peer(REQUESTER) && refused.session == SessionId(1)
        )
    });
    assert!(refused && outputs.contains(&free(1)));
    assert!(
        stages
            .agreed(peer(BEFORE), frame(1, 1, 0, 3, 1).header())
            .is_none()
    );
    stages.computed(Duration::ZERO, 2, vec![vec![0; 8]]);
    let outputs = drain(&mut stages);
    assert!(
        matches!(outputs[..], [StageOutput::SendFrame(..)]),
        "{outputs:?}"
    );
}
