//! The attention of a step's sequences, on all threads: rotate, append to the caches, attend.

#[cfg(test)]
#[path = "attention_step_tests.rs"]
mod tests;

use std::ops::Range;

use half::f16;
use smallvec::SmallVec;

use super::attention::Attend;
use super::attention_split::{Outputs, Scores};
use super::attention_tile::QUERIES;
use super::cache::{BLOCK, CacheShape, append};
use super::rope::{RopePairs, Rotate};
use super::team::{MACS_A_BYTE, Team};
use super::{Isa, SharedSlice};

/// The most positions of a tile in prefill: its queries share one widened copy of each cache block.
const TILE: usize = 16;

/// Coordinates of the heads of a key and value head up to which a decode step allocates nothing.
const SMALL: usize = 1024;

/// Coordinates that fill a cache line of values, which two threads should not both read.
const STRIP: usize = 32;

/// Blocks from which on a second loop costs less than threads that wait for the one with more heads.
const MANY_BLOCKS: usize = 6;

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

/// What each of a step's sequences has; there is one, but where answers are computed together.
pub(crate) type PerSequence<T> = SmallVec<[T; 1]>;

/// The matrices of a step, `[positions, …]`, and what its sequences attend to.
pub(crate) struct AttentionStep<'a> {
    /// Queries; the sequences' rows are replaced by the output.
    pub(crate) q: &'a mut [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    /// `[positions, rope_dim / 2]`.
    pub(crate) cos: &'a [f32],
    pub(crate) sin: &'a [f32],
    /// Of one layer, and of different rows.
    pub(crate) sequences: PerSequence<Sequence<'a>>,
}

/// One sequence's rows in a step, and its cache of the layer.
pub(crate) struct Sequence<'a> {
    pub(crate) plan: &'a AttentionPlan,
    pub(crate) keys: &'a mut [f16],
    pub(crate) values: &'a mut [f16],
}

impl AttentionPlan {
    /// Into how many items a key and value head, or the positions, must be divided so that the
    /// threads have about the same work.
    fn strips(&self, threads: usize) -> usize {
        let (mut common, mut rest) = (threads, self.cache.kv_heads);
        while rest > 0 {
            (common, rest) = (rest, common % rest);
        }
        threads / common
    }

    /// Into how many items one position's attention to a key and value head is divided; none if
    /// heads are items.
    fn strips_of_one(&self, threads: usize) -> Option<usize> {
        let strips = self.strips(threads).min(self.cache.head_dim / STRIP);
        let one = self.rows.len() == 1 && self.blocks().len() >= MANY_BLOCKS;
        Some(strips).filter(|&strips| one && strips > 1)
    }

    /// The blocks that the first position sees.
    fn blocks(&self) -> Range<usize> {
        let seen = self
            .window
            .map_or(0, |w| (self.start + 1).saturating_sub(w));
        seen / BLOCK..self.start / BLOCK + 1
    }

    /// Bytes that a key and value head reads for a tile of positions, or as many as take as long.
    fn item_bytes(&self, tile: usize) -> usize {
        let queries = tile * self.heads / self.cache.kv_heads;
        let element = self.blocks().len() * BLOCK * self.cache.head_dim;
        2 * element * size_of::<f16>().max(queries / MACS_A_BYTE)
    }

    /// # Panics
    /// The cache has no room for the plan's positions and those that they see.
    pub(crate) fn check_room(&self) {
        let end = (self.start + self.rows.len()).div_ceil(BLOCK);
        assert!(
            end.saturating_sub(self.blocks().start) <= self.cache.blocks(),
            "the KV cache was reserved for fewer positions"
        );
    }

    /// The same in plans of at most so many positions, one after the other.
    pub(crate) fn in_parts(self, most: usize) -> impl Iterator<Item = Self> {
        let Range { start, end } = self.rows.clone();
        (start..end).step_by(most).map(move |first| Self {
            rows: first..end.min(first.saturating_add(most)),
            start: self.start + (first - start),
            ..self.clone()
        })
    }

    /// Where its rows of the queries are.
    fn elements(&self) -> Range<usize> {
        let width = self.heads * self.head_dim;
        self.rows.start * width..self.rows.end * width
    }

    /// How many numbers a team of `threads` needs to compute a step of this sequence alone.
    fn scratch(&self, threads: usize) -> usize {
        match self.strips_of_one(threads) {
            Some(_) => self.heads * self.blocks().len() * BLOCK,
            None => 0,
        }
    }
}

/// How many numbers a team of `threads` needs to compute a step of these sequences.
pub(crate) fn scratch(plans: &[AttentionPlan], threads: usize) -> usize {
    match plans {
        [plan] => plan.scratch(threads),
        _ => 0,
    }
}

impl AttentionStep<'_> {
    /// `numbers` are as many as [`scratch`] says, to be overwritten.
    ///
    /// # Panics
    /// If sizes do not match, or the sequences' rows do not ascend.
    pub(crate) fn run(mut self, isa: Isa, team: &Team, numbers: &mut [f32]) {
        for Sequence { plan, keys, values } in self.sequences.iter() {
            // So no two of its positions, and none that it sees, lie in the same place.
            plan.check_room();
            let elements = plan.cache.elements();
            assert!(keys.len() == elements && values.len() == elements);
        }
        self.rotate_and_append(isa, team);
        // Several sequences keep all threads busy as they are.
        let strips = match &self.sequences[..] {
            [one] => one.plan.strips_of_one(team.threads()),
            _ => None,
        };
        match strips {
            Some(strips) => self.attend_in_strips(strips, isa, team, numbers),
            None => self.attend(isa, team),
        }
    }

    fn rotate_and_append(&mut self, isa: Isa, team: &Team) {
        let Some(Sequence { plan, .. }) = self.sequences.first() else {
            return;
        };
        let head_dim = plan.head_dim;
        let (q_width, kv_width) = (plan.heads * head_dim, plan.cache.kv_heads * head_dim);
        let angles = self.cos.len() / (self.k.len() / kv_width);
        let (k, v, cos, sin) = (self.k, self.v, self.cos, self.sin);
        let mut starts = Starts::new();
        let mut items = 0;
        let own = rows(self.q, &mut self.sequences);
        let own: PerSequence<_> = own
            .map(|(q, sequence)| {
                starts.push(items);
                items += sequence.plan.rows.len();
                let [keys, values] = [&mut *sequence.keys, sequence.values].map(SharedSlice::new);
                (SharedSlice::new(q), sequence.plan, keys, values)
            })
            .collect();
        team.run(items, q_width * size_of::<f32>(), &|range| {
            for item in range {
                let (at, index) = place(&starts, item);
                let (q, plan, keys, values) = &own[at];
                let row = plan.rows.start + index;
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
                // SAFETY: the loop gives each row to one thread.
                turn(unsafe { q.part(index * q_width..(index + 1) * q_width) });
                let of_row = row * kv_width..(row + 1) * kv_width;
                let mut key = SmallVec::<[f32; SMALL]>::from_slice(&k[of_row.clone()]);
                turn(&mut key);
                let (position, value) = (plan.start + index, &v[of_row]);
                // SAFETY: as above, and a row is a position of its sequence.
                unsafe { append(plan.cache, position, head_dim, &key, value, *keys, *values) };
            }
        });
    }

    /// All heads of a key and value head are an item, of one position or of a tile of them.
    fn attend(&mut self, isa: Isa, team: &Team) {
        let mut starts = Starts::new();
        let (mut items, mut item_bytes) = (0, 0);
        let is_one = self.sequences.len() == 1;
        let own = rows(self.q, &mut self.sequences);
        let own: PerSequence<_> = own
            .map(|(q, sequence)| {
                let plan = sequence.plan;
                let positions = plan.rows.len();
                // Tiles of about the same size, and enough of them, so that threads finish together.
                let least = match is_one {
                    true => plan.strips(team.threads()).min(positions),
                    false => 1,
                };
                let tiles = positions.div_ceil(TILE).max(least);
                let tile = positions.div_ceil(tiles.max(1)).max(1);
                starts.push(items);
                items += positions.div_ceil(tile) * plan.cache.kv_heads;
                item_bytes = plan.item_bytes(tile).max(item_bytes);
                let cache = Cache {
                    keys: sequence.keys,
                    values: sequence.values,
                };
                (SharedSlice::new(q), plan, cache, tile)
            })
            .collect();
        team.run(items, item_bytes, &|range| {
            for item in range {
                let (at, index) = place(&starts, item);
                let (q, plan, cache, tile) = &own[at];
                let heads = plan.cache.kv_heads;
                let first = index / heads * tile;
                let group = Group {
                    plan,
                    positions: first..(first + tile).min(plan.rows.len()),
                    kv_head: index % heads,
                };
                // SAFETY: each head of each position belongs to one item.
                let copies = group.copy(|at| unsafe { q.part(at) });
                let queries = group.queries(&copies);
                let mut out = SmallVec::<[f32; SMALL]>::from_elem(0.0, copies.len());
                cache.attend(&group, &queries).run(isa, &mut out);
                group.replace(q, 0..plan.cache.head_dim, &out);
            }
        });
    }

    /// As [`Self::attend`] for one position, with `strips` items a key and value head.
    fn attend_in_strips(&mut self, strips: usize, isa: Isa, team: &Team, scores: &mut [f32]) {
        let [Sequence { plan, keys, values }] = &self.sequences[..] else {
            unreachable!("for one sequence");
        };
        let heads = plan.cache.kv_heads;
        let cache = Cache { keys, values };
        let q = &self.q[plan.elements()];
        let group = |kv_head| Group {
            plan,
            positions: 0..1,
            kv_head,
        };
        let blocks = plan.blocks();
        let size = plan.heads / heads * BLOCK;
        let of_head = size * blocks.len();
        let shared = SharedSlice::new(&mut scores[..heads * of_head]);
        let block_bytes = BLOCK * plan.cache.head_dim * size_of::<f16>();
        team.run(heads * blocks.len(), block_bytes, &|range| {
            for (head, part) in by_head(range, blocks.len()) {
                let group = group(head);
                let copies = group.copy(|at| &q[at]);
                let queries = group.queries(&copies);
                let start = head * of_head + part.start * size;
                Scores {
                    attend: cache.attend(&group, &queries),
                    blocks: blocks.start + part.start..blocks.start + part.end,
                    // SAFETY: the loop gives each block of each head to one thread.
                    scores: unsafe { shared.part(start..start + part.len() * size) },
                }
                .run(isa);
            }
        });
        let (scores, width) = (&*scores, plan.cache.head_dim);
        let q = SharedSlice::new(&mut self.q[plan.elements()]);
        // One part a thread: those of one head weigh its scores once for all coordinates.
        let items = heads * strips;
        let each = items.div_ceil(team.threads());
        let part_bytes = heads * blocks.len() * block_bytes / team.threads();
        team.run(items.div_ceil(each), part_bytes, &|parts| {
            let range = parts.start * each..items.min(parts.end * each);
            for (head, part) in by_head(range, strips) {
                let edge = |strip: usize| match strip == strips {
                    true => width,
                    false => width / STRIP * strip / strips * STRIP,
                };
                let coordinates = edge(part.start)..edge(part.end);
                let group = group(head);
                let positions = group.positions();
                let len = positions.len() * coordinates.len();
                let mut out = SmallVec::<[f32; SMALL]>::from_elem(0.0, len);
                Outputs {
                    attend: cache.attend(&group, &positions),
                    scores: &scores[head * of_head..][..of_head],
                    coordinates: coordinates.clone(),
                    out: &mut out,
                }
                .run(isa);
                group.replace(&q, coordinates, &out);
            }
        });
    }
}

/// The first item of each sequence, ascending.
type Starts = PerSequence<usize>;

/// Whose an item is, and its number there.
fn place(starts: &[usize], item: usize) -> (usize, usize) {
    let at = starts.partition_point(|&start| start <= item) - 1;
    (at, item - starts[at])
}

/// The sequences, each with its rows of the queries.
fn rows<'a, 'b>(
    mut q: &'a mut [f32],
    sequences: &'a mut [Sequence<'b>],
) -> impl Iterator<Item = (&'a mut [f32], &'a mut Sequence<'b>)> {
    let mut taken = 0;
    sequences.iter_mut().map(move |sequence| {
        let own = sequence.plan.elements();
        let before = own.start.checked_sub(taken);
        taken = own.end;
        let own = before
            .and_then(|before| q.split_off_mut(..before))
            .and_then(|_| q.split_off_mut(..own.len()));
        (own.expect("rows of the step that ascend"), sequence)
    })
}

/// A range of items as ranges within heads of `each` items.
fn by_head(range: Range<usize>, each: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let heads = range.start / each..range.end.div_ceil(each);
    heads.map(move |head| {
        let first = head * each;
        let part = range.start.max(first)..range.end.min(first + each);
        (head, part.start - first..part.end - first)
    })
}

/// One layer's cache.
#[derive(Clone, Copy)]
struct Cache<'a> {
    keys: &'a [f16],
    values: &'a [f16],
}

impl<'a> Cache<'a> {
    fn attend<'b>(self, group: &Group<'_>, queries: &'b [(usize, &'b [f32])]) -> Attend<'b>
    where
        'a: 'b,
    {
        Attend {
            shape: group.plan.cache,
            kv_head: group.kv_head,
            keys: self.keys,
            values: self.values,
            window: group.plan.window,
            scale: group.plan.scale,
            queries,
        }
    }
}

/// The queries of some positions that share a key and value head.
struct Group<'a> {
    plan: &'a AttentionPlan,
    /// Counted from the plan's first.
    positions: Range<usize>,
    kv_head: usize,
}

/// Where a query is, and its vector.
type Queries<'a> = SmallVec<[(usize, &'a [f32]); QUERIES]>;

impl Group<'_> {
    /// Position and head of each query.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let group = self.plan.heads / self.plan.cache.kv_heads;
        let heads = self.kv_head * group..(self.kv_head + 1) * group;
        let positions = self.positions.clone();
        positions.flat_map(move |p| heads.clone().map(move |h| (p, h)))
    }

    /// Where the vector of a place is.
    fn at(&self, (position, head): (usize, usize)) -> Range<usize> {
        let head_dim = self.plan.head_dim;
        let start = (position * self.plan.heads + head) * head_dim;
        start..start + head_dim
    }

    /// The queries, with zeros up to the cache's width.
    fn copy<'b>(&self, read: impl Fn(Range<usize>) -> &'b [f32]) -> SmallVec<[f32; SMALL]> {
        let mut copies = SmallVec::new();
        for (i, place) in self.places().enumerate() {
            copies.extend_from_slice(read(self.at(place)));
            copies.resize((i + 1) * self.plan.cache.head_dim, 0.0);
        }
        copies
    }

    fn queries<'b>(&self, copies: &'b [f32]) -> Queries<'b> {
        let vectors = copies.chunks_exact(self.plan.cache.head_dim);
        let places = self.places().zip(vectors);
        places.map(|((p, _), q)| (self.plan.start + p, q)).collect()
    }

    /// As [`Self::queries`], without vectors.
    fn positions(&self) -> Queries<'static> {
        let places = self.places();
        places
            .map(|(p, _)| (self.plan.start + p, &[][..]))
            .collect()
    }

    /// Replaces coordinates of the queries by those of the outputs, `[queries, coordinates]`.
    fn replace(&self, q: &SharedSlice<'_, f32>, coordinates: Range<usize>, outputs: &[f32]) {
        // The cache may be wider than a head.
        let end = coordinates.end.min(self.plan.head_dim);
        for (place, out) in self.places().zip(outputs.chunks_exact(coordinates.len())) {
            let at = self.at(place).start;
            // SAFETY: each coordinate of each head and position belongs to one item.
            let own = unsafe { q.part(at + coordinates.start.min(end)..at + end) };
            own.copy_from_slice(&out[..own.len()]);
        }
    }
}
