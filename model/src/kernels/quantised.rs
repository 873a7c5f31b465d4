//! Products of quantised weights and quantised activations: the GEMV that reads blocks where they
//! lie, and the tiled GEMM that unpacks each weight once for many positions.
//!
//! Both follow the canonical order (see [`kernels`](super)): one `f32` accumulator an output,
//! ascending blocks.

use super::activations::{Activations, Factors};
use super::codec::{Codec, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::isa::{Kernel, dispatch};
use super::rows::WeightRows;
use super::simd::{
    ActivationBlock, BlockOrder, Halves, LANES, OfTile, PANEL_BLOCK_BYTES, Simd, TILE_ROWS,
};
use super::{Isa, SharedSlice};
use crate::TensorType;

/// Positions up to which the GEMV is used.
pub(crate) const GEMV_POSITIONS: usize = 4;

/// Blocks of a GEMM panel: sixteen rows of 512 weights stay in a first-level cache.
const PANEL_BLOCKS: usize = 16;

/// Eight rows of up to so many bytes are prefetched whole while the eight before them are used:
/// they follow in memory, and short rows end before a hardware prefetcher has learnt of them.
const PREFETCH_WHOLE: usize = 24 * 1024;
/// In longer rows, how far ahead each is prefetched, in bytes.
const PREFETCH_AHEAD: usize = 768;

/// Which layout of activations `positions` need.
pub(crate) fn order_for(positions: usize) -> BlockOrder {
    if positions <= GEMV_POSITIONS {
        BlockOrder::Gemv
    } else {
        BlockOrder::Gemm
    }
}

/// Computes the outputs of the row groups `groups` (of eight rows; for the GEMM an even start) for
/// all positions of `x`: `y[position, row] = Σ w[row, k] · x[position, k]`.
///
/// # Safety
/// No other thread touches these rows of `y`, `[positions, w.rows()]`.
pub(crate) unsafe fn multiply(
    isa: Isa,
    w: WeightRows<'_>,
    x: &Activations,
    positions: usize,
    groups: std::ops::Range<usize>,
    y: SharedSlice<'_, f32>,
) {
    macro_rules! with {
        ($codec:ty) => {
            dispatch(
                isa,
                Multiply::<$codec> {
                    w,
                    x,
                    positions,
                    groups,
                    y,
                    codec: std::marker::PhantomData,
                },
            )
        };
    }
    match w.tensor_type() {
        TensorType::Q4_0 => with!(Q4_0),
        TensorType::Q4_1 => with!(Q4_1),
        TensorType::Q5_0 => with!(Q5_0),
        TensorType::Q5_1 => with!(Q5_1),
        TensorType::Q8_0 => with!(Q8_0),
        TensorType::Q4_K => with!(Q4K),
        TensorType::Q5_K => with!(Q5K),
        TensorType::Q6_K => with!(Q6K),
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
            unreachable!("float weights are multiplied by `float`")
        }
    }
}

struct Multiply<'a, C> {
    w: WeightRows<'a>,
    x: &'a Activations,
    positions: usize,
    groups: std::ops::Range<usize>,
    y: SharedSlice<'a, f32>,
    codec: std::marker::PhantomData<C>,
}

impl<C: Codec> Kernel for Multiply<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        debug_assert_eq!(self.x.order(), order_for(self.positions));
        debug_assert_eq!(self.x.blocks() * 32, self.w.columns());
        match self.positions {
            0 => {}
            1 => self.gemv::<S, 1>(s),
            2 => self.gemv::<S, 2>(s),
            3 => self.gemv::<S, 3>(s),
            4 => self.gemv::<S, 4>(s),
            _ => self.gemm(s),
        }
    }
}

/// Calls `$block!(SUB)` for each sub-block of a storage block, `SUB` a constant.
macro_rules! for_each_sub {
    ($blocks:expr, $block:ident) => {
        $block!(0);
        if $blocks == 8 {
            $block!(1);
            $block!(2);
            $block!(3);
            $block!(4);
            $block!(5);
            $block!(6);
            $block!(7);
        }
    };
}

impl<C: Codec> Multiply<'_, C> {
    #[inline(always)]
    fn gemv<S: Simd, const N: usize>(&self, s: S) {
        let rows = self.w.rows();
        for group in self.groups.clone() {
            let (bytes, count) = self.w.group(group);
            let mut x: [(&[ActivationBlock], &[Factors]); N] = [(&[], &[]); N];
            for (n, x) in x.iter_mut().enumerate() {
                *x = self.x.tile(n);
            }
            // SAFETY: `bytes` are eight whole rows.
            let sums = unsafe { eight_rows::<S, C, N>(s, bytes.as_ptr(), self.w.row_bytes(), &x) };
            for (n, sum) in sums.into_iter().enumerate() {
                let start = n * rows + group * LANES;
                let mut lanes = [0.0; LANES];
                // SAFETY: eight lanes; the caller of `multiply` gave us these rows.
                unsafe {
                    s.store(sum, lanes.as_mut_ptr());
                    self.y
                        .part(start..start + count)
                        .copy_from_slice(&lanes[..count]);
                }
            }
        }
    }

    #[inline(always)]
    fn gemm<S: Simd>(&self, s: S) {
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

/// The weights of sub-block `SUB` of eight rows.
///
/// # Safety
/// `block` points at a storage block of the first of eight rows, `row_bytes` apart.
#[inline(always)]
unsafe fn weights_of_rows<S: Simd, C: Codec, const SUB: usize>(
    s: S,
    block: *const u8,
    row_bytes: usize,
) -> [S::Bytes; LANES] {
    let mut rows = [s.zero_bytes(); LANES];
    for (r, row) in rows.iter_mut().enumerate().take(LANES / S::ROWS_PER_BYTES) {
        // SAFETY: the caller promises eight rows.
        *row = unsafe {
            let pair_stride = LANES / S::ROWS_PER_BYTES * row_bytes;
            C::weights::<S, SUB>(s, block.add(r * row_bytes), pair_stride)
        };
    }
    rows
}

/// Eight rows times `N` positions.
///
/// # Safety
/// `rows` points at eight rows of `row_bytes`, as many blocks wide as each of `x`.
#[inline(always)]
unsafe fn eight_rows<S: Simd, C: Codec, const N: usize>(
    s: S,
    rows: *const u8,
    row_bytes: usize,
    x: &[(&[ActivationBlock], &[Factors]); N],
) -> [S::F32; N] {
    let mut sums = [s.splat(0.0); N];
    let blocks = x[0].0.len() / C::BLOCKS;
    let mut ahead = Ahead::new::<C>(rows, row_bytes);
    for first in (0..blocks).step_by(LANES) {
        for b in first..blocks.min(first + LANES) {
            // SAFETY: the caller promises the rows, and that every `x` has `blocks` storage blocks.
            unsafe {
                let block = rows.add(b * C::BYTES);
                let scales = C::scales(s, block, row_bytes);
                macro_rules! add {
                    ($sub:literal) => {
                        ahead.prefetch::<S, C>(s, $sub);
                        let weights = weights_of_rows::<S, C, $sub>(s, block, row_bytes);
                        let scale = C::scale::<S, $sub>(s, &scales);
                        let minimum = C::minimum::<S, $sub>(s, &scales);
                        for n in 0..N {
                            let at = b * C::BLOCKS + $sub;
                            let values = x[n].0.get_unchecked(at);
                            let factors = x[n].1.get_unchecked(at);
                            sums[n] =
                                add_block::<S, C>(s, &weights, scale, values, factors, sums[n]);
                            if C::HAS_MINIMUM {
                                sums[n] = s.fma(minimum, s.splat(factors.scaled_sum), sums[n]);
                            }
                        }
                    };
                }
                for_each_sub!(C::BLOCKS, add);
            }
            ahead.next_block();
        }
        ahead.next_eight();
    }
    sums
}

/// Where memory is fetched ahead of its use: for each storage block, as much as eight rows of it.
struct Ahead {
    at: *const u8,
    /// From one block's part to the next's.
    step: usize,
    /// From the eighth block's part to the ninth's.
    leap: usize,
}

impl Ahead {
    #[inline(always)]
    fn new<C: Codec>(rows: *const u8, row_bytes: usize) -> Self {
        let part = LANES * C::BYTES;
        if LANES * row_bytes <= PREFETCH_WHOLE {
            // The next eight rows, in order.
            Self {
                at: rows.wrapping_add(LANES * row_bytes),
                step: part,
                leap: 0,
            }
        } else {
            // The same rows further on, eight blocks of one row for each block of eight.
            Self {
                at: rows.wrapping_add(PREFETCH_AHEAD),
                step: row_bytes,
                leap: part.wrapping_sub(LANES * row_bytes),
            }
        }
    }

    /// Prefetches the share of sub-block `sub` of the current block's part.
    #[inline(always)]
    fn prefetch<S: Simd, C: Codec>(&self, s: S, sub: usize) {
        let lines = (LANES * C::BYTES).div_ceil(64);
        for line in lines * sub / C::BLOCKS..lines * (sub + 1) / C::BLOCKS {
            s.prefetch(self.at.wrapping_add(64 * line));
        }
    }

    #[inline(always)]
    fn next_block(&mut self) {
        self.at = self.at.wrapping_add(self.step);
    }

    #[inline(always)]
    fn next_eight(&mut self) {
        self.at = self.at.wrapping_add(self.leap);
    }
}

/// `sum + d_w · d_x · (Σ q · x − offset · Σ x)`, whole or by halves.
#[inline(always)]
fn add_block<S: Simd, C: Codec>(
    s: S,
    weights: &[S::Bytes; LANES],
    scale: [S::F32; 2],
    x: &ActivationBlock,
    factors: &Factors,
    sum: S::F32,
) -> S::F32 {
    let without_offset = |dot, sum: i32| {
        if C::OFFSET == 0 {
            dot
        } else {
            s.sub_i32(dot, s.splat_i32(C::OFFSET * sum))
        }
    };
    let d = s.splat(factors.scale);
    let sums = &factors.sums;
    if C::HALVES {
        let dots = s.dot_row_halves(C::FORM, weights, x, sums);
        let first = s.to_f32(without_offset(dots[0], sums.halves[0]));
        let second = s.to_f32(without_offset(dots[1], sums.halves[1]));
        let sum = s.fma(s.mul(scale[0], d), first, sum);
        s.fma(s.mul(scale[1], d), second, sum)
    } else {
        let dot = s.dot_rows(C::FORM, weights, x, sums);
        let whole = without_offset(dot, sums.whole);
        s.fma(s.mul(scale[0], d), s.to_f32(whole), sum)
    }
}
