//! Attention of one position, divided across threads more finely than by key and value heads: first
//! the scores, by blocks of positions, then the outputs, by coordinates. No reduction is divided, so
//! the bits are those of [`Attend`] (see [`attention`](super::attention)).

use std::ops::Range;

use smallvec::SmallVec;

use super::attention::{Attend, prefetch};
use super::attention_tile::{Ahead, Join, Products, QUERIES};
use super::cache::BLOCK;
use super::isa::{Isa, Kernel, dispatch};
use super::simd::{LANES, Simd};
use super::softmax::Softmax;

/// The scores of some blocks, `[block, query, 64]`.
pub(super) struct Scores<'a, 'b> {
    pub(super) attend: Attend<'a>,
    pub(super) blocks: Range<usize>,
    pub(super) scores: &'b mut [f32],
}

impl Scores<'_, '_> {
    pub(super) fn run(self, isa: Isa) {
        let attend = &self.attend;
        attend.check();
        let head_dim = attend.shape.head_dim;
        assert!(attend.queries.iter().all(|(_, q)| q.len() == head_dim));
        let blocks = self.blocks.len() * attend.queries.len();
        assert_eq!(self.scores.len(), blocks * BLOCK);
        dispatch(isa, self);
    }
}

impl Kernel for Scores<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            attend,
            blocks,
            scores,
        } = self;
        let share = attend.share();
        let (mut scores, _) = scores.as_chunks_mut();
        for block in blocks.clone() {
            let keys = attend.block(block).keys;
            if block == blocks.start {
                prefetch(s, keys);
            }
            let mut ahead = match block + 1 < blocks.end {
                true => Ahead::new(attend.block(block + 1).keys),
                false => Ahead::NOTHING,
            };
            for queries in attend.queries.chunks(share) {
                let (here, behind) = scores.split_at_mut(queries.len());
                scores = behind;
                Products {
                    queries,
                    keys,
                    scale: attend.scale,
                    ahead,
                }
                .run(s, here);
                ahead = Ahead::NOTHING;
            }
        }
    }
}

/// Some coordinates of the outputs, `[queries, coordinates]`, from the scores of all blocks,
/// `[block, query, 64]`.
pub(super) struct Outputs<'a, 'b> {
    /// Of its queries only the positions are used.
    pub(super) attend: Attend<'a>,
    pub(super) scores: &'b [f32],
    /// Multiples of 8.
    pub(super) coordinates: Range<usize>,
    pub(super) out: &'b mut [f32],
}

impl Outputs<'_, '_> {
    pub(super) fn run(self, isa: Isa) {
        let attend = &self.attend;
        attend.check();
        let (queries, blocks) = (attend.queries.len(), attend.blocks().len());
        let Range { start, end } = self.coordinates;
        assert_eq!(self.scores.len(), queries * blocks * BLOCK);
        assert_eq!(self.out.len(), queries * (end - start));
        assert!(start.is_multiple_of(LANES) && end.is_multiple_of(LANES));
        assert!(end <= attend.shape.head_dim);
        dispatch(isa, self);
    }
}

impl Kernel for Outputs<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            attend,
            scores,
            coordinates,
            out,
        } = self;
        let (queries, share, width) = (attend.queries.len(), attend.share(), coordinates.len());
        out.fill(0.0);
        let mut softmax = SmallVec::<[_; QUERIES]>::from_elem(Softmax::NEW, queries);
        let mut weights = [[0.0; BLOCK]; QUERIES];
        let (mut scores, _) = scores.as_chunks();
        let blocks = attend.blocks();
        for block in blocks.clone() {
            let here = attend.block(block);
            let mut ahead = match block + 1 < blocks.end {
                true => Ahead::new(attend.block(block + 1).values),
                false => Ahead::NOTHING,
            };
            for (softmax, &(position, _)) in softmax.iter_mut().zip(attend.queries) {
                softmax.seen = attend.seen(position, here.first);
            }
            for (softmax, out) in softmax.chunks_mut(share).zip(out.chunks_mut(share * width)) {
                let weights = &mut weights[..softmax.len()];
                let (own, behind) = scores.split_at(softmax.len());
                scores = behind;
                weights.copy_from_slice(own);
                Softmax::join(s, softmax, weights);
                Join {
                    softmax,
                    weights,
                    values: here.values,
                    first: coordinates.start,
                    stride: attend.shape.head_dim,
                    ahead,
                }
                .run(s, out);
                ahead = Ahead::NOTHING;
            }
        }
        for (softmax, out) in softmax.iter().zip(out.chunks_exact_mut(width)) {
            softmax.finish(out);
        }
    }
}
