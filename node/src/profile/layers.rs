//! Layers of random weights to measure with, and the times of their steps.

use std::time::{Duration, Instant};

use potluck_model::gguf::Gguf;
use potluck_model::gguf::synth::{Architecture, RopeScaling, SynthSpec, TypeMix};
use potluck_model::{
    Compute, KvCache, ModelConfig, ModelError, SequenceStep, Shard, ShardRange, TensorType,
};
use potluck_protocol::placement::UNPACKING_ROWS;

use super::MeasureError;

/// Weights that a decode step reads: more than the caches of the devices this is for.
const WEIGHT_BYTES: u64 = 64 << 20;
/// How long each rate is measured, and how many times at least; medians count.
const MEASURED_FOR: Duration = Duration::from_millis(150);
const TIMES: usize = 3;
/// Rows of a prefill step: as many as share the work well, and no more, for slow devices.
pub(super) const PREFILL_ROWS: usize = 128;
/// Positions before the row whose attention is measured.
pub(super) const POSITIONS: usize = 2047;

/// A model of random weights whose layers are like those of models of about a billion parameters,
/// in one format.
pub(super) fn spec(tensor_type: TensorType) -> SynthSpec {
    let mut spec = SynthSpec {
        name: "measure".to_owned(),
        architecture: Architecture::Llama,
        layers: 1,
        d_model: 1024,
        heads: 16,
        kv_heads: 4,
        head_dim: 64,
        d_ff: 2816,
        vocabulary: 0,
        context: 4096,
        types: TypeMix::uniform(tensor_type),
        tied: true,
        seed: 0,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        sliding_window: None,
    };
    spec.vocabulary = spec.minimum_vocabulary();
    spec
}

/// Elements of all matrices of a layer.
fn multiply_adds(spec: &SynthSpec) -> u64 {
    let [d_model, d_ff] = [spec.d_model, spec.d_ff].map(u64::from);
    let [queries, keys] = [spec.heads, spec.kv_heads].map(|heads| u64::from(heads * spec.head_dim));
    2 * d_model * (queries + keys) + 3 * d_model * d_ff
}

/// Layers to measure with.
pub(super) struct Layers {
    multiply_adds: u64,
    config: ModelConfig,
    shard: Shard,
    cache: KvCache,
}

impl Layers {
    /// As many layers of a format as are [`WEIGHT_BYTES`], with room for so many positions.
    pub(super) fn new(
        compute: &Compute,
        tensor_type: TensorType,
        context: usize,
    ) -> Result<Self, MeasureError> {
        let mut spec = spec(tensor_type);
        let elements = multiply_adds(&spec);
        let blocks = elements / tensor_type.block_elements() as u64;
        let layer_bytes = blocks * tensor_type.block_bytes() as u64;
        spec.layers = WEIGHT_BYTES.div_ceil(layer_bytes) as u32;
        Self::of(compute, &spec, context)
    }

    /// The layers of a model, with room for so many positions.
    pub(super) fn of(
        compute: &Compute,
        spec: &SynthSpec,
        context: usize,
    ) -> Result<Self, MeasureError> {
        let gguf = Gguf::parse(spec.to_bytes()?)?;
        let config = ModelConfig::from_gguf(&gguf)?;
        let range = ShardRange {
            embedding: false,
            layers: 0..config.layers,
            head: false,
        };
        let shard = Shard::load(&gguf, &config, range, compute.clone())?;
        Ok(Self {
            multiply_adds: multiply_adds(spec) * u64::from(spec.layers),
            cache: KvCache::new(&config, 0..config.layers, context, compute)?,
            config,
            shard,
        })
    }

    /// Computes from packed weights, as answers do once a model is packed.
    pub(super) fn packed(self) -> Result<Self, MeasureError> {
        self.shard.pack_in_memory()?;
        Ok(self)
    }

    /// The time of a step of so many rows from `start` on.
    pub(super) fn step(&mut self, start: usize, rows: usize) -> Result<Duration, ModelError> {
        let hidden = hidden_states(rows, self.shard.d_model());
        let begin = Instant::now();
        let sequence = SequenceStep {
            cache: &mut self.cache,
            start,
            count: rows,
        };
        let layers = 0..self.config.layers;
        let rows = std::iter::once(&hidden[..]);
        self.shard.forward_bytes(layers, rows, &mut [sequence])?;
        Ok(begin.elapsed())
    }

    pub(super) fn decode_bytes_per_s(&mut self) -> Result<u64, ModelError> {
        let time = median_of(|| self.step(0, 1))?;
        Ok(per_second(self.shard.weight_bytes_per_token(), time))
    }

    /// What a row behind [`POSITIONS`] others takes more than a first one is reading those.
    pub(super) fn kv_read_bytes_per_s(&mut self) -> Result<u64, ModelError> {
        let time = median_of(|| {
            // Next to each other, so that what disturbs both does not count.
            let first = self.step(0, 1)?;
            let last = self.step(POSITIONS, 1)?;
            Ok::<_, ModelError>(last.saturating_sub(first))
        })?;
        let bytes = self.config.kv_bytes(0..self.config.layers, POSITIONS);
        Ok(per_second(bytes, time))
    }

    pub(super) fn multiply_adds_per_s(&mut self) -> Result<u64, ModelError> {
        let time = median_of(|| self.step(0, PREFILL_ROWS))?;
        let rows = PREFILL_ROWS as u64 + u64::from(UNPACKING_ROWS);
        Ok(per_second(self.multiply_adds * rows, time))
    }
}

/// Hidden states of about the size that norms leave, as bytes.
pub(super) fn hidden_states(rows: usize, d_model: usize) -> Vec<u8> {
    let value = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
    let values = (0..rows * d_model).map(value);
    values.flat_map(f32::to_le_bytes).collect()
}

/// The median of times that are measured again and again, after a first that does not count.
pub(super) fn median_of<E>(
    mut measure: impl FnMut() -> Result<Duration, E>,
) -> Result<Duration, E> {
    measure()?;
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < TIMES || begin.elapsed() < MEASURED_FOR {
        times.push(measure()?);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// So many units in this time, as units a second; at least one.
fn per_second(units: u64, time: Duration) -> u64 {
    let nanoseconds = time.as_nanos().max(1);
    let rate = u128::from(units) * 1_000_000_000 / nanoseconds;
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}
