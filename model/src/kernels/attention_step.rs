//! One sequence's attention in a step, on all threads: rotate, append to the cache, attend.

use std::ops::Range;

use half::f16;
use smallvec::SmallVec;

use super::attention::Attend;
use super::cache::{CacheShape, append};
use super::rope::{RopePairs, Rotate};
use super::team::Team;
use super::{Isa, SharedSlice};

/// The most positions of a tile in prefill: its queries share one widened copy of each cache block.
const TILE: usize = 16;

/// Coordinates of a head up to which a decode step allocates nothing.
const SMALL_HEAD: usize = 256;

/// What one sequence attends to in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionPlan {
    /// The rows of this sequence in the step.
    pub(crate) rows: Range<usize>,
    /// The absolute position of the first of them.
    pub(crate) start: usize,
    pub(crate) heads: usize,
    /// Coordinates of a head; the cache's heads may be wider.
    pub(crate) head_dim: usize,
    pub(crate) cache: CacheShape,
    pub(crate) rope_pairs: RopePairs,
    /// A position sees this many up to itself.
    pub(crate) window: Option<usize>,
    pub(crate) scale: f32,
}

/// The matrices of a step, `[positions, …]`, and one layer's cache.
pub(crate) struct AttentionStep<'a> {
    pub(crate) plan: &'a AttentionPlan,
    /// Queries; the plan's rows are replaced by the output.
    pub(crate) q: &'a mut [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) keys: &'a mut [f16],
    pub(crate) values: &'a mut [f16],
    /// `[positions, rope_dim / 2]`.
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
}

impl AttentionStep<'_> {
    pub(crate) fn run(&mut self, isa: Isa, team: &Team) {
        let cache = self.plan.cache;
        let end = self.plan.start + self.plan.rows.len();
        assert!(
            end <= cache.capacity,
            "the KV cache was reserved for fewer positions"
        );
        assert!(self.keys.len() == cache.elements() && self.values.len() == cache.elements());
        self.rotate_and_append(isa, team);
        self.attend(isa, team);
    }

    fn rotate_and_append(&mut self, isa: Isa, team: &Team) {
        let plan = self.plan;
        let head_dim = plan.head_dim;
        let (q_width, kv_width) = (plan.heads * head_dim, plan.cache.kv_heads * head_dim);
        let angles = self.cos.len() / (self.k.len() / kv_width);
        let (k, v, cos, sin) = (self.k, self.v, self.cos, self.sin);
        let keys = SharedSlice::new(self.keys);
        let values = SharedSlice::new(self.values);
        let rows = plan.rows.clone();
        let q = &mut self.q[rows.start * q_width..rows.end * q_width];
        team.rows([q], q_width, 4, &|index, [q]| {
            let row = rows.start + index;
            let turn = |heads: &mut [f32]| {
                Rotate {
                    pairs: plan.rope_pairs,
                    heads,
                    head_dim,
                    cos: &cos[row * angles..][..angles],
                    sin: &sin[row * angles..][..angles],
                }
                .run(isa);
            };
            turn(q);
            let at = row * kv_width..(row + 1) * kv_width;
            let mut key = k[at.clone()].to_vec();
            turn(&mut key);
            // SAFETY: the loop gives each position to one thread.
            unsafe {
                append(
                    plan.cache,
                    plan.start + index,
                    head_dim,
                    &key,
                    &v[at],
                    keys,
                    values,
                )
            };
        });
    }

    fn attend(&mut self, isa: Isa, team: &Team) {
        let plan = self.plan;
        let head_dim = plan.head_dim;
        let cached = plan.cache.head_dim;
        let q_width = plan.heads * head_dim;
        let group = plan.heads / plan.cache.kv_heads;
        let positions = plan.rows.len();
        let (keys, values) = (&*self.keys, &*self.values);
        let rows = plan.rows.start * q_width..plan.rows.end * q_width;
        let q = SharedSlice::new(&mut self.q[rows]);
        // In decode a head is an item; in prefill a tile of positions of all heads of a group.
        let heads_at_once = if positions == 1 { 1 } else { group };
        let per_tile = plan.heads / heads_at_once;
        // Tiles of about the same size, so that threads finish together.
        let tiles = positions.div_ceil(TILE);
        let tile = positions.div_ceil(tiles.max(1));
        let items = tiles * per_tile;
        team.run(items, 1, &|range| {
            for item in range {
                let first = item / per_tile * tile;
                let tile = first..(first + tile).min(positions);
                let first_head = item % per_tile * heads_at_once;
                let places: SmallVec<[_; 1]> = tile
                    .flat_map(|p| (first_head..first_head + heads_at_once).map(move |h| (p, h)))
                    .collect();
                let place = |&(p, h): &(usize, usize)| {
                    let start = p * q_width + h * head_dim;
                    // SAFETY: each head of each position belongs to one item.
                    unsafe { q.part(start..start + head_dim) }
                };
                let mut copies = SmallVec::<[f32; SMALL_HEAD]>::new();
                for (i, at) in places.iter().enumerate() {
                    copies.extend_from_slice(place(at));
                    // Zeros up to the cache's width.
                    copies.resize((i + 1) * cached, 0.0);
                }
                let queries: SmallVec<[_; 1]> = places
                    .iter()
                    .zip(copies.chunks_exact(cached))
                    .map(|((p, _), q)| (plan.start + p, q))
                    .collect();
                let mut out = SmallVec::<[f32; SMALL_HEAD]>::from_elem(0.0, copies.len());
                Attend {
                    shape: plan.cache,
                    kv_head: first_head / group,
                    keys,
                    values,
                    window: plan.window,
                    scale: plan.scale,
                    queries: &queries,
                }
                .run(isa, &mut out);
                for (at, out) in places.iter().zip(out.chunks_exact(cached)) {
                    place(at).copy_from_slice(&out[..head_dim]);
                }
            }
        });
    }
}
