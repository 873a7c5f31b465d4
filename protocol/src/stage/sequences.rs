//! Property tests over any sequence of inputs from peers and driver: nothing panics, nothing is computed
//! without the rows before it, and bounds hold.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::{Load, StageLimits, StageOutput, Stages, Step};
use crate::wire::{
    Answer, CloseStage, ContentHash, Dtype, Frame, FrameHeader, HiddenShape, Kind, OpenStage,
    StageRefusedCode,
};
use crate::{Arithmetic, Branch, LayerRange, PeerId, PlanEpoch, SessionId, StageId};

const LIMITS: StageLimits = StageLimits {
    sessions: 2,
    each: 2,
    queued_bytes: 64,
    step_rows: 6,
    idle: Duration::from_secs(1),
};
const CONTEXT: u32 = 12;

#[derive(Debug, Clone)]
enum Input {
    Open(u8, OpenStage),
    Loaded { fails: bool },
    Close { from: u8, session: u64, epoch: u32 },
    Query { from: u8, session: u64 },
    Frame(u8, Frame),
    Computed { number: u64 },
    Forget { peer: u8 },
    OwnerBusy(bool),
    Pass { ms: u64 },
}

fn open(session: u64, epoch: u32, from: u8, layers: u32, standby: bool) -> OpenStage {
    OpenStage {
        session: SessionId(session),
        epoch: PlanEpoch(epoch),
        manifest: ContentHash([9; 32]),
        layers: LayerRange::new(0, layers).expect("forwards"),
        predecessor: peer(from),
        successor: peer(2),
        context: CONTEXT,
        shape: HiddenShape::new(1, Dtype::F32, 5).expect("small"),
        memory_bytes: 1,
        standby,
        last: layers == 2,
        arithmetic: Arithmetic::CANONICAL_1,
    }
}

fn frame(session: u64, epoch: u32, branch: u32, rows: (u32, u32), answer: Answer) -> Frame {
    let (start_position, rows) = rows;
    let header = FrameHeader {
        kind: Kind::Hidden {
            dtype: Dtype::F32,
            answer,
        },
        session: SessionId(session),
        epoch: PlanEpoch(epoch),
        branch: Branch(branch),
        start_position,
        rows,
        payload_bytes: 0,
    };
    Frame::new(header, vec![0; 4 * rows as usize]).expect("valid")
}

fn any_input() -> impl Strategy<Value = Input> {
    let ids = (0..3_u8, 0..3_u64, 1..4_u32);
    let answers = [
        Answer::AllRows,
        Answer::LastRow,
        Answer::Done,
        Answer::Nothing,
    ];
    let answers = prop::sample::select(answers.to_vec());
    let opens = (ids.clone(), 1..3_u32, prop::bool::weighted(0.1));
    let frames = (ids.clone(), 0..3_u32, (0..CONTEXT, 1..6_u32), answers);
    prop_oneof![
        4 => opens.prop_map(|((from, session, epoch), layers, standby)| {
            Input::Open(from, open(session, epoch, from, layers, standby))
        }),
        4 => prop::bool::weighted(0.1).prop_map(|fails| Input::Loaded { fails }),
        1 => ids.clone().prop_map(|(from, session, epoch)| Input::Close { from, session, epoch }),
        1 => ids.prop_map(|(from, session, _)| Input::Query { from, session }),
        12 => frames.prop_map(|((from, session, epoch), branch, rows, answer)| {
            Input::Frame(from, frame(session, epoch, branch, rows, answer))
        }),
        6 => (0..2_u64).prop_map(|number| Input::Computed { number }),
        1 => (0..3_u8).prop_map(|peer| Input::Forget { peer }),
        1 => any::<bool>().prop_map(Input::OwnerBusy),
        2 => (0..400_u64).prop_map(|ms| Input::Pass { ms }),
    ]
}

fn peer(byte: u8) -> PeerId {
    PeerId::from_public_key([byte + 1; 32])
}

/// The driver: does what stages want, one thing after the other.
struct Driver {
    stages: Stages,
    now: Duration,
    /// What each session's caches hold.
    caches: BTreeMap<StageId, (LayerRange, u32)>,
    step: Option<Step>,
    /// Waits for the step.
    later: VecDeque<StageOutput>,
    loads: VecDeque<Load>,
}

impl Driver {
    fn take(&mut self, input: Input) {
        let now = self.now;
        match input {
            Input::Open(from, open) => self.stages.open(now, peer(from), open),
            Input::Loaded { fails } => {
                if let Some(load) = self.loads.pop_front() {
                    let failure = (StageRefusedCode::Memory, "no memory", 0);
                    let result = if fails { Err(failure) } else { Ok(()) };
                    self.stages.loaded(now, load.stage, load.epoch, result);
                }
            }
            Input::Close {
                from,
                session,
                epoch,
            } => {
                let (session, epoch) = (SessionId(session), PlanEpoch(epoch));
                self.stages.close(peer(from), CloseStage { session, epoch });
            }
            Input::Query { from, session } => {
                self.stages.query(now, peer(from), SessionId(session));
            }
            Input::Frame(from, frame) => {
                // As a driver reads: what nobody wants, or what there is no room for, is not taken.
                let wanted = self.stages.agreed(peer(from), frame.header()).is_some();
                if wanted && self.stages.has_room_for(peer(from)) {
                    self.stages.handle_frame(now, peer(from), frame);
                }
            }
            Input::Computed { number: 0 } => self.computed(),
            Input::Computed { number } => self.stages.computed(now, 1_000 + number, Vec::new()),
            Input::Forget { peer: byte } => self.stages.forget(peer(byte)),
            Input::OwnerBusy(busy) => self.stages.set_owner_busy(now, busy),
            Input::Pass { ms } => {
                self.now += Duration::from_millis(ms);
                self.stages.handle_timeout(self.now);
                assert!(self.stages.poll_timeout().is_none_or(|due| due > self.now));
            }
        }
        self.drain();
    }

    fn computed(&mut self) {
        let Some(step) = self.step.take() else { return };
        for part in &step.parts {
            let (_, held) = self
                .caches
                .get_mut(&part.stage)
                .expect("freed after the step");
            *held = part.start_position + part.rows;
        }
        for output in std::mem::take(&mut self.later) {
            self.act(output);
        }
        let hidden = step.parts.iter().map(|part| part.hidden.clone()).collect();
        self.stages.computed(self.now, step.number, hidden);
    }

    fn drain(&mut self) {
        while let Some(output) = self.stages.poll_output() {
            match output {
                StageOutput::Send(_, message) => {
                    message.encode(&mut Vec::new()).expect("a peer takes it");
                }
                StageOutput::SendFrame(..) => {}
                waits if self.step.is_some() => self.later.push_back(waits),
                output => self.act(output),
            }
        }
        assert!(self.caches.len() <= LIMITS.sessions + self.later.len());
    }

    fn act(&mut self, output: StageOutput) {
        match output {
            StageOutput::Load(load) => {
                let held = self.caches.get(&load.stage);
                if held.is_none_or(|(layers, _)| *layers != load.layers) {
                    self.caches.insert(load.stage, (load.layers, 0));
                }
                self.loads.push_back(load);
            }
            StageOutput::Free(stage) => {
                self.caches.remove(&stage);
            }
            StageOutput::Compute(step) => {
                assert!(self.step.is_none(), "one step at a time");
                let rows: u32 = step.parts.iter().map(|part| part.rows).sum();
                assert!(step.parts.len() == 1 || rows <= LIMITS.step_rows);
                for part in &step.parts {
                    let (_, held) = self.caches[&part.stage];
                    assert!(part.start_position <= held, "rows before are missing");
                    assert!(part.start_position + part.rows <= CONTEXT);
                    assert_eq!(part.hidden.len(), 4 * part.rows as usize);
                }
                self.step = Some(step);
            }
            StageOutput::Send(..) | StageOutput::SendFrame(..) => unreachable!("sent at once"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_inputs_computes_rows_without_those_before(
        inputs in prop::collection::vec(any_input(), 1..120),
    ) {
        let mut driver = Driver {
            stages: Stages::new(peer(0), LIMITS),
            now: Duration::ZERO,
            caches: BTreeMap::new(),
            step: None,
            later: VecDeque::new(),
            loads: VecDeque::new(),
        };
        for input in inputs {
            driver.take(input);
        }
        // Whatever happened, nothing stays for ever.
        driver.take(Input::OwnerBusy(false));
        driver.computed();
        while !driver.loads.is_empty() {
            driver.take(Input::Loaded { fails: false });
        }
        driver.take(Input::Pass { ms: 2_000 });
        prop_assert!(driver.stages.is_empty());
    }
}
