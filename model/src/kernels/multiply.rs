//! Products of some rows of a matrix, of whatever type and layout, with an input.

use std::ops::Range;

use super::activations::{Activations, GEMV_POSITIONS};
use super::packed_format::GROUP;
use super::rows::{Layout, WeightRows};
use super::{Isa, SharedSlice, float, packed, quantised};

/// The input of linear maps, `[positions, columns]`.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) positions: usize,
    /// Read by float weights.
    pub(super) x: &'a [f32],
    /// Read by all others.
    pub(super) quantised: &'a Activations,
}

/// Computes the outputs of some groups of sixteen rows for some tiles of positions: for all, where
/// the weights are floats or positions are few.
///
/// # Safety
/// No other thread touches these rows of `y` for these positions.
pub(super) unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    input: Input<'_>,
    groups: Range<usize>,
    tiles: Range<usize>,
    y: SharedSlice<'_, f32>,
) {
    let rows = groups.start * GROUP..(groups.end * GROUP).min(w.rows());
    let (x, positions) = (input.quantised, input.positions);
    // SAFETY: the caller's promise is that of each.
    unsafe {
        if w.tensor_type().is_float() {
            float::multiply(isa, w, input.x, rows, y);
        } else if w.layout() == Layout::Stored
            && positions <= GEMV_POSITIONS
            && w.tensor_type().has_own_products()
        {
            quantised::multiply(isa, w, x, positions, rows, y);
        } else {
            packed::multiply(isa, w, x, positions, tiles, groups, y);
        }
    }
}
