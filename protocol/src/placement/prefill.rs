//! How many rows a prefill step should have, so that all stages work at once.

use std::num::NonZeroU32;
use std::time::Duration;

use super::cost::{self, MOST_TERM, Step};
use super::devices::Devices;
use super::prediction::Prediction;
use super::shape::ModelShape;
use super::stage::{Stage, layer_indices};

/// More rows in a step are never proposed: memory for their activations grows, and by then each
/// weight is read rarely enough.
const MOST_ROWS: u32 = 512;

/// The size of prefill steps and what it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillRows {
    /// Rows of each step but the last, which may have fewer.
    pub rows: NonZeroU32,
    /// From the first hidden states sent to the last ones back.
    pub time: Duration,
}

/// The rows that prefill so many positions soonest over a placement; `None` if a device of it has no
/// measured speed or a link is unknown.
///
/// Few rows fill the pipeline early but read each weight often; many keep all stages but one
/// waiting. With steps of `r` rows, `n = ⌈positions / r⌉` of them, all stages and hops take
/// `sum of times(r) + (n − 1) · greatest occupation(r)`; all `r` up to 512 are compared, and of
/// equals the fewest rows win, as they need the least memory. Attention is taken as reading half of
/// the positions.
pub fn prefill_rows(
    model: &ModelShape,
    devices: &Devices,
    placement: &Prediction,
    positions: NonZeroU32,
) -> Option<PrefillRows> {
    prefill_rows_again(model, devices, placement, &[], positions)
}

/// As [`prefill_rows`], for positions that went through the stages `before`: a device computes none
/// of the layers again that it had there, if it still has all of them.
pub fn prefill_rows_again(
    model: &ModelShape,
    devices: &Devices,
    placement: &Prediction,
    before: &[Stage],
    positions: NonZeroU32,
) -> Option<PrefillRows> {
    let most = positions.get().min(MOST_ROWS);
    let mut best: Option<PrefillRows> = None;
    for rows in 1..=most {
        let steps = positions.get().div_ceil(rows);
        // As many steps with fewer rows each are no slower.
        if positions.get().div_ceil(steps) != rows {
            continue;
        }
        let step = Step {
            rows,
            positions: positions.get() / 2,
        };
        let (whole, pace) = times(model, devices, placement, before, step)?;
        let waits = pace.saturating_mul(u64::from(steps - 1));
        let time = Duration::from_nanos(whole.saturating_add(waits));
        if best.is_none_or(|best| time < best.time) {
            let rows = NonZeroU32::new(rows).expect("counted from 1");
            best = Some(PrefillRows { rows, time });
        }
    }
    best
}

/// Nanoseconds of all stages and hops of a step, and of the slowest; without the layers that
/// devices had `before`.
fn times(
    model: &ModelShape,
    devices: &Devices,
    placement: &Prediction,
    before: &[Stage],
    step: Step,
) -> Option<(u64, u64)> {
    let (mut whole, mut pace) = (0_u64, 0);
    for placed in &placement.stages {
        let Stage { peer, layers } = placed.stage;
        let profile = devices.profiles.get(&peer)?;
        let mut time = cost::stage_overhead(profile);
        let had = before.iter().find(|had| had.peer == peer);
        let had = had.filter(|had| layers.covers(had.layers));
        let had = had.map_or(0..0, |had| layer_indices(had.layers));
        for layer in layer_indices(layers).filter(|layer| !had.contains(layer)) {
            time += cost::layer_time(profile, &model.layers[layer], step)?;
        }
        whole = whole.saturating_add(time);
        pace = pace.max(time);
    }
    let bytes = cost::frame_bytes(model, step.rows);
    for hop in &placement.hops {
        let time = cost::hop_time(devices, hop.from, hop.to, bytes)?;
        whole = whole.saturating_add(time.nanoseconds.min(MOST_TERM));
        pace = pace.max(time.occupied);
    }
    Some((whole, pace))
}
