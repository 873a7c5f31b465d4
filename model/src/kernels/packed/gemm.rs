//! The GEMM for many positions, straight from packed groups.

use super::super::packed_format::{Format, GROUP};
use super::super::simd::{ActivationBlock, OfTile, Simd};
use super::gemv::add_sub_block;
use super::{Multiply, pack};
use crate::kernels::rows::Layout;

/// Words of an activation block.
const BLOCK_WORDS: usize = size_of::<ActivationBlock>() / 4;

impl<F: Format> Multiply<'_, F> {
    #[inline(always)]
    pub(super) fn gemm<S: Simd>(&self, s: S) {
        let mut scratch = Vec::new();
        if self.w.layout() == Layout::Stored {
            scratch.resize(self.x.blocks() / F::SUBS * F::BYTES, 0);
        }
        for group in self.groups.clone() {
            let at = match self.w.layout() {
                Layout::Packed => self.w.bytes_from_group(group).as_ptr(),
                Layout::Stored => {
                    let rows = group * GROUP..self.w.rows().min((group + 1) * GROUP);
                    pack(
                        F::TYPE,
                        self.w.bytes(rows),
                        self.w.row_bytes(),
                        &mut scratch,
                    );
                    scratch.as_ptr()
                }
            };
            s.with_tile(Tiles {
                multiply: self,
                group,
                at,
            });
        }
    }

    /// Multiplies a group with tile `index` of `N` positions.
    #[inline(always)]
    fn tile<S: Simd, const N: usize>(&self, s: S, group: usize, at: *const u8, index: usize) {
        let (values, factors) = self.x.tile(index);
        let many = (self.positions - index * N).min(N);
        for half in 0..GROUP / S::ROWS {
            let first = half * S::ROWS;
            let mut sums = [s.floats(0.0); N];
            for b in 0..self.x.blocks() / F::SUBS {
                // SAFETY: block `b` of a group, and the tile's blocks, `N` side by side.
                unsafe {
                    let block = at.add(b * F::BYTES);
                    let head = F::head(s, block, first);
                    for sub in 0..F::SUBS {
                        let from = block.add(F::HEAD + sub * F::SUB_BYTES);
                        let index = (b * F::SUBS + sub) * N;
                        let x: *const i32 = values.as_ptr().cast();
                        let x = x.add(index * BLOCK_WORDS);
                        let mut blocks = [x; N];
                        let mut scales = [factors.get_unchecked(index); N];
                        for n in 0..N {
                            blocks[n] = x.add(n * S::TOGETHER);
                            scales[n] = factors.get_unchecked(index + n);
                        }
                        add_sub_block::<S, F, N, N>(
                            s, &head, from, first, &blocks, &scales, &mut sums,
                        );
                    }
                }
            }
            for (n, sum) in sums.into_iter().enumerate().take(many) {
                self.store(s, index * N + n, group * GROUP + first, sum);
            }
        }
    }
}

/// The tiles of positions of one group.
struct Tiles<'a, 'b, F> {
    multiply: &'a Multiply<'b, F>,
    group: usize,
    at: *const u8,
}

impl<S: Simd, F: Format> OfTile<S> for Tiles<'_, '_, F> {
    #[inline(always)]
    fn call<const N: usize>(self, s: S) {
        for index in self.multiply.tiles.clone() {
            self.multiply.tile::<S, N>(s, self.group, self.at, index);
        }
    }
}
