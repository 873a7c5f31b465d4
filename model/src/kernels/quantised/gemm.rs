//! The tiled GEMM for many positions: each weight is unpacked once, into a panel.

use super::super::codec::Codec;
use super::super::simd::{Halves, LANES, OfTile, PANEL_BLOCK_BYTES, Simd, TILE_ROWS};
use super::{Multiply, for_each_sub, weights_of_rows};

/// Blocks of a GEMM panel: sixteen rows of 512 weights stay in a first-level cache.
const PANEL_BLOCKS: usize = 16;

impl<C: Codec> Multiply<'_, C> {
    #[inline(always)]
    pub(super) fn gemm<S: Simd>(&self, s: S) {
        let mut panel = Panel::ZERO;
        let blocks = self.x.blocks();
        let mut group = self.groups.start;
        while group < self.groups.end {
            let both = group + 1 < self.groups.end;
            let mut first = 0;
            while first < blocks {
                let count = PANEL_BLOCKS.min(blocks - first);
                self.pack_group(s, group, 0, first, count, &mut panel);
                if both {
                    self.pack_group(s, group + 1, 1, first, count, &mut panel);
                }
                let tile = Tile {
                    first_row: group * LANES,
                    rows: (self.w.rows() - group * LANES).min(if both { 16 } else { 8 }),
                    first_block: first,
                    blocks: count,
                };
                s.with_tile_positions(Tiles {
                    multiply: self,
                    panel: &panel,
                    tile,
                });
                first += count;
            }
            group += 2;
        }
    }

    /// Unpacks blocks `first..first + count` of eight rows into half `side` of the panel.
    #[inline(always)]
    fn pack_group<S: Simd>(
        &self,
        s: S,
        group: usize,
        side: usize,
        first: usize,
        count: usize,
        panel: &mut Panel,
    ) {
        let (bytes, _) = self.w.group(group);
        let row_bytes = self.w.row_bytes();
        for b in (0..count).step_by(C::BLOCKS) {
            // SAFETY: `bytes` are eight whole rows, the storage block inside them; the panel has
            // room for PANEL_BLOCKS, a multiple of C::BLOCKS.
            unsafe {
                let block = bytes.as_ptr().add((first + b) / C::BLOCKS * C::BYTES);
                let scales = C::scales(s, block, row_bytes);
                macro_rules! pack {
                    ($sub:literal) => {{
                        let at = b + $sub;
                        let rows = weights_of_rows::<S, C, $sub>(s, block, row_bytes);
                        let to = panel.weights[at].0.as_mut_ptr();
                        s.pack_rows(C::FORM, &rows, C::OFFSET, side, to);
                        let scale = C::scale::<S, $sub>(s, &scales);
                        let factors = &mut panel.factors[at];
                        let to = |values: &mut [f32; TILE_ROWS]| {
                            values.as_mut_ptr().wrapping_add(side * LANES)
                        };
                        s.store(scale[0], to(&mut factors[0]));
                        if C::HALVES {
                            s.store(scale[1], to(&mut factors[1]));
                        }
                        if C::HAS_MINIMUM {
                            s.store(C::minimum::<S, $sub>(s, &scales), to(&mut factors[1]));
                        }
                    }};
                }
                for_each_sub!(C::BLOCKS, pack);
            }
        }
    }

    /// Adds the panel's blocks to the outputs of its rows for `many` ≤ `N` positions.
    #[inline(always)]
    fn tile<S: Simd, const N: usize>(
        &self,
        s: S,
        panel: &Panel,
        tile: &Tile,
        position: usize,
        many: usize,
    ) {
        let stride = self.w.rows();
        let mut sums = [s.tile_splat(0.0); N];
        if tile.first_block > 0 {
            for (n, sum) in sums.iter_mut().enumerate().take(many) {
                *sum = self.load_tile(s, (position + n) * stride + tile.first_row, tile.rows);
            }
        }
        let (values, factors) = self.x.tile(position / N);
        let blocks = tile.first_block * N..(tile.first_block + tile.blocks) * N;
        let values = values[blocks.clone()].chunks_exact(N);
        let factors = factors[blocks].chunks_exact(N);
        for (b, (values, x)) in values.zip(factors).enumerate() {
            let values = values.as_ptr().cast();
            let weights = panel.weights[b].0.as_ptr();
            // SAFETY: the panel holds `tile.blocks` packed blocks; the tile's are `N` positions wide.
            unsafe {
                let first = s.tile_load(panel.factors[b][0].as_ptr());
                let second = s.tile_load(panel.factors[b][1].as_ptr());
                if C::HALVES {
                    for (halves, d) in [(Halves::First, first), (Halves::Second, second)] {
                        let dots = s.tile_dot::<N>(weights, halves, values);
                        for n in 0..N {
                            let scale = s.tile_mul(d, s.tile_splat(x[n].scale));
                            sums[n] = s.tile_fma(scale, s.tile_to_f32(dots[n]), sums[n]);
                        }
                    }
                } else {
                    let dots = s.tile_dot::<N>(weights, Halves::Both, values);
                    for n in 0..N {
                        let scale = s.tile_mul(first, s.tile_splat(x[n].scale));
                        sums[n] = s.tile_fma(scale, s.tile_to_f32(dots[n]), sums[n]);
                        if C::HAS_MINIMUM {
                            let sum = s.tile_splat(x[n].scaled_sum);
                            sums[n] = s.tile_fma(second, sum, sums[n]);
                        }
                    }
                }
            }
        }
        for (n, sum) in sums.into_iter().enumerate().take(many) {
            let start = (position + n) * stride + tile.first_row;
            // SAFETY: the caller of `multiply` gave us these rows.
            let out = unsafe { self.y.part(start..start + tile.rows) };
            if tile.rows == TILE_ROWS {
                // SAFETY: sixteen values.
                unsafe { s.tile_store(sum, out.as_mut_ptr()) };
            } else {
                let mut lanes = [0.0; TILE_ROWS];
                // SAFETY: sixteen values.
                unsafe { s.tile_store(sum, lanes.as_mut_ptr()) };
                out.copy_from_slice(&lanes[..tile.rows]);
            }
        }
    }

    #[inline(always)]
    fn load_tile<S: Simd>(&self, s: S, start: usize, rows: usize) -> S::TileF32 {
        let mut lanes = [0.0; TILE_ROWS];
        // SAFETY: the caller of `multiply` gave us these rows; sixteen values are read.
        unsafe {
            let there = self.y.part(start..start + rows);
            if rows == TILE_ROWS {
                return s.tile_load(there.as_ptr());
            }
            lanes[..rows].copy_from_slice(there);
            s.tile_load(lanes.as_ptr())
        }
    }
}

/// All positions' tiles of one panel.
struct Tiles<'a, 'b, C> {
    multiply: &'a Multiply<'b, C>,
    panel: &'a Panel,
    tile: Tile,
}

impl<S: Simd, C: Codec> OfTile<S> for Tiles<'_, '_, C> {
    #[inline(always)]
    fn call<const N: usize>(self, s: S) {
        for position in (0..self.multiply.positions).step_by(N) {
            let many = (self.multiply.positions - position).min(N);
            self.multiply
                .tile::<S, N>(s, self.panel, &self.tile, position, many);
        }
    }
}

/// The part of the output that a panel contributes to.
struct Tile {
    first_row: usize,
    rows: usize,
    first_block: usize,
    blocks: usize,
}

/// Unpacked weights of sixteen rows, and for each block their scales with either the second
/// half's scales or the minimums.
struct Panel {
    weights: [PanelBlock; PANEL_BLOCKS],
    factors: [[[f32; TILE_ROWS]; 2]; PANEL_BLOCKS],
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct PanelBlock([u8; PANEL_BLOCK_BYTES]);

impl Panel {
    const ZERO: Self = Self {
        weights: [PanelBlock([0; PANEL_BLOCK_BYTES]); PANEL_BLOCKS],
        factors: [[[0.0; TILE_ROWS]; 2]; PANEL_BLOCKS],
    };
}
