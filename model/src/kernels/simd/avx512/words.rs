//! Packed weights with a whole group in a vector.

use std::arch::x86_64::*;

use super::super::{OfTile, Part, WORDS, WeightKind, Words};
use super::Avx512;
use super::avx2::MOVED_BY;

// SAFETY: a value exists only where `Avx512::new`'s promise was kept.
unsafe impl Words for Avx512 {
    const ROWS: usize = 16;
    const TILE: usize = 12;
    const TOGETHER: usize = 1;
    const SIGNED_OFFSET: i32 = MOVED_BY;

    type Word = __m512i;
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
    fn signed(self, a: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_xor_si512(a, _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        _kind: WeightKind,
        part: Part,
        words: &[Self::Word; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N] {
        // SAFETY: `self` proves the instructions; the caller the reads. A block is eight words of
        // the activations' high bytes, then eight of the low ones.
        unsafe {
            let word = |x: *const i32, j: usize| _mm512_set1_epi32(x.add(j * STRIDE).read());
            let mut sums = [_mm512_setzero_si512(); N];
            for j in part.words() {
                for n in 0..N {
                    sums[n] = _mm512_dpbusd_epi32(sums[n], words[j], word(x[n], j));
                }
            }
            if N <= 2 {
                // Chains of their own: there are too few to hide an addition's latency.
                let mut low = [_mm512_setzero_si512(); N];
                for j in part.words() {
                    for n in 0..N {
                        low[n] = _mm512_dpbusd_epi32(low[n], words[j], word(x[n], WORDS + j));
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
                    sums[n] = _mm512_dpbusd_epi32(sums[n], words[j], word(x[n], WORDS + j));
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        of.call::<{ Self::TILE }>(self);
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, value: i32) -> Self::Ints {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_sub_epi32(a, _mm512_set1_epi32(value)) }
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
