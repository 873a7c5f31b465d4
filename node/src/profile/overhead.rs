//! What a stage costs beyond its arithmetic.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use potluck_model::gguf::Gguf;
use potluck_model::gguf::synth::SynthSpec;
use potluck_model::{Compute, TensorType};
use potluck_protocol::stage::{Load, Step, StepPart};
use potluck_protocol::wire::{ContentHash, Dtype, HiddenShape};
use potluck_protocol::{LayerRange, PeerId, PlanEpoch, SessionId, StageId};

use super::MeasureError;
use super::layers::{Layers, hidden_states, median_of, spec};
use crate::stages::{Done, MemoryBudget, ModelFiles, StageExecutor};

/// Between steps, as long as rows are with others: threads fall asleep.
const PAUSE: Duration = Duration::from_millis(2);

/// What a step through a [`StageExecutor`] that has slept takes, beyond the layers' own time when
/// they are computed without pause: waking threads, passing and converting hidden states.
pub(super) fn stage_overhead(compute: &Compute) -> Result<Duration, MeasureError> {
    // One layer that stays in the caches and takes little itself.
    let mut spec = spec(TensorType::Q8_0);
    (spec.d_model, spec.d_ff, spec.heads, spec.kv_heads) = (256, 512, 4, 2);
    let mut layer = Layers::of(compute, &spec, 1)?;
    let itself = median_of(|| layer.step(0, 1))?;
    let mut stage = Stage::start(compute, &spec)?;
    let whole = median_of(|| {
        thread::sleep(PAUSE);
        stage.step()
    })?;
    Ok(whole.saturating_sub(itself))
}

/// A stage of one layer.
struct Stage {
    executor: StageExecutor,
    answers: Receiver<Done>,
    shape: HiddenShape,
    steps: u32,
}

struct OneFile(Arc<Gguf>);

impl ModelFiles for OneFile {
    fn find(&self, _manifest: ContentHash, _layers: LayerRange) -> Option<Arc<Gguf>> {
        Some(Arc::clone(&self.0))
    }
}

/// Nobody's.
const STAGE: StageId = StageId {
    requester: PeerId::from_public_key([0; 32]),
    session: SessionId(0),
};

impl Stage {
    fn start(compute: &Compute, spec: &SynthSpec) -> Result<Self, MeasureError> {
        let gguf = Arc::new(Gguf::parse(spec.to_bytes()?)?);
        let (sender, answers) = mpsc::channel();
        let executor = StageExecutor::start(
            compute.clone(),
            Box::new(OneFile(gguf)),
            MemoryBudget::new(None),
            // Nobody listens any more once something has failed.
            Box::new(move |done| drop(sender.send(done))),
        )
        .map_err(MeasureError::Thread)?;
        let shape = HiddenShape::new(spec.d_model, Dtype::F32, 1);
        let stage = Self {
            executor,
            answers,
            shape: shape.map_err(|_| MeasureError::Stage)?,
            steps: 0,
        };
        let load = Load {
            stage: STAGE,
            epoch: PlanEpoch(0),
            manifest: ContentHash([0; 32]),
            layers: LayerRange::new(0, 1).ok_or(MeasureError::Stage)?,
            context: 1,
            d_model: spec.d_model,
        };
        stage.executor.load(load).map_err(|_| MeasureError::Stage)?;
        match stage.answers.recv() {
            Ok(Done::Loaded { result: Ok(_), .. }) => Ok(stage),
            _ => Err(MeasureError::Stage),
        }
    }

    /// The time from giving a step to having its result.
    fn step(&mut self) -> Result<Duration, MeasureError> {
        let mut hidden = hidden_states(1, self.shape.d_model() as usize);
        // Another row each time: what the stage has computed before it would not compute again.
        self.steps += 1;
        hidden[..size_of::<f32>()].copy_from_slice(&(self.steps as f32).to_le_bytes());
        let part = StepPart {
            stage: STAGE,
            start_position: 0,
            rows: 1,
            shape: self.shape,
            hidden,
        };
        let step = Step {
            number: 0,
            parts: vec![part],
        };
        let begin = Instant::now();
        let given = self.executor.compute(step);
        given.map_err(|_| MeasureError::Stage)?;
        match self.answers.recv() {
            Ok(Done::Computed { hidden, .. }) if hidden.iter().all(|rows| !rows.is_empty()) => {
                Ok(begin.elapsed())
            }
            _ => Err(MeasureError::Stage),
        }
    }
}
