//! The first half of the feed-forward part for a few positions: both maps, the gated activation of
//! their outputs, and its quantisation for the map that comes next, in one loop.

use std::ops::Range;

use super::activations::{Activations, BLOCK, GEMV_POSITIONS};
use super::gate::{Activation, gate};
use super::linear::{is_apart, products, quantised_input};
use super::multiply::{Input, multiply};
use super::rows::WeightRows;
use super::task::{GROUPS_OF_BLOCK, Kind, Task};
use super::team::Team;
use super::{Isa, SharedSlice};

/// The maps gate, up and down.
#[derive(Clone, Copy)]
pub(crate) struct FeedForward<'a> {
    pub(crate) gate: WeightRows<'a>,
    pub(crate) up: WeightRows<'a>,
    pub(crate) down: WeightRows<'a>,
    pub(crate) activation: Activation,
}

/// What [`FeedForward::run`] computes in.
pub(crate) struct Scratch<'a> {
    pub(crate) quantised: &'a mut Activations,
    pub(crate) inner: &'a mut Activations,
    /// `[positions, gate.rows()]` each.
    pub(crate) outputs: [&'a mut [f32]; 2],
}

impl FeedForward<'_> {
    /// Whether the maps' shapes and types are such that a thread can quantise what it computed of
    /// the inner values.
    pub(crate) fn is_whole(&self, positions: usize) -> bool {
        let Self { gate, up, down, .. } = self;
        positions <= GEMV_POSITIONS
            && gate.rows().is_multiple_of(BLOCK)
            && gate.rows() == up.rows()
            && gate.rows() == down.columns()
            && !down.tensor_type().is_float()
    }

    /// Bytes that an item reads: as many groups of both maps as make a block.
    fn item_bytes(&self) -> usize {
        GROUPS_OF_BLOCK * (self.gate.group_bytes() + self.up.group_bytes())
    }

    /// As [`linear::expect`](super::linear::expect), of [`Self::run`].
    pub(crate) fn expect(&self, team: &Team) {
        let items = self.gate.rows() / BLOCK;
        team.expect(items, self.item_bytes(), |block| {
            self.gate.bytes_from_group(block * GROUPS_OF_BLOCK)
        });
    }

    /// `y = (act(x · gateᵀ) ⊙ (x · upᵀ)) · downᵀ`.
    ///
    /// # Panics
    /// If it [is not whole](Self::is_whole) for so many positions, or sizes do not match.
    pub(crate) fn run(
        &self,
        isa: Isa,
        team: &Team,
        x: &[f32],
        scratch: Scratch<'_>,
        y: &mut Vec<f32>,
    ) {
        let Self { gate, up, down, .. } = *self;
        let Scratch {
            quantised,
            inner,
            outputs,
        } = scratch;
        let Some(input) = quantised_input(isa, team, x, quantised, &[gate, up]) else {
            return;
        };
        let positions = input.positions;
        assert!(self.is_whole(positions) && gate.columns() == up.columns());
        inner.reserve(isa, positions, gate.rows());
        self.gated(isa, team, input, inner, outputs);
        let input = Input {
            positions,
            x: &[],
            quantised: inner,
        };
        super::linear::expect(team, &[down], positions);
        products(isa, team, input, &[down], std::slice::from_mut(y));
    }

    /// Each thread computes the same rows of both maps, so that it has what their gate needs.
    fn gated(
        &self,
        isa: Isa,
        team: &Team,
        input: Input<'_>,
        inner: &mut Activations,
        outputs: [&mut [f32]; 2],
    ) {
        let (rows, positions) = (self.gate.rows(), input.positions);
        let [gates, ups] = outputs.map(SharedSlice::new);
        assert!([gates, ups].iter().all(|y| y.len() == positions * rows));
        let inner = inner.tiles_mut();
        let weights = [self.gate, self.up];
        let apart = is_apart(team, positions, &weights).then(|| Task {
            isa,
            positions,
            input: input.quantised,
            kind: Kind::Gated(self.activation, inner),
            weights: weights.into_iter().collect(),
        });
        let body = |blocks: Range<usize>| {
            let groups = blocks.start * GROUPS_OF_BLOCK..blocks.end * GROUPS_OF_BLOCK;
            for (w, y) in [(self.gate, gates), (self.up, ups)] {
                // SAFETY: the loop gives each group of rows to one thread.
                unsafe { multiply(isa, w, input, groups.clone(), 0..positions, y) };
            }
            for position in 0..positions {
                let at = position * rows;
                let at = at + blocks.start * BLOCK..at + blocks.end * BLOCK;
                // SAFETY: as above; the products are made.
                unsafe {
                    let values = gates.part(at.clone());
                    gate(isa, self.activation, values, ups.part(at));
                    inner.quantise_blocks(isa, position, blocks.clone(), values);
                }
            }
        };
        team.run_task(rows / BLOCK, self.item_bytes(), &body, apart.as_ref());
    }
}
