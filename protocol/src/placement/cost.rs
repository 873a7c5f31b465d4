//! Costs of steps: the one place where measurements become predictions.
//!
//! All costs are whole numbers, nanoseconds or picojoules. So sums do not depend on the order of their
//! terms, and the search, its checks and every platform agree exactly.

use std::time::Duration;

use super::Devices;
use super::options::PlacementOptions;
use super::shape::{LayerShape, ModelShape, Weights, bytes_of};
use crate::PeerId;
use crate::profile::{Energy, Profile, RateKind};

/// The most that any single term counts, 13 days or 1,126 joules: with it, no sum over
/// [`MOST_LAYERS`](super::MOST_LAYERS) layers and all hops overflows, whatever peers claim.
pub(super) const MOST_TERM: u64 = 1 << 50;

/// A step of several rows first unpacks its weights, which takes as long as the multiply-adds of so
/// many rows: as measured, 8 for Q4_1 by AVX2. Both are arithmetic, so devices differ little in it.
pub const UNPACKING_ROWS: u32 = 8;

/// Rows of one step find a layer's cache near the processor, where the row before them left it. So many of
/// them take as long in attention as a single row, as measured for SmolLM2 with AVX2.
pub const ROWS_PER_CACHE_READ: u32 = 2;

/// Bytes of a data frame before its rows.
const FRAME_HEADER_BYTES: u64 = 32;
/// Hidden states travel as f32.
const BYTES_PER_VALUE: u64 = 4;

/// One pass of some rows through the pipeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Positions computed.
    pub(super) rows: u32,
    /// Positions before them.
    pub(super) positions: u32,
}

impl From<&PlacementOptions> for Step {
    fn from(options: &PlacementOptions) -> Self {
        Self {
            rows: options.rows_per_step.get(),
            positions: options.positions,
        }
    }
}

/// The time of one hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HopTime {
    /// From sending to arrival.
    pub(super) nanoseconds: u64,
    /// How long it keeps the next frame from going.
    pub(super) occupied: u64,
}

impl HopTime {
    /// From a node to itself.
    pub(super) const NONE: Self = Self {
        nanoseconds: 0,
        occupied: 0,
    };
}

/// Nanoseconds that a device computes a layer in a step; `None` if it has no measured speed for
/// the layer's formats. The sum of [`layer_terms`].
pub(super) fn layer_time(profile: &Profile, layer: &LayerShape, step: Step) -> Option<u64> {
    let mut time = 0_u64;
    layer_terms(profile, layer, step, &mut |_, term| {
        time = time.saturating_add(term);
    })?;
    Some(time.min(MOST_TERM))
}

/// Tells the nanoseconds that a device computes a layer in a step by the rates that bound them; `None`
/// if it has no measured speed for the layer's formats.
///
/// `weights / bandwidth + rows · KV / bandwidth`, where the weights of several rows take no less
/// than their multiply-adds and [`UNPACKING_ROWS`] do at the prefill rate, but never more than reading
/// them for each row, and [`ROWS_PER_CACHE_READ`] rows read the cache once.
pub(super) fn layer_terms(
    profile: &Profile,
    layer: &LayerShape,
    step: Step,
    tell: &mut impl FnMut(RateKind, u64),
) -> Option<()> {
    matrices_terms(
        profile,
        &layer.weights,
        layer.multiply_adds,
        step.rows,
        tell,
    )?;
    let reads = step.rows.div_ceil(ROWS_PER_CACHE_READ);
    let read = u128::from(layer.kv_bytes_read(step.positions)) * u128::from(reads);
    tell(
        RateKind::KvRead,
        profile.kv_read.value.nanoseconds_for(read),
    );
    Some(())
}

/// Nanoseconds that the requester spends on embedding and head; `None` as above. The sum of
/// [`ends_terms`].
pub(super) fn ends_time(profile: &Profile, model: &ModelShape, step: Step) -> Option<u64> {
    let mut time = 0_u64;
    ends_terms(profile, model, step, &mut |_, term| {
        time = time.saturating_add(term);
    })?;
    Some(time.min(MOST_TERM))
}

/// Tells the nanoseconds of embedding and head by the rates that bound them; `None` as above.
pub(super) fn ends_terms(
    profile: &Profile,
    model: &ModelShape,
    step: Step,
    tell: &mut impl FnMut(RateKind, u64),
) -> Option<()> {
    matrices_terms(
        profile,
        &model.head,
        model.head_multiply_adds,
        step.rows,
        tell,
    )?;
    let read = u128::from(model.embedding_row_bytes) * u128::from(step.rows);
    tell(
        RateKind::KvRead,
        profile.kv_read.value.nanoseconds_for(read),
    );
    Some(())
}

fn matrices_terms(
    profile: &Profile,
    weights: &[Weights],
    multiply_adds: u64,
    rows: u32,
    tell: &mut impl FnMut(RateKind, u64),
) -> Option<()> {
    let reading_of = |part: &Weights| {
        let bandwidth = profile.decode.get(&part.quantisation)?.value;
        Some(bandwidth.nanoseconds_for(u128::from(part.bytes)))
    };
    let mut reading = 0_u64;
    for part in weights {
        reading = reading.saturating_add(reading_of(part)?);
    }
    let times = match &profile.prefill {
        _ if rows == 1 => 1,
        Some(rate) => {
            let with_unpacking = u128::from(rows) + u128::from(UNPACKING_ROWS);
            let multiply_adds = u128::from(multiply_adds) * with_unpacking;
            let arithmetic = rate.value.nanoseconds_for(multiply_adds);
            let anew = reading.saturating_mul(u64::from(rows));
            if reading < arithmetic && arithmetic < anew {
                tell(RateKind::Prefill, arithmetic);
                return Some(());
            }
            if arithmetic <= reading { 1 } else { rows }
        }
        None => rows,
    };
    for part in weights {
        let time = reading_of(part)?.saturating_mul(u64::from(times));
        tell(RateKind::Decode(part.quantisation), time);
    }
    Some(())
}

/// Nanoseconds that any stage of a device costs beyond its layers.
pub(super) fn stage_overhead(profile: &Profile) -> u64 {
    nanoseconds(profile.stage_overhead.value)
}

/// The time of a hop in a step; `None` if the link is unknown.
pub(super) fn hop_time(devices: &Devices, from: PeerId, to: PeerId, bytes: u64) -> Option<HopTime> {
    if from == to {
        return Some(HopTime::NONE);
    }
    let link = devices.link(from, to)?;
    Some(HopTime {
        nanoseconds: nanoseconds(link.hop_time(bytes)),
        occupied: nanoseconds(link.occupied_by(bytes)),
    })
}

/// Bytes of a data frame of so many rows.
pub(super) fn frame_bytes(model: &ModelShape, rows: u32) -> u64 {
    let values = u64::from(model.d_model) * u64::from(rows);
    values
        .saturating_mul(BYTES_PER_VALUE)
        .saturating_add(FRAME_HEADER_BYTES)
}

/// Picojoules of a layer in a step.
pub(super) fn layer_energy(energy: &Energy, layer: &LayerShape, step: Step) -> u64 {
    let kv = layer
        .kv_bytes_read(step.positions)
        .saturating_mul(u64::from(step.rows));
    let bytes = bytes_of(&layer.weights).saturating_add(kv);
    energy_of(energy, bytes, layer.multiply_adds, step.rows)
}

/// Picojoules of embedding and head in a step.
pub(super) fn ends_energy(energy: &Energy, model: &ModelShape, step: Step) -> u64 {
    let embedding = model
        .embedding_row_bytes
        .saturating_mul(u64::from(step.rows));
    let bytes = bytes_of(&model.head).saturating_add(embedding);
    energy_of(energy, bytes, model.head_multiply_adds, step.rows)
}

fn energy_of(energy: &Energy, bytes: u64, multiply_adds: u64, rows: u32) -> u64 {
    let reading = bytes.saturating_mul(energy.picojoules_per_byte_read);
    let arithmetic = multiply_adds
        .saturating_mul(u64::from(rows))
        .saturating_mul(energy.picojoules_per_multiply_add);
    reading.saturating_add(arithmetic).min(MOST_TERM)
}

/// Picojoules of a hop, on both sides.
pub(super) fn hop_energy(from: &Energy, to: &Energy, bytes: u64) -> u64 {
    let sending = bytes.saturating_mul(from.picojoules_per_byte_sent);
    let receiving = bytes.saturating_mul(to.picojoules_per_byte_received);
    sending.saturating_add(receiving).min(MOST_TERM)
}

/// `bytes` with headroom, rounded up.
pub(super) fn with_headroom(bytes: u64, headroom_percent: u32) -> u64 {
    let needed = (u128::from(bytes) * (100 + u128::from(headroom_percent))).div_ceil(100);
    u64::try_from(needed).unwrap_or(u64::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    nanoseconds.min(MOST_TERM)
}
