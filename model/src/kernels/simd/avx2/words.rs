//! Packed weights with half a group in a vector.

use std::arch::x86_64::*;

use super::super::{OfTile, Part, Simd, WORDS, WeightKind, Words};
use super::Avx2;
use super::products::{MOVED_BY, even_odd};

// SAFETY: a value exists only where `Avx2::new`'s promise was kept.
unsafe impl<const VNNI: bool> Words for Avx2<VNNI> {
    const ROWS: usize = 8;
    const TILE: usize = 8;
    const TOGETHER: usize = 1;
    const SIGNED_OFFSET: i32 = if VNNI { MOVED_BY } else { 0 };

    type Word = __m256i;
    type Floats = __m256;
    type Ints = __m256i;

    #[inline(always)]
    unsafe fn word(self, at: *const u8) -> Self::Word {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }
    #[inline(always)]
    fn word_and(self, a: Self::Word, mask: u8) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_and_si256(a, _mm256_set1_epi8(mask as i8)) }
    }
    #[inline(always)]
    fn word_or(self, a: Self::Word, b: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn word_shr<const N: i32>(self, a: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_srli_epi16::<N>(a) }
    }
    #[inline(always)]
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_slli_epi16::<N>(a) }
    }
    #[inline(always)]
    fn signed(self, a: Self::Word) -> Self::Word {
        if !VNNI {
            return a;
        }
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_xor_si256(a, _mm256_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        kind: WeightKind,
        part: Part,
        words: &[Self::Word; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N] {
        // SAFETY: `self` proves the instructions; the caller the reads. A block is eight words of
        // pairs of even activations, then eight of odd ones; with `VNNI` of high bytes, then of low.
        unsafe {
            let word = |x: *const i32, j: usize| _mm256_set1_epi32(x.add(j * STRIDE).read());
            let mut sums = [_mm256_setzero_si256(); N];
            if VNNI {
                for j in part.words() {
                    for n in 0..N {
                        sums[n] = _mm256_dpbusd_avx_epi32(sums[n], words[j], word(x[n], j));
                    }
                }
                for sum in &mut sums {
                    *sum = _mm256_slli_epi32::<8>(*sum);
                }
                for j in part.words() {
                    for n in 0..N {
                        let low = word(x[n], WORDS + j);
                        sums[n] = _mm256_dpbusd_avx_epi32(sums[n], words[j], low);
                    }
                }
                return sums;
            }
            for j in part.words() {
                let [even, odd] = even_odd(kind, words[j]);
                for n in 0..N {
                    let products = _mm256_madd_epi16(even, word(x[n], j));
                    sums[n] = _mm256_add_epi32(sums[n], products);
                    let products = _mm256_madd_epi16(odd, word(x[n], WORDS + j));
                    sums[n] = _mm256_add_epi32(sums[n], products);
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        of.call::<8>(self);
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, value: i32) -> Self::Ints {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm256_sub_epi32(a, _mm256_set1_epi32(value)) }
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
        // SAFETY: the caller's promise is this function's.
        unsafe { self.load_f16(from.cast()) }
    }
    #[inline(always)]
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
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
