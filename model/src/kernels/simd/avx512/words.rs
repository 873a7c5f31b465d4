//! Packed weights with a whole group in a vector.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::{OfTile, Part, Sum, WORDS, WeightKind, Words};
use super::Avx512;
use super::avx2::{MOVED_BY, offset_pair, sum_pair};

/// Positions of a tile.
const TILE: usize = 12;

/// Adds to the sums `{s0}` to `{s11}` the products of word `$j` of the weights with word `$j` behind
/// `$behind` of the activations of twelve positions.
macro_rules! add_word {
    ($j:literal, $behind:literal) => {
        concat!(
            "vmovdqa64 {w}, zmmword ptr [{weights} + 64*", $j, "]\n",
            add_word!($j, $behind: 0 1 2 3 4 5 6 7 8 9 10 11)
        )
    };
    ($j:literal, $behind:literal: $($n:literal)*) => {
        concat!($(
            "vpdpbusd {s", $n, "}, {w}, dword ptr [{x} + 48*", $j, " + 48*", $behind, " + 4*", $n, "]{{1to16}}\n",
        )*)
    };
}

/// The dot products of some words: of all high bytes, then of the low ones.
macro_rules! dot_words {
    ($weights:ident, $x:ident, $sums:ident: $($j:literal)*) => {
        asm!(
            concat!($(add_word!($j, 0),)*),
            dot_words!(shift: 0 1 2 3 4 5 6 7 8 9 10 11),
            concat!($(add_word!($j, 8),)*),
            weights = in(reg) $weights, x = in(reg) $x, w = inout(zmm_reg) $sums[0] => _,
            s0 = inout(zmm_reg) $sums[0], s1 = inout(zmm_reg) $sums[1],
            s2 = inout(zmm_reg) $sums[2], s3 = inout(zmm_reg) $sums[3],
            s4 = inout(zmm_reg) $sums[4], s5 = inout(zmm_reg) $sums[5],
            s6 = inout(zmm_reg) $sums[6], s7 = inout(zmm_reg) $sums[7],
            s8 = inout(zmm_reg) $sums[8], s9 = inout(zmm_reg) $sums[9],
            s10 = inout(zmm_reg) $sums[10], s11 = inout(zmm_reg) $sums[11],
            options(pure, readonly, nostack, preserves_flags),
        )
    };
    (shift: $($n:literal)*) => {
        concat!($("vpslld {s", $n, "}, {s", $n, "}, 8\n",)*)
    };
}

/// [`Words::dot_tile`]. Written out, because the compiler would do one position's products after the
/// other, each waiting for the last, and spill what it loaded too early.
///
/// # Safety
/// As for [`Words::dot_tile`].
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn dot_tile<const N: usize>(
    part: Part,
    weights: &[__m512i; WORDS],
    x: *const i32,
) -> [__m512i; N] {
    let weights = weights.as_ptr();
    let mut sums = [_mm512_setzero_si512(); N];
    // SAFETY: the caller promises the reads; `weights` is aligned.
    unsafe {
        match part {
            Part::Whole => dot_words!(weights, x, sums: 0 1 2 3 4 5 6 7),
            Part::First => dot_words!(weights, x, sums: 0 1 2 3),
            Part::Second => dot_words!(weights, x, sums: 4 5 6 7),
        }
    }
    sums
}

#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn apart<T: OfTile<Avx512>>(s: Avx512, of: T) {
    of.call::<TILE>(s);
}

// SAFETY: a value exists only where `Avx512::new`'s promise was kept.
unsafe impl Words for Avx512 {
    const ROWS: usize = 16;
    const TILE: usize = TILE;
    const TOGETHER: usize = 1;
    const SIGNED_OFFSET: i32 = MOVED_BY;

    type Word = __m512i;
    type Table = __m512i;
    type Operand = __m512i;
    type Floats = __m512;
    type Ints = __m512i;

    #[inline(always)]
    unsafe fn word(self, at: *const u8) -> Self::Word {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }
    #[inline(always)]
    fn word_and(self, a: Self::Word, mask: u8) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_and_si512(a, _mm512_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    fn word_or(self, a: Self::Word, b: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn word_shr<const N: i32>(self, a: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_srl_epi16(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_sll_epi16(a, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    unsafe fn table(self, values: *const u8) -> Self::Table {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(values.cast()));
            _mm512_xor_si512(table, _mm512_set1_epi8(MOVED_BY as i8))
        }
    }
    #[inline(always)]
    fn word_lookup(self, a: Self::Word, table: Self::Table) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_shuffle_epi8(table, a) }
    }
    #[inline(always)]
    fn operands(self, kind: WeightKind, mut words: [Self::Word; WORDS]) -> [Self::Operand; WORDS] {
        if kind == WeightKind::Signed {
            for word in &mut words {
                // SAFETY: `self` proves the instructions.
                *word = unsafe { _mm512_xor_si512(*word, _mm512_set1_epi8(-128)) };
            }
        }
        words
    }

    #[inline(always)]
    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        part: Part,
        weights: &[Self::Operand; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N] {
        // SAFETY: `self` proves the instructions; the caller the reads. A block is eight words of
        // the activations' high bytes, then eight of the low ones.
        unsafe {
            let word = |x: *const i32, j: usize| _mm512_set1_epi32(x.add(j * STRIDE).read());
            let mut sums = [_mm512_setzero_si512(); N];
            for j in part.words() {
                for n in 0..N {
                    sums[n] = _mm512_dpbusd_epi32(sums[n], weights[j], word(x[n], j));
                }
            }
            if N <= 2 {
                // Chains of their own: there are too few to hide an addition's latency.
                let mut low = [_mm512_setzero_si512(); N];
                for j in part.words() {
                    for n in 0..N {
                        low[n] = _mm512_dpbusd_epi32(low[n], weights[j], word(x[n], WORDS + j));
                    }
                }
                for n in 0..N {
                    sums[n] = _mm512_add_epi32(_mm512_slli_epi32::<8>(sums[n]), low[n]);
                }
                return sums;
            }
            for sum in &mut sums {
                *sum = _mm512_slli_epi32::<8>(*sum);
            }
            for j in part.words() {
                for n in 0..N {
                    sums[n] = _mm512_dpbusd_epi32(sums[n], weights[j], word(x[n], WORDS + j));
                }
            }
            sums
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
        unsafe { dot_tile(part, weights, x) }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        // SAFETY: `self` proves the instructions.
        unsafe { apart(self, of) }
    }
    #[inline(always)]
    fn offset(self, value: i32) -> Self::Ints {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_set1_epi32(offset_pair(value)) }
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, offset: Self::Ints, sum: &Sum) -> Self::Ints {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_dpwssd_epi32(a, offset, _mm512_set1_epi32(sum_pair(sum))) }
    }

    #[inline(always)]
    fn floats(self, value: f32) -> Self::Floats {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn floats_store(self, value: Self::Floats, to: *mut f32) {
        // SAFETY: `self` proves the instructions; the caller the write.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn floats_from_f16(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn floats_from_nibbles(self, from: *const u8) -> [Self::Floats; 2] {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let low = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
            let high = _mm512_srli_epi32::<4>(bytes);
            [_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high)]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_exponents(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let power = _mm512_slli_epi32::<23>(exponents);
            let normal = _mm512_sub_epi32(power, _mm512_set1_epi32(1 << 23));
            let subnormal = _mm512_add_epi32(exponents, _mm512_set1_epi32(1));
            let subnormal = _mm512_slli_epi32::<21>(subnormal);
            _mm512_castsi512_ps(_mm512_max_epi32(normal, subnormal))
        }
    }
    #[inline(always)]
    fn floats_from(self, a: Self::Ints) -> Self::Floats {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn floats_mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn floats_fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}
