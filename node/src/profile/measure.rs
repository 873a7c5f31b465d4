//! Measuring how fast this device computes, on layers of random weights.
//!
//! What is measured is what stages do: whole layers, norms and attention included, through
//! [`Shard::forward`](potluck_model::Shard::forward). The rates of the profile are chosen so that its
//! model of costs, bytes divided by bandwidth, gives these times back. Weights are packed as those of
//! models are once they were used; corrections follow where they are not.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use potluck_model::{Compute, TensorType};

use super::layers::{Layers, POSITIONS, PREFILL_ROWS, spec};
use super::overhead::stage_overhead;
use super::{Corrections, MeasureError, MeasuredWith, Measurements};
use crate::Cancel;

/// KV cache, prefill and overhead, beside one measurement for each format that has products of its own.
const OTHERS: usize = 3;

/// How many steps [`measure`] tells of.
pub(super) fn steps() -> usize {
    measured_types().count() + OTHERS
}

/// Types of which others are computed like one.
fn measured_types() -> impl Iterator<Item = TensorType> {
    TensorType::ALL
        .into_iter()
        .filter(|t| t.packed_like() == *t)
}

/// Measures all rates; `None` when cancelled. `on_progress` is told what is done of what.
pub(super) fn measure(
    compute: &Compute,
    with: MeasuredWith,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Measurements>, MeasureError> {
    let total = steps();
    let mut decode_bytes_per_s = BTreeMap::new();
    for (done, tensor_type) in measured_types().enumerate() {
        on_progress(done, total);
        if cancel.is_cancelled() {
            return Ok(None);
        }
        let mut layers = Layers::new(compute, tensor_type, 1)?.packed()?;
        let rate = layers.decode_bytes_per_s()?;
        for like in TensorType::ALL
            .into_iter()
            .filter(|t| t.packed_like() == tensor_type)
        {
            // As many weights a second, in the bytes that the file has of them.
            let share = u128::from(rate) * like.block_bytes() as u128;
            let rate = share / tensor_type.block_bytes() as u128;
            decode_bytes_per_s.insert(like.name().to_owned(), rate.max(1) as u64);
        }
    }
    on_progress(total - OTHERS, total);
    let mut layers = Layers::new(compute, TensorType::Q4_0, POSITIONS + 1)?;
    // If it is lost in the noise: nothing is read faster than the fastest weights.
    let fastest = decode_bytes_per_s.values().copied().max().unwrap_or(1);
    let kv_read_bytes_per_s = layers.kv_read_bytes_per_s()?.min(fastest);
    drop(layers);
    on_progress(total - OTHERS + 1, total);
    if cancel.is_cancelled() {
        return Ok(None);
    }
    let layer = Layers::of(compute, &spec(TensorType::Q4_0), PREFILL_ROWS)?;
    let mut layer = layer.packed()?;
    let prefill_multiply_adds_per_s = layer.multiply_adds_per_s()?;
    on_progress(total - OTHERS + 2, total);
    let overhead = stage_overhead(compute)?;
    on_progress(total, total);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Some(Measurements {
        measured_at_unix_ms: now.unwrap_or_default().as_millis() as u64,
        with,
        decode_bytes_per_s,
        kv_read_bytes_per_s,
        prefill_multiply_adds_per_s,
        stage_overhead_ns: overhead.as_nanos() as u64,
        measured_while_busy: None,
        corrections: Corrections::default(),
    }))
}
