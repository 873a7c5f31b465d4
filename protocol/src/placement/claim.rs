//! The time that a profile predicts for rows, by the rate that bounds each part of it.

use std::collections::BTreeMap;

use super::cost::{self, Step};
use super::shape::ModelShape;
use super::stage::layer_indices;
use crate::LayerRange;
use crate::profile::{Profile, RateKind};

/// Rows of one sequence that a device computed in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputedRows {
    /// Through these layers; through none if the range is empty.
    pub layers: LayerRange,
    /// Whether the last of them also went through the head.
    pub head: bool,
    /// Position of the first row.
    pub start: u32,
    /// How many, at least 1.
    pub rows: u32,
}

/// Nanoseconds that the profile of a device claims for these rows, by the rate that bounds them: the
/// terms of which predictions are made, without the overhead of a stage. Rows see on average half of
/// each other.
///
/// `None` if the profile has no rate for a format, or the model has no such layers.
pub fn claim(
    profile: &Profile,
    model: &ModelShape,
    computed: &ComputedRows,
) -> Option<BTreeMap<RateKind, u64>> {
    let mut terms = BTreeMap::new();
    let mut tell = |kind, time: u64| {
        let sum = terms.entry(kind).or_insert(0_u64);
        *sum = sum.saturating_add(time);
    };
    let step = Step {
        rows: computed.rows,
        positions: computed.start.saturating_add(computed.rows / 2),
    };
    for layer in model.layers.get(layer_indices(computed.layers))? {
        cost::layer_terms(profile, layer, step, &mut tell)?;
    }
    if computed.head {
        cost::ends_terms(profile, model, Step { rows: 1, ..step }, &mut tell)?;
    }
    terms.retain(|_, time| *time > 0);
    Some(terms)
}
