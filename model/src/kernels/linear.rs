//! Linear maps: one input, several weight matrices, all threads.

use std::ops::Range;

use smallvec::SmallVec;

use super::activations::{Activations, GEMV_POSITIONS};
use super::multiply::{Input, multiply};
use super::packed_format::GROUP;
use super::rows::{Layout, WeightRows};
use super::task::{Kind, Task};
use super::team::{MACS_A_BYTE, Team};
use super::{Isa, SharedSlice};

/// Multiply-adds of an item in prefill, about: on a slow core of a phone some hundred microseconds.
const ITEM_MACS: usize = 1 << 20;
/// Positions that an item has at least, so that weights are not read from memory too often.
const LEAST_POSITIONS: usize = 256;
/// As above for weights that are not packed: each item packs its group.
const LEAST_POSITIONS_STORED: usize = 512;

/// Has the team's waiting threads fetch what they will read first of the product with `weights`,
/// the loop that comes next; worth it where weights are read once.
pub(crate) fn expect(team: &Team, weights: &[WeightRows<'_>], positions: usize) {
    if positions > GEMV_POSITIONS {
        return;
    }
    let groups = weights.iter().map(WeightRows::groups).sum();
    team.expect(groups, group_bytes(weights), |mut first| {
        for w in weights {
            if first < w.groups() {
                return w.bytes_from_group(first);
            }
            first -= w.groups();
        }
        &[]
    });
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
    let Some(input) = quantised_input(isa, team, x, quantised, weights) else {
        return;
    };
    products(isa, team, input, weights, outputs);
}

/// Quantises `x` if weights need that; `None` if there are none.
pub(super) fn quantised_input<'a>(
    isa: Isa,
    team: &Team,
    x: &'a [f32],
    quantised: &'a mut Activations,
    weights: &[WeightRows<'_>],
) -> Option<Input<'a>> {
    let columns = weights.first().map(WeightRows::columns)?;
    let positions = x.len() / columns;
    assert!(x.len() == positions * columns);
    if weights.iter().any(|w| !w.tensor_type().is_float()) {
        quantised.reserve(isa, positions, columns);
        quantise(isa, team, x, columns, quantised);
    }
    Some(Input {
        positions,
        x,
        quantised,
    })
}

/// As [`linear`], of a quantised input.
pub(super) fn products(
    isa: Isa,
    team: &Team,
    input: Input<'_>,
    weights: &[WeightRows<'_>],
    outputs: &mut [Vec<f32>],
) {
    assert_eq!(weights.len(), outputs.len());
    let columns = weights.first().map_or(0, WeightRows::columns);
    let mut parts = SmallVec::<[_; 4]>::new();
    let mut groups = 0;
    for (w, y) in weights.iter().zip(outputs) {
        assert!(w.columns() == columns && y.len() == input.positions * w.rows());
        parts.push((groups, *w, SharedSlice::new(y)));
        groups += w.groups();
    }
    let tiles = tiles_of_item(input, weights);
    let all = input.quantised.tiles_of(input.positions);
    let chunks = all.div_ceil(tiles).max(1);
    let macs = GROUP * columns * tiles * input.quantised.tile_positions();
    let item_bytes = group_bytes(weights).max(match input.positions > GEMV_POSITIONS {
        true => macs / MACS_A_BYTE,
        false => 0,
    });
    let apart = is_apart(team, input.positions, weights).then(|| Task {
        isa,
        positions: input.positions,
        input: input.quantised,
        kind: Kind::Products(parts.iter().map(|&(_, _, y)| y).collect()),
        weights: weights.iter().copied().collect(),
    });
    // Items are groups of sixteen rows, numbered through all matrices, for some of the positions
    // after the other: those stay in a thread's cache.
    let body = |items| {
        for (chunk, groups) in by_chunk(items, groups) {
            let tiles = chunk * tiles..all.min((chunk + 1) * tiles);
            for &(start, w, y) in &parts {
                let first = groups.start.max(start);
                let end = groups.end.min(start + w.groups());
                if first >= end {
                    continue;
                }
                let groups = first - start..end - start;
                // SAFETY: the team gives each group of each tile to one thread.
                unsafe { multiply(isa, w, input, groups, tiles.clone(), y) };
            }
        }
    };
    team.run_task(chunks * groups, item_bytes, &body, apart.as_ref());
}

/// Whether helpers compute parts of products with these weights apart, so that they can be relieved of
/// them.
pub(super) fn is_apart(team: &Team, positions: usize, weights: &[WeightRows<'_>]) -> bool {
    let can_be = |w: &WeightRows<'_>| !w.tensor_type().is_float() && w.can_be_kept();
    team.threads() > 1 && positions <= GEMV_POSITIONS && weights.iter().all(can_be)
}

/// A range of items as ranges of groups in chunks of so many.
fn by_chunk(items: Range<usize>, groups: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let chunks = items.start / groups..items.end.div_ceil(groups);
    chunks.map(move |chunk| {
        let first = chunk * groups;
        let part = items.start.max(first)..items.end.min(first + groups);
        (chunk, part.start - first..part.end - first)
    })
}

/// Tiles of positions that an item has: all where weights are read once, in prefill so many that
/// an item takes about the same time whatever the width.
fn tiles_of_item(input: Input<'_>, weights: &[WeightRows<'_>]) -> usize {
    let (positions, tile) = (input.positions, input.quantised.tile_positions());
    let all = input.quantised.tiles_of(positions).max(1);
    if positions <= GEMV_POSITIONS || weights.iter().any(|w| w.tensor_type().is_float()) {
        return all;
    }
    let least = match weights.iter().any(|w| w.layout() == Layout::Stored) {
        true => LEAST_POSITIONS_STORED,
        false => LEAST_POSITIONS,
    };
    let columns = weights.first().map_or(1, WeightRows::columns);
    let chunk = (ITEM_MACS / (GROUP * columns).max(1)).max(least);
    // Chunks of about the same size.
    all.div_ceil(positions.div_ceil(chunk.max(tile)))
}

/// Bytes of a group of sixteen rows, the largest.
fn group_bytes(weights: &[WeightRows<'_>]) -> usize {
    let group_bytes = weights.iter().map(WeightRows::group_bytes);
    group_bytes.max().unwrap_or(0)
}

fn quantise(isa: Isa, team: &Team, x: &[f32], columns: usize, activations: &mut Activations) {
    let positions = x.len() / columns;
    let tile = activations.tile_positions();
    let tiles = activations.tiles_mut();
    let tile_bytes = tile * columns * size_of::<f32>();
    team.run(positions.div_ceil(tile), tile_bytes, &|range| {
        for index in range {
            let end = positions.min((index + 1) * tile);
            let x = &x[index * tile * columns..end * columns];
            // SAFETY: the team gives each tile to one thread.
            unsafe { tiles.quantise(isa, index, x) };
        }
    });
}
