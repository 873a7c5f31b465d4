//! Linear maps: one input, several weight matrices, all threads.

use std::ops::Range;

use smallvec::SmallVec;

use super::activations::{Activations, GEMV_POSITIONS};
use super::packed;
use super::packed_format::GROUP;
use super::rows::{Layout, WeightRows};
use super::team::Team;
use super::{Isa, SharedSlice, float, quantised};

/// Bytes of weights a thread takes at a time in decode: large enough that taking is rare, small
/// enough that threads finish together.
const GRAIN_BYTES: usize = 16 * 1024;

/// Has the team's waiting threads fetch what they will read first of the product with `weights`,
/// the loop that comes next; worth it where weights are read once.
pub(crate) fn expect(team: &Team, weights: &[WeightRows<'_>], positions: usize) {
    if positions > GEMV_POSITIONS {
        return;
    }
    // The thread that starts the loop takes the first part of the groups.
    let groups = weights.iter().map(WeightRows::groups).sum();
    let mut first = team.first_part(groups);
    for w in weights {
        if first < w.groups() {
            return team.expect(w.bytes_from_group(first));
        }
        first -= w.groups();
    }
}

/// Computes `y_i = x · w_iᵀ` for each matrix: `x` is `[positions, columns]`, `w_i` is
/// `[rows_i, columns]`, `y_i` is `[positions, rows_i]`. The input is quantised once, into
/// `quantised`.
///
/// # Panics
/// If sizes do not match; loading checked that they do.
pub(crate) fn linear(
    isa: Isa,
    team: &Team,
    x: &[f32],
    quantised: &mut Activations,
    weights: &[WeightRows<'_>],
    outputs: &mut [Vec<f32>],
) {
    let Some(columns) = weights.first().map(WeightRows::columns) else {
        return;
    };
    let positions = x.len() / columns;
    assert!(x.len() == positions * columns && weights.len() == outputs.len());
    if weights.iter().any(|w| !w.tensor_type().is_float()) {
        quantised.reserve(isa, positions, columns);
        quantise(isa, team, x, columns, quantised);
    }
    let quantised = &*quantised;
    let mut parts = SmallVec::<[_; 4]>::new();
    let mut items = 0;
    for (w, y) in weights.iter().zip(outputs) {
        assert!(w.columns() == columns && y.len() == positions * w.rows());
        parts.push((items, *w, SharedSlice::new(y)));
        items += w.groups();
    }
    let grain = grain(weights, positions);
    team.run(items, grain, &|items| {
        for &(start, w, y) in &parts {
            // Items are groups of sixteen rows, numbered through all matrices.
            let first = items.start.max(start);
            let end = items.end.min(start + w.groups());
            if first >= end {
                continue;
            }
            // SAFETY: the team gives each group to one thread.
            unsafe { multiply(isa, w, x, quantised, first - start..end - start, y) };
        }
    });
}

/// Computes the outputs of some groups of sixteen rows for all positions, of which there are
/// `x.len() / w.columns()`.
///
/// # Safety
/// No other thread touches these rows of `y`.
unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    x: &[f32],
    quantised: &Activations,
    groups: Range<usize>,
    y: SharedSlice<'_, f32>,
) {
    let positions = x.len() / w.columns();
    let rows = groups.start * GROUP..(groups.end * GROUP).min(w.rows());
    // SAFETY: the caller's promise is that of each.
    unsafe {
        if w.tensor_type().is_float() {
            float::multiply(isa, w, x, rows, y);
        } else if w.layout() == Layout::Stored && positions <= GEMV_POSITIONS {
            quantised::multiply(isa, w, quantised, positions, rows, y);
        } else {
            packed::multiply(isa, w, quantised, positions, groups, y);
        }
    }
}

/// Groups of rows that a thread takes at a time.
fn grain(weights: &[WeightRows<'_>], positions: usize) -> usize {
    if positions > GEMV_POSITIONS {
        return 1;
    }
    let group_bytes = weights.iter().map(WeightRows::group_bytes).max();
    (GRAIN_BYTES / group_bytes.unwrap_or(1).max(1)).max(1)
}

fn quantise(isa: Isa, team: &Team, x: &[f32], columns: usize, activations: &mut Activations) {
    let positions = x.len() / columns;
    let tile = activations.tile_positions();
    let tiles = activations.tiles_mut();
    team.run(positions.div_ceil(tile), 8_usize.div_ceil(tile), &|range| {
        for index in range {
            let end = positions.min((index + 1) * tile);
            let x = &x[index * tile * columns..end * columns];
            // SAFETY: the team gives each tile to one thread.
            unsafe { tiles.quantise(isa, index, x) };
        }
    });
}
