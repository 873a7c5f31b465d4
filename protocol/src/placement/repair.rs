//! Placement after a pipeline lost some of its stages.
//!
//! The best placement over the remaining devices may give every device other layers; then everything that
//! was computed is computed again. So it is compared with placements that leave the remaining stages in
//! place and give the layers of each lost stage to another device or to its neighbours in the ring. What
//! has to be fetched does not count here.

use std::num::NonZeroU32;

use super::devices::Devices;
use super::error::PlacementError;
use super::forced::Forced;
use super::options::{Objective, PlacementOptions};
use super::planner::plan;
use super::prediction::Prediction;
use super::prefill::prefill_rows_again;
use super::shape::ModelShape;
use super::stage::Stage;
use crate::{LayerRange, PeerId};

/// For so many more rows a placement is expected to be used: what it takes until they are through
/// is compared. Some paragraphs.
const HORIZON_ROWS: u64 = 128;
/// With more lost stages than this only the best placement is looked at.
const MOST_LOST: usize = 2;

/// What a session's stages have computed.
#[derive(Debug, Clone, Copy)]
pub struct Computed<'a> {
    /// Who ran which layers.
    pub stages: &'a [Stage],
    /// For so many positions.
    pub rows: NonZeroU32,
}

/// Finds where a session should go on, of which something was `computed`: the placement over which
/// all positions so far, and as many more as a conversation may have, are through soonest. With the
/// energy as objective it is the best [`plan`].
///
/// # Errors
/// As [`plan`].
pub fn plan_again(
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
    computed: Computed<'_>,
) -> Result<Prediction, PlacementError> {
    let best = plan(model, devices, options)?.best;
    let objective = options.objective;
    if objective == Objective::Energy {
        return Ok(best);
    }
    // The least; of equals the best placement, then the first.
    let cost = |placement: &Prediction| {
        let Computed { stages, rows } = computed;
        let again = prefill_rows_again(model, devices, placement, stages, rows)?;
        let more = placement.cost(objective)? * u128::from(HORIZON_ROWS);
        Some(again.time.as_nanos() + more)
    };
    let repaired = repaired(computed.stages, devices);
    let repaired = repaired.iter().filter_map(|stages| {
        let predicted = Forced::of(stages).predict(model, devices, options);
        predicted.ok()
    });
    let compared = std::iter::once(best.clone()).chain(repaired);
    let compared = compared.filter_map(|placement| Some((cost(&placement)?, placement)));
    Ok(compared
        .min_by_key(|(cost, _)| *cost)
        .map_or(best, |(_, placement)| placement))
}

/// The stages with their lost ones replaced, in all ways that are looked at.
fn repaired(stages: &[Stage], devices: &Devices) -> Vec<Vec<Stage>> {
    let is_left = |peer: PeerId| {
        let in_reach = devices.profiles.contains_key(&peer);
        peer == devices.requester || (in_reach && devices.unwilling(peer).is_none())
    };
    let lost = stages.iter().filter(|stage| !is_left(stage.peer)).count();
    if lost > MOST_LOST {
        return Vec::new();
    }
    let mut ways = vec![stages.to_vec()];
    for _ in 0..lost {
        let replaced = ways.iter().flat_map(|stages| {
            let at = stages.iter().position(|stage| !is_left(stage.peer));
            at.map_or_else(Vec::new, |at| replacements(stages, at, devices))
        });
        ways = replaced.collect();
    }
    ways
}

/// The stages without the one at `at`, whose layers another device has, or its neighbours.
fn replacements(stages: &[Stage], at: usize, devices: &Devices) -> Vec<Vec<Stage>> {
    let lost = stages[at].layers;
    let free = devices.profiles.keys().filter(|peer| {
        let mut stages = stages.iter();
        stages.all(|stage| stage.peer != **peer)
    });
    let by_another = free.map(|&peer| {
        let mut stages = stages.to_vec();
        stages[at].peer = peer;
        stages
    });
    // All to the one before, all to the one after, and half to each.
    let cuts = [lost.end(), lost.first(), lost.first() + lost.len() / 2];
    let by_neighbours = cuts.into_iter().filter_map(|cut| {
        let mut stages = stages.to_vec();
        if cut > lost.first() {
            let before = &mut stages[at.checked_sub(1)?].layers;
            *before = LayerRange::new(before.first(), cut)?;
        }
        if cut < lost.end() {
            let after = &mut stages.get_mut(at + 1)?.layers;
            *after = LayerRange::new(cut, after.end())?;
        }
        stages.remove(at);
        Some(stages)
    });
    by_another.chain(by_neighbours).collect()
}
