//! Loops of decode whose parts a thread can compute without its caller's memory, so that the caller
//! need not wait for a thread that lost its core in the middle of one.
//!
//! A part is computed from weights, which never change, and from a copy of the input, into memory of
//! the thread that computes it (its [`Desk`]). Then its outputs are put where they belong. A caller that
//! has waited for a part for longer than it takes may compute it once more; whoever is second puts
//! nothing anywhere. Who does that is settled in the [`team`](super::team).

use std::ops::Range;

use smallvec::SmallVec;

use super::activations::{ActivationTiles, Activations, BLOCK};
use super::gate::{Activation, gate};
use super::multiply::{Input, multiply};
use super::packed_format::GROUP;
use super::rows::{Owned, WeightRows};
use super::{Isa, SharedSlice};

/// Groups of rows whose outputs are a block of the next map's input.
pub(super) const GROUPS_OF_BLOCK: usize = BLOCK / GROUP;

/// Owners of weights.
pub(super) type Kept = Vec<Box<dyn Owned + Send>>;

/// The weights of a loop, which several matrices share.
pub(super) type Weights<'a> = SmallVec<[WeightRows<'a>; 4]>;

/// A loop over parts of products with a quantised input of a few positions.
pub(super) struct Task<'a> {
    pub(super) isa: Isa,
    pub(super) positions: usize,
    pub(super) input: &'a Activations,
    pub(super) kind: Kind<'a>,
    pub(super) weights: Weights<'a>,
}

/// What an item is, and where its outputs belong.
pub(super) enum Kind<'a> {
    /// A group of sixteen rows, numbered through all matrices, and their outputs,
    /// `[positions, rows]` each.
    Products(SmallVec<[SharedSlice<'a, f32>; 4]>),
    /// As many groups of two equal matrices as make a block, and the block of
    /// `act(first) ⊙ second`, quantised.
    Gated(Activation, ActivationTiles<'a>),
}

/// Helpers read it at the same time.
const _: fn() = || {
    fn shared<T: Sync>() {}
    shared::<Task<'_>>();
};

/// What a thread computes in: its own copy of the input, and the outputs of a part.
#[derive(Default)]
pub(super) struct Desk {
    /// The loop that the input is of.
    epoch: Option<u64>,
    input: Activations,
    /// `[positions, rows of the part]` for each matrix that the part has rows of.
    products: Vec<f32>,
    inner: Activations,
}

/// What a part is computed from.
pub(super) struct Job<'a> {
    isa: Isa,
    positions: usize,
    activation: Option<Activation>,
    weights: Weights<'a>,
}

impl<'a> Task<'a> {
    /// What a part is computed from, but for the input.
    pub(super) fn job(&self) -> Job<'a> {
        Job {
            isa: self.isa,
            positions: self.positions,
            activation: match self.kind {
                Kind::Products(_) => None,
                Kind::Gated(activation, _) => Some(activation),
            },
            weights: self.weights.iter().map(|w| w.unowned()).collect(),
        }
    }

    /// Copies the input of loop `epoch` to a desk that does not have it.
    pub(super) fn copy_input(&self, epoch: u64, desk: &mut Desk) {
        if desk.epoch != Some(epoch) {
            desk.input.copy_from(self.input);
            desk.epoch = Some(epoch);
        }
    }

    /// Puts the outputs of items that were computed on a desk where they belong.
    ///
    /// # Safety
    /// No other thread puts these items' outputs anywhere.
    pub(super) unsafe fn put(&self, items: Range<usize>, desk: &Desk) {
        match &self.kind {
            Kind::Products(outputs) => {
                let mut from = &desk.products[..];
                for (at, groups) in pieces(&self.weights, items) {
                    let all = self.weights[at].rows();
                    let rows = rows(&self.weights[at], &groups);
                    for position in 0..self.positions {
                        let (own, rest) = from.split_at(rows.len());
                        from = rest;
                        let to = position * all + rows.start..position * all + rows.end;
                        // SAFETY: these items' outputs.
                        unsafe { outputs[at].part(to) }.copy_from_slice(own);
                    }
                }
            }
            Kind::Gated(_, tiles) => {
                for position in 0..self.positions {
                    // SAFETY: these items' outputs.
                    unsafe { tiles.copy_blocks(position, items.clone(), &desk.inner) };
                }
            }
        }
    }

    /// What keeps the weights where they are as long as it is, if there is something.
    pub(super) fn keep(&self) -> Option<Kept> {
        self.weights.iter().map(WeightRows::keep).collect()
    }
}

impl Job<'_> {
    /// Computes items on a desk that has their input.
    pub(super) fn compute(&self, items: Range<usize>, desk: &mut Desk) {
        let Desk {
            input,
            products,
            inner,
            ..
        } = desk;
        let input = Input {
            positions: self.positions,
            x: &[],
            quantised: input,
        };
        let blocks = items.len();
        let pieces: SmallVec<[_; 4]> = match self.activation {
            None => pieces(&self.weights, items).collect(),
            Some(_) => {
                let groups = items.start * GROUPS_OF_BLOCK..items.end * GROUPS_OF_BLOCK;
                [(0, groups.clone()), (1, groups)].into_iter().collect()
            }
        };
        let numbers = pieces
            .iter()
            .map(|(at, groups)| self.positions * rows(&self.weights[*at], groups).len());
        products.resize(numbers.sum(), 0.0);
        let mut rest = &mut products[..];
        for (at, groups) in pieces {
            let w = self.weights[at].part(groups.clone());
            let (own, others) = rest.split_at_mut(self.positions * w.rows());
            rest = others;
            // SAFETY: nobody else has this memory.
            unsafe {
                let y = SharedSlice::new(own);
                multiply(self.isa, w, input, 0..groups.len(), 0..self.positions, y);
            }
        }
        if let Some(activation) = self.activation {
            let half = products.len() / 2;
            let (gates, ups) = products.split_at_mut(half);
            gate(self.isa, activation, gates, ups);
            inner.reserve(self.isa, self.positions, blocks * BLOCK);
            let tiles = inner.tiles_mut();
            for (position, gated) in gates.chunks_exact(blocks * BLOCK).enumerate() {
                // SAFETY: nobody else has this memory.
                unsafe { tiles.quantise(self.isa, position, gated) };
            }
        }
    }
}

/// The matrices that items are of, and their groups of each.
fn pieces<'a>(
    weights: &'a Weights<'_>,
    items: Range<usize>,
) -> impl Iterator<Item = (usize, Range<usize>)> + use<'a> {
    let mut start = 0;
    weights.iter().enumerate().filter_map(move |(at, w)| {
        let first = items.start.max(start);
        let end = items.end.min(start + w.groups());
        let before = start;
        start += w.groups();
        (first < end).then(|| (at, first - before..end - before))
    })
}

/// The rows of groups.
fn rows(w: &WeightRows<'_>, groups: &Range<usize>) -> Range<usize> {
    groups.start * GROUP..w.rows().min(groups.end * GROUP)
}
