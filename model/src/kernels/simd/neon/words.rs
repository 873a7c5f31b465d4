//! Packed weights with half a group in two vectors.

use std::arch::aarch64::*;

use super::super::{
    OfTile, Part, Simd, Sum, WORDS, WeightKind, Words, dot_blocks_of_tile, half_of_powers,
};
use super::products::{high_and_low, sdot_by, smmla, widen};
use super::{Neon, widen_f16};

/// Positions of a tile.
const TILE: usize = 4;

/// Words of the first four rows of half a group, and of the others.
type Word = [uint8x16_t; 2];

/// By dot products: the bytes of both, twice. By matrix products: of a word and the next, two rows a
/// vector. Else: `i16`, two rows a vector.
type Operand = [int8x16_t; 4];

/// Expands `$step!(j)` for each word of a part, in the order in which planes of nibbles give them.
/// Written out, since the compiler does not know how small an `asm!` is: it keeps a loop of them, and
/// with it weights and sums in memory.
macro_rules! each_word {
    ($part:expr, $step:ident) => {
        match $part {
            Part::Whole => {
                each_word!($step, 0 1 4 5 2 3 6 7);
            }
            Part::First => {
                each_word!($step, 0 1 2 3);
            }
            Part::Second => {
                each_word!($step, 4 5 6 7);
            }
        }
    };
    ($step:ident, $($j:literal)*) => {
        $($step!($j);)*
    };
}

/// [`Words::dot`] by matrix products. A block is four times two words of high bytes and the two of low
/// bytes that belong to them. Unsigned weights are at most 127, so signed products serve both kinds.
///
/// # Safety
/// The CPU has NEON and the matrix extension; else as for [`Words::dot`].
#[inline(always)]
unsafe fn matrix_products<const N: usize, const STRIDE: usize>(
    part: Part,
    weights: &[Operand; WORDS],
    x: &[*const i32; N],
) -> [[int32x4_t; 2]; N] {
    // SAFETY: the caller's promises.
    unsafe {
        // Of each position, products of two rows each.
        let mut pairs = [[vdupq_n_s32(0); 4]; N];
        macro_rules! step {
            ($j:literal) => {
                if $j % 2 == 0 {
                    for n in 0..N {
                        let x = vreinterpretq_s8_s32(vld1q_s32(x[n].add(2 * $j * STRIDE)));
                        for (pair, rows) in pairs[n].iter_mut().zip(weights[$j]) {
                            *pair = smmla(*pair, rows, x);
                        }
                    }
                }
            };
        }
        each_word!(part, step);
        let mut sums = [[vdupq_n_s32(0); 2]; N];
        for (sums, pairs) in sums.iter_mut().zip(pairs) {
            sums[0] = high_and_low(pairs[0], pairs[1]);
            sums[1] = high_and_low(pairs[2], pairs[3]);
        }
        sums
    }
}

/// Four words of activations.
///
/// # Safety
/// The CPU has NEON; the words are readable.
#[inline(always)]
unsafe fn four(x: *const i32) -> int8x16_t {
    // SAFETY: the caller's promises.
    unsafe { vreinterpretq_s8_s32(vld1q_s32(x)) }
}

/// [`Words::dot`] by dot products, of blocks that are not those of a tile. A block is eight words of
/// the activations' high bytes, then eight of the low ones. Unsigned weights are at most 127, so
/// signed products serve both kinds.
///
/// # Safety
/// The CPU has the dot-product extension; else as for [`Words::dot`].
#[inline(always)]
unsafe fn dot_products<const N: usize>(
    part: Part,
    weights: &[Operand; WORDS],
    x: &[*const i32; N],
) -> [[int32x4_t; 2]; N] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 2]; N];
        macro_rules! add {
            ($sums:ident, $j:literal, $from:expr) => {
                for n in 0..N {
                    let x = four(x[n].add($from + $j / 4 * 4));
                    for q in 0..2 {
                        $sums[n][q] = sdot_by::<{ $j % 4 }>($sums[n][q], weights[$j][q], x);
                    }
                }
            };
        }
        macro_rules! high {
            ($j:literal) => {
                add!(sums, $j, 0)
            };
        }
        if N <= 2 {
            // Chains of their own: there are too few to hide an addition's latency.
            let mut low_sums = sums;
            macro_rules! step {
                ($j:literal) => {
                    high!($j);
                    add!(low_sums, $j, WORDS);
                };
            }
            each_word!(part, step);
            return both(sums, low_sums);
        }
        macro_rules! low {
            ($j:literal) => {
                add!(sums, $j, WORDS)
            };
        }
        each_word!(part, high);
        for [a, b] in &mut sums {
            (*a, *b) = (vshlq_n_s32::<8>(*a), vshlq_n_s32::<8>(*b));
        }
        each_word!(part, low);
        sums
    }
}

/// [`Words::dot_tile`] by dot products: one load has a word of all positions.
///
/// # Safety
/// The CPU has the dot-product extension; else as for [`Words::dot_tile`].
#[inline(always)]
unsafe fn tile_products<const N: usize>(
    part: Part,
    weights: &[Operand; WORDS],
    x: *const i32,
) -> [[int32x4_t; 2]; N] {
    const { assert!(N == TILE) };
    // SAFETY: the caller's promises.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 2]; N];
        let mut low_sums = sums;
        macro_rules! add {
            ($sums:ident, $w:ident, $x:ident, $q:ident: $($n:literal)*) => {
                $($sums[$n][$q] = sdot_by::<$n>($sums[$n][$q], $w, $x);)*
            };
        }
        macro_rules! step {
            ($j:literal) => {
                let high = four(x.add($j * TILE));
                let low = four(x.add((WORDS + $j) * TILE));
                for q in 0..2 {
                    let w = weights[$j][q];
                    add!(sums, w, high, q: 0 1 2 3);
                    add!(low_sums, w, low, q: 0 1 2 3);
                }
            };
        }
        each_word!(part, step);
        both(sums, low_sums)
    }
}

/// `256 · high + low`.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn both<const N: usize>(
    mut high: [[int32x4_t; 2]; N],
    low: [[int32x4_t; 2]; N],
) -> [[int32x4_t; 2]; N] {
    // SAFETY: registers only.
    unsafe {
        for n in 0..N {
            for q in 0..2 {
                high[n][q] = vaddq_s32(vshlq_n_s32::<8>(high[n][q]), low[n][q]);
            }
        }
    }
    high
}

/// [`Words::dot`] by products of widened weights and whole activations. A block is sixteen pairs of
/// activations in natural order.
///
/// # Safety
/// The CPU has NEON; else as for [`Words::dot`].
#[inline(always)]
unsafe fn whole_products<const N: usize, const STRIDE: usize>(
    part: Part,
    weights: &[Operand; WORDS],
    x: &[*const i32; N],
) -> [[int32x4_t; 2]; N] {
    // SAFETY: the caller's promises.
    unsafe {
        // Of each position, two partial sums of each row, two rows a vector.
        let mut partial = [[vdupq_n_s32(0); 4]; N];
        for j in part.words() {
            for n in 0..N {
                let at = x[n].add(2 * j * STRIDE);
                let (first, second) = (at.read() as u32, at.add(STRIDE).read() as u32);
                let four = vcreate_s16(u64::from(first) | u64::from(second) << 32);
                for (partial, rows) in partial[n].iter_mut().zip(weights[j]) {
                    let rows = vreinterpretq_s16_s8(rows);
                    let products = vpaddq_s32(
                        vmull_s16(vget_low_s16(rows), four),
                        vmull_s16(vget_high_s16(rows), four),
                    );
                    *partial = vaddq_s32(*partial, products);
                }
            }
        }
        let mut sums = [[vdupq_n_s32(0); 2]; N];
        for (sums, partial) in sums.iter_mut().zip(partial) {
            sums[0] = vpaddq_s32(partial[0], partial[1]);
            sums[1] = vpaddq_s32(partial[2], partial[3]);
        }
        sums
    }
}

/// The words of two rows each, of `a` and of `b` side by side.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn zip(a: uint8x16_t, b: uint8x16_t) -> [int8x16_t; 2] {
    // SAFETY: registers only.
    unsafe {
        let (a, b) = (vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b));
        [
            vreinterpretq_s8_s32(vzip1q_s32(a, b)),
            vreinterpretq_s8_s32(vzip2q_s32(a, b)),
        ]
    }
}

/// Eight bytes.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn widen_u8(bytes: uint8x8_t) -> [float32x4_t; 2] {
    // SAFETY: registers only.
    unsafe {
        let wide = vmovl_u8(bytes);
        [
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))),
            vcvtq_f32_u32(vmovl_high_u16(wide)),
        ]
    }
}

#[inline(never)]
#[target_feature(enable = "neon")]
fn apart<const DOT: bool, const MATRIX: bool, T: OfTile<Neon<DOT, MATRIX>>>(
    s: Neon<DOT, MATRIX>,
    of: T,
) {
    of.call::<TILE>(s);
}

// SAFETY: a value exists only where `Neon::new`'s promise was kept.
unsafe impl<const DOT: bool, const MATRIX: bool> Words for Neon<DOT, MATRIX> {
    const ROWS: usize = 8;
    const TILE: usize = TILE;
    const TOGETHER: usize = if MATRIX { 4 } else { 1 };
    const SIGNED_OFFSET: i32 = 0;

    type Word = Word;
    type Table = uint8x16_t;
    type Operand = Operand;
    type Floats = [float32x4_t; 2];
    type Ints = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn word(self, at: *const u8) -> Self::Word {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { [vld1q_u8(at), vld1q_u8(at.add(16))] }
    }
    #[inline(always)]
    fn word_and(self, a: Self::Word, mask: u8) -> Self::Word {
        self.and_bytes(a, mask)
    }
    #[inline(always)]
    fn word_or(self, a: Self::Word, b: Self::Word) -> Self::Word {
        self.or_bytes(a, b)
    }
    #[inline(always)]
    fn word_shr<const N: i32>(self, a: Self::Word) -> Self::Word {
        // Bits do not cross bytes here at all, and a mask may be spared.
        // SAFETY: `self` proves the instructions.
        unsafe { a.map(|v| vshrq_n_u8::<N>(v)) }
    }
    #[inline(always)]
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { a.map(|v| vshlq_n_u8::<N>(v)) }
    }
    #[inline(always)]
    unsafe fn table(self, values: *const u8) -> Self::Table {
        // SAFETY: the caller promises sixteen readable bytes.
        unsafe { vld1q_u8(values) }
    }
    #[inline(always)]
    fn word_lookup(self, a: Self::Word, table: Self::Table) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { [vqtbl1q_u8(table, a[0]), vqtbl1q_u8(table, a[1])] }
    }
    #[inline(always)]
    fn operands(self, kind: WeightKind, words: [Self::Word; WORDS]) -> [Self::Operand; WORDS] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let mut operands = [[vdupq_n_s8(0); 4]; WORDS];
            for j in 0..WORDS {
                let [a, b] = words[j];
                operands[j] = if MATRIX {
                    let next = words[j | 1];
                    let ([first, second], [third, fourth]) = (zip(a, next[0]), zip(b, next[1]));
                    [first, second, third, fourth]
                } else if DOT {
                    let (a, b) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
                    [a, b, a, b]
                } else {
                    let ([first, second], [third, fourth]) = (widen(kind, a), widen(kind, b));
                    [first, second, third, fourth].map(|v| vreinterpretq_s8_s16(v))
                };
            }
            operands
        }
    }

    #[inline(always)]
    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        part: Part,
        weights: &[Self::Operand; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N] {
        // SAFETY: `self` proves the instructions; the caller the reads.
        unsafe {
            if MATRIX {
                matrix_products::<N, STRIDE>(part, weights, x)
            } else if DOT {
                dot_products::<N>(part, weights, x)
            } else {
                whole_products::<N, STRIDE>(part, weights, x)
            }
        }
    }
    #[inline(always)]
    unsafe fn dot_tile<const N: usize>(
        self,
        part: Part,
        weights: &[Self::Operand; WORDS],
        x: *const i32,
    ) -> [Self::Ints; N] {
        // SAFETY: `self` proves the instructions; the caller the reads.
        unsafe {
            if DOT && !MATRIX {
                tile_products(part, weights, x)
            } else {
                dot_blocks_of_tile(self, part, weights, x)
            }
        }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        // SAFETY: `self` proves the instructions.
        unsafe { apart(self, of) }
    }
    #[inline(always)]
    fn offset(self, value: i32) -> Self::Ints {
        self.splat_i32(value)
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, offset: Self::Ints, sum: &Sum) -> Self::Ints {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let [a, b] = [
                vmlsq_n_s32(a[0], offset[0], sum.value),
                vmlsq_n_s32(a[1], offset[1], sum.value),
            ];
            [a, b]
        }
    }

    #[inline(always)]
    fn floats(self, value: f32) -> Self::Floats {
        self.splat(value)
    }
    #[inline(always)]
    unsafe fn floats_store(self, value: Self::Floats, to: *mut f32) {
        // SAFETY: the caller's promise is this function's.
        unsafe { self.store(value, to) }
    }
    #[inline(always)]
    unsafe fn floats_from_f16(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe {
            let bits = vreinterpretq_u16_u8(vld1q_u8(from));
            [
                widen_f16(vget_low_u16(bits)),
                widen_f16(vget_high_u16(bits)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises eight readable bytes.
        unsafe { widen_u8(vld1_u8(from)) }
    }
    #[inline(always)]
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises eight readable bytes.
        unsafe {
            let wide = vmovl_s8(vld1_s8(from.cast()));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))),
                vcvtq_f32_s32(vmovl_high_s16(wide)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_nibbles(self, from: *const u8) -> [Self::Floats; 2] {
        // SAFETY: the caller promises eight readable bytes.
        unsafe {
            let bytes = vld1_u8(from);
            [
                widen_u8(vand_u8(bytes, vdup_n_u8(15))),
                widen_u8(vshr_n_u8::<4>(bytes)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_exponents(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises eight readable bytes.
        unsafe {
            let wide = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from)));
            let exponents = [vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide)];
            half_of_powers(self, exponents)
        }
    }
    #[inline(always)]
    fn floats_from(self, a: Self::Ints) -> Self::Floats {
        self.to_f32(a)
    }
    #[inline(always)]
    fn floats_mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        self.mul(a, b)
    }
    #[inline(always)]
    fn floats_fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        self.fma(a, b, c)
    }
}
