//! Quantises activations to 16 bits in blocks of 32.
//!
//! A block's scale is `d = max|x| / 32639` and its values `round(x / d)`, to nearest, ties to
//! even. 32639 = 127 · 256 + 127 lets a value be split into two signed bytes. Measured against the
//! `f32` model, 16 bits leave a KL divergence below 0.000002 nats a position where int8 blocks
//! leave 0.003 to 0.007.

use std::ops::Range;

use super::isa::{Kernel, dispatch};
use super::simd::{ActivationBlock, BlockSums, Simd, Sum, WORD};
use super::{Isa, SharedSlice};

/// Elements of an activation block.
pub(crate) const BLOCK: usize = 32;

/// Positions up to which activations are for the GEMV, which multiplies a few at a time. For more of
/// them it pays to make weights ready once.
pub(crate) const GEMV_POSITIONS: usize = 16;

/// Largest magnitude of a quantised activation.
const LIMIT: f32 = 32639.0;

/// Quantised activations in tiles of positions: of one for the GEMV, of as many as the instruction
/// set's tiles have for the GEMM. A tile is `[blocks, positions]`, with the words of a block side by
/// side: `[16 words, positions]`, or by as many words as the instruction set reads at once.
///
/// One is used again for the next input: [`Activations::reserve`].
pub(crate) struct Activations {
    tile: usize,
    blocks: usize,
    values: Vec<ActivationBlock>,
    factors: Vec<Factors>,
}

/// What a block's integer dot product is multiplied with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Factors {
    /// `d`.
    pub(crate) scale: f32,
    /// `d · Σ values`.
    pub(crate) scaled_sum: f32,
    /// `Σ values`, and the sums of the first and of the second 16.
    pub(crate) sums: BlockSums,
}

impl Factors {
    /// `d` times the sum of the first and of the second 16 values: not kept, as one type needs it.
    #[inline(always)]
    pub(crate) fn scaled_sums_of_halves(&self) -> [f32; 2] {
        let [first, second] = &self.sums.halves;
        [
            self.scale * first.value as f32,
            self.scale * second.value as f32,
        ]
    }
}

impl Default for Activations {
    fn default() -> Self {
        Self {
            tile: 1,
            blocks: 0,
            values: Vec::new(),
            factors: Vec::new(),
        }
    }
}

impl Activations {
    /// Makes room for `positions` of `width` elements, which are not specified until they are
    /// [quantised](ActivationTiles::quantise).
    pub(crate) fn reserve(&mut self, isa: Isa, positions: usize, width: usize) {
        self.tile = if positions <= GEMV_POSITIONS {
            1
        } else {
            dispatch(isa, TilePositions)
        };
        self.blocks = width / BLOCK;
        let room = positions.next_multiple_of(self.tile) * self.blocks;
        self.values.resize(room, ActivationBlock([0; BLOCK]));
        self.factors.resize(room, Factors::default());
    }

    /// Makes this a copy.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        (self.tile, self.blocks) = (other.tile, other.blocks);
        self.values.clone_from(&other.values);
        self.factors.clone_from(&other.factors);
    }

    /// Positions of a tile; the last of a GEMM has zeros for those that are missing.
    pub(crate) fn tile_positions(&self) -> usize {
        self.tile
    }

    /// Tiles of so many positions.
    pub(crate) fn tiles_of(&self, positions: usize) -> usize {
        positions.div_ceil(self.tile)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The blocks of a tile, `[blocks, positions]`.
    pub(crate) fn tile(&self, index: usize) -> (&[ActivationBlock], &[Factors]) {
        let width = self.blocks * self.tile;
        let range = index * width..(index + 1) * width;
        (&self.values[range.clone()], &self.factors[range])
    }

    /// A writer whose tiles threads may fill at once.
    pub(crate) fn tiles_mut(&mut self) -> ActivationTiles<'_> {
        ActivationTiles {
            tile: self.tile,
            blocks: self.blocks,
            values: SharedSlice::new(&mut self.values),
            factors: SharedSlice::new(&mut self.factors),
        }
    }
}

/// Writes tiles of [`Activations`].
#[derive(Clone, Copy)]
pub(crate) struct ActivationTiles<'a> {
    tile: usize,
    blocks: usize,
    values: SharedSlice<'a, ActivationBlock>,
    factors: SharedSlice<'a, Factors>,
}

impl ActivationTiles<'_> {
    /// Quantises the positions `x` of tile `index`, the last maybe fewer than a tile has.
    ///
    /// # Panics
    /// If `x` is not whole positions, or too many.
    ///
    /// # Safety
    /// No other thread writes this tile.
    pub(crate) unsafe fn quantise(&self, isa: Isa, index: usize, x: &[f32]) {
        let positions = x.len() / (self.blocks * BLOCK);
        assert!(x.len() == positions * self.blocks * BLOCK && positions <= self.tile);
        let width = self.blocks * self.tile;
        let range = index * width..(index + 1) * width;
        // SAFETY: one writer a tile, as the caller promises.
        let (values, factors) =
            unsafe { (self.values.part(range.clone()), self.factors.part(range)) };
        if positions < self.tile {
            values.fill(ActivationBlock([0; BLOCK]));
            factors.fill(Factors::default());
        }
        dispatch(
            isa,
            Quantise {
                tile: self.tile,
                blocks: self.blocks,
                x,
                values,
                factors,
            },
        );
    }

    /// Quantises some blocks of a position, where tiles are of one.
    ///
    /// # Panics
    /// If tiles are larger, or `x` are not so many blocks.
    ///
    /// # Safety
    /// No other thread writes these blocks.
    pub(crate) unsafe fn quantise_blocks(
        &self,
        isa: Isa,
        position: usize,
        blocks: Range<usize>,
        x: &[f32],
    ) {
        assert!(self.tile == 1 && blocks.end <= self.blocks && x.len() == blocks.len() * BLOCK);
        let first = position * self.blocks;
        let range = first + blocks.start..first + blocks.end;
        // SAFETY: one writer a block, as the caller promises.
        let (values, factors) =
            unsafe { (self.values.part(range.clone()), self.factors.part(range)) };
        dispatch(
            isa,
            Quantise {
                tile: 1,
                blocks: blocks.len(),
                x,
                values,
                factors,
            },
        );
    }

    /// Copies all blocks of a position from one with fewer of them: they are `blocks` here.
    ///
    /// # Panics
    /// If tiles are of several positions, or `from` has not so many blocks.
    ///
    /// # Safety
    /// No other thread writes these blocks.
    pub(crate) unsafe fn copy_blocks(
        &self,
        position: usize,
        blocks: Range<usize>,
        from: &Activations,
    ) {
        assert!(self.tile == 1 && from.tile == 1 && blocks.end <= self.blocks);
        assert_eq!(from.blocks, blocks.len());
        let (values, factors) = from.tile(position);
        let first = position * self.blocks;
        let range = first + blocks.start..first + blocks.end;
        // SAFETY: one writer a block, as the caller promises.
        unsafe {
            self.values.part(range.clone()).copy_from_slice(values);
            self.factors.part(range).copy_from_slice(factors);
        }
    }
}

/// [`Words::TILE`](super::simd::Words::TILE).
struct TilePositions;

impl Kernel for TilePositions {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _s: S) -> usize {
        S::TILE
    }
}

struct Quantise<'a> {
    tile: usize,
    blocks: usize,
    x: &'a [f32],
    values: &'a mut [ActivationBlock],
    factors: &'a mut [Factors],
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut block = ActivationBlock([0; BLOCK]);
        for (n, x) in self.x.chunks_exact(self.blocks * BLOCK).enumerate() {
            let tile = self.values.chunks_exact_mut(self.tile);
            let factors = self.factors.chunks_exact_mut(self.tile);
            for ((x, values), factors) in x.chunks_exact(BLOCK).zip(tile).zip(factors) {
                if let [value] = values {
                    factors[0] = quantise_block(s, x, value);
                } else {
                    factors[n] = quantise_block(s, x, &mut block);
                    put_beside::<S>(&block, n, values);
                }
            }
        }
    }
}

/// Writes a block as the `n`-th of a tile's, which lie side by side by a few words.
#[inline(always)]
fn put_beside<S: Simd>(block: &ActivationBlock, n: usize, tile: &mut [ActivationBlock]) {
    let positions = tile.len();
    let each = S::TOGETHER * WORD / size_of::<i16>();
    for (i, words) in block.0.chunks_exact(each).enumerate() {
        let at = each * (i * positions + n);
        tile[at / BLOCK].0[at % BLOCK..][..each].copy_from_slice(words);
    }
}

#[inline(always)]
fn quantise_block<S: Simd>(s: S, x: &[f32], to: &mut ActivationBlock) -> Factors {
    debug_assert_eq!(x.len(), BLOCK);
    // SAFETY: four vectors of eight within the block's 32 values.
    let v: [S::F32; 4] = unsafe {
        let x = x.as_ptr();
        [
            s.load(x),
            s.load(x.add(8)),
            s.load(x.add(16)),
            s.load(x.add(24)),
        ]
    };
    // The bits of |x| order like |x|, NaN above all, so the maximum needs no care for NaN.
    let magnitude_mask = s.splat_i32(0x7FFF_FFFF);
    let magnitude = |v| s.and_i32(s.f32_bits(v), magnitude_mask);
    let largest = s.max_i32(
        s.max_i32(magnitude(v[0]), magnitude(v[1])),
        s.max_i32(magnitude(v[2]), magnitude(v[3])),
    );
    let mut lanes = [0_i32; 8];
    // SAFETY: eight lanes.
    unsafe { s.store_i32(largest, lanes.as_mut_ptr()) };
    let mut largest = 0;
    for lane in lanes {
        largest = lane.max(largest);
    }
    let largest = f32::from_bits(largest as u32);
    let scale = largest / LIMIT;
    if !(scale >= f32::MIN_POSITIVE && scale.is_finite()) {
        // Nothing representable: zeros, or a NaN that must show in the result.
        *to = ActivationBlock([0; BLOCK]);
        let scale = if largest.is_finite() { 0.0 } else { f32::NAN };
        return Factors {
            scale,
            scaled_sum: scale,
            sums: BlockSums::default(),
        };
    }
    let inverse = s.splat(1.0 / scale);
    let rounded = [
        s.round_to_i32(s.mul(v[0], inverse)),
        s.round_to_i32(s.mul(v[1], inverse)),
        s.round_to_i32(s.mul(v[2], inverse)),
        s.round_to_i32(s.mul(v[3], inverse)),
    ];
    // SAFETY: `to` is a block.
    unsafe { s.store_block(rounded, to) };
    let mut halves = [0; 2];
    let sums = [
        s.add_i32(rounded[0], rounded[1]),
        s.add_i32(rounded[2], rounded[3]),
    ];
    for (half, sums) in halves.iter_mut().zip(sums) {
        // SAFETY: eight lanes.
        unsafe { s.store_i32(sums, lanes.as_mut_ptr()) };
        *half = lanes.iter().sum();
    }
    let whole = halves[0] + halves[1];
    Factors {
        scale,
        scaled_sum: scale * whole as f32,
        sums: BlockSums {
            whole: Sum::new(whole),
            halves: [Sum::new(halves[0]), Sum::new(halves[1])],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantised(isa: Isa, x: &[f32]) -> (Vec<ActivationBlock>, Vec<Factors>) {
        let mut a = Activations::default();
        a.reserve(isa, 1, x.len());
        // SAFETY: one thread.
        unsafe { a.tiles_mut().quantise(isa, 0, x) };
        (a.values, a.factors)
    }

    #[test]
    fn values_times_scale_are_the_input_within_half_a_step() {
        let x: Vec<f32> = (0..64)
            .map(|i| ((i * 37 % 64) as f32 - 30.0) * 0.37)
            .collect();
        let (values, factors) = quantised(Isa::SCALAR, &x);
        for (i, &x) in x.iter().enumerate() {
            let (value, f) = (values[i / 32].0[i % 32], factors[i / 32]);
            assert!((f32::from(value) * f.scale - x).abs() <= 0.501 * f.scale);
        }
        let sum: i32 = values[1].0.iter().map(|&v| i32::from(v)).sum();
        assert_eq!(factors[1].scaled_sum, factors[1].scale * sum as f32);
    }

    #[test]
    fn every_isa_gives_the_same_factors_even_for_extreme_input() {
        for x in [
            vec![0.0; 32],
            vec![f32::MAX; 32],
            vec![-f32::MAX; 32],
            vec![1e-42; 32],
            vec![f32::INFINITY; 32],
            (0..32)
                .map(|i| if i == 9 { f32::NAN } else { 1.0 })
                .collect(),
            (0..32)
                .map(|i| (i as f32).exp2() * if i % 2 == 0 { -1.0 } else { 1.0 })
                .collect(),
        ] {
            let (_, expected) = quantised(Isa::SCALAR, &x);
            for isa in Isa::available() {
                let (_, factors) = quantised(isa, &x);
                assert_eq!(
                    factors[0].scale.to_bits(),
                    expected[0].scale.to_bits(),
                    "{isa}"
                );
                assert_eq!(factors[0].sums, expected[0].sums, "{isa}");
            }
        }
    }
}
