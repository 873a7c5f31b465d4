//! The GEMM for many positions: a few groups are made ready for the multiplier once, then pass over
//! the tiles of positions.

use std::ops::Range;

use super::super::packed_format::{Format, GROUP, SubBlock, Terms};
use super::super::simd::{ActivationBlock, OfTile, Simd, Words};
use super::products::{Products, Tile};
use super::{Multiply, Output, pack, prefetch};
use crate::kernels::activations::Activations;
use crate::kernels::rows::Layout;

/// Words of an activation block.
const BLOCK_WORDS: usize = size_of::<ActivationBlock>() / 4;
/// Bytes of groups that are made ready, to stay in a second-level cache.
const PANELS: usize = 128 * 1024;
/// So many groups use a tile of activations while it is in the first-level cache, and write their
/// sums to the same pages.
const GROUPS_AT_ONCE: usize = 4;

impl<F: Format> Multiply<'_, F> {
    #[inline(always)]
    pub(super) fn gemm<S: Simd>(&self, s: S) {
        let group_bytes = GROUP / S::ROWS * self.x.blocks() * size_of::<SubBlock<S>>();
        let at_once = if self.tiles.len() <= 2 {
            1
        } else {
            (PANELS / group_bytes).clamp(1, GROUPS_AT_ONCE)
        };
        let mut scratch = Vec::new();
        let mut panels = Vec::new();
        let mut rest = self.groups.clone();
        while !rest.is_empty() {
            let groups = rest.start..rest.end.min(rest.start + at_once);
            let at = match self.w.layout() {
                Layout::Packed => self.w.bytes_from_group(groups.start).as_ptr(),
                Layout::Stored => self.pack_to(groups.clone(), &mut scratch),
            };
            panels.clear();
            panels.reserve(groups.len() * GROUP / S::ROWS * self.x.blocks());
            for group in 0..groups.len() {
                // SAFETY: there are so many groups.
                unsafe { self.unpack(s, at.add(group * self.group_bytes()), &mut panels) };
            }
            s.with_tile(Tiles {
                products: Products::of::<F>(s),
                x: self.x,
                tiles: self.tiles.clone(),
                panels: &panels,
                output: self.output(),
                row: groups.start * GROUP,
            });
            rest.start = groups.end;
        }
    }

    /// Packs groups of stored rows to `scratch`, and says where.
    pub(super) fn pack_to(&self, groups: Range<usize>, scratch: &mut Vec<u8>) -> *const u8 {
        scratch.resize(groups.len() * self.group_bytes(), 0);
        for (group, to) in groups.zip(scratch.chunks_exact_mut(self.group_bytes())) {
            let rows = group * GROUP..self.w.rows().min((group + 1) * GROUP);
            pack(
                self.w.tensor_type(),
                self.w.bytes(rows),
                self.w.row_bytes(),
                to,
            );
        }
        scratch.as_ptr()
    }

    /// Bytes of a packed group.
    pub(super) fn group_bytes(&self) -> usize {
        self.x.blocks() / F::SUBS * F::BYTES
    }

    /// Adds the panels of the group at `at`.
    ///
    /// # Safety
    /// The group has as many blocks as the activations.
    #[inline(always)]
    unsafe fn unpack<S: Simd>(&self, s: S, at: *const u8, panels: &mut Vec<SubBlock<S>>) {
        for first in (0..GROUP).step_by(S::ROWS) {
            for b in 0..self.x.blocks() / F::SUBS {
                // SAFETY: block `b` of the group.
                unsafe {
                    let block = at.add(b * F::BYTES);
                    prefetch(s, block, F::BYTES);
                    let head = F::head(s, block, first);
                    for sub in 0..F::SUBS {
                        let index = panels.len();
                        panels
                            .as_mut_ptr()
                            .add(index)
                            .write(F::sub_block(s, &head, block, sub, first));
                        panels.set_len(index + 1);
                    }
                }
            }
        }
    }
}

/// Some tiles of positions times some groups.
struct Tiles<'a, S: Words, T> {
    products: Products<S, T>,
    x: &'a Activations,
    tiles: Range<usize>,
    /// The sub-blocks of [`Words::ROWS`] rows, then of the next ones.
    panels: &'a [SubBlock<S>],
    output: Output<'a>,
    /// The first row.
    row: usize,
}

impl<S: Words, T: Terms> OfTile<S> for Tiles<'_, S, T> {
    #[inline(always)]
    fn call<const N: usize>(self, s: S) {
        for index in self.tiles.clone() {
            for (i, panel) in self.panels.chunks_exact(self.x.blocks()).enumerate() {
                self.multiply::<N>(s, index, panel, self.row + i * S::ROWS);
            }
        }
    }
}

impl<S: Words, T: Terms> Tiles<'_, S, T> {
    /// Tile `index` times the rows from `row` on.
    #[inline(always)]
    fn multiply<const N: usize>(&self, s: S, index: usize, panel: &[SubBlock<S>], row: usize) {
        let (values, factors) = self.x.tile(index);
        assert!(values.len() == N * panel.len() && factors.len() == N * panel.len());
        let mut sums = [s.floats(0.0); N];
        for (b, sub_block) in panel.iter().enumerate() {
            // SAFETY: the tile has `N` blocks, side by side, for each sub-block.
            unsafe {
                let values: *const i32 = values.as_ptr().cast();
                let x = values.add(b * N * BLOCK_WORDS);
                let mut of_positions = [factors.get_unchecked(b * N); N];
                for (n, factors_of) in of_positions.iter_mut().enumerate() {
                    *factors_of = factors.get_unchecked(b * N + n);
                }
                self.products
                    .add(s, sub_block, Tile(x), &of_positions, &mut sums);
            }
        }
        for (n, &sum) in sums.iter().enumerate() {
            let position = index * N + n;
            if position < self.output.positions {
                self.output.store(s, position, row, sum);
            }
        }
    }
}
