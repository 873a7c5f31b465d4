//! Packed weights with a group in two vectors.

use std::arch::x86_64::*;

use super::super::{LANES, OfTile, Part, Simd, WORDS, WeightKind, Words};
use super::Avx2;
use super::products::{MOVED_BY, even_odd};

/// Positions of a tile.
const TILE: usize = 6;

/// Words of the first eight rows of a group, and of the others.
type Word = [__m256i; 2];

impl<const VNNI: bool> Avx2<VNNI> {
    /// `sum + w · x`, by the four bytes of a word with `x` the low or high bytes, or by their even
    /// or odd two with a pair of activations.
    #[inline(always)]
    unsafe fn add_products(self, sum: &mut Word, w: Word, x: *const i32) {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let x = _mm256_set1_epi32(x.read());
            for (sum, w) in sum.iter_mut().zip(w) {
                *sum = if VNNI {
                    _mm256_dpbusd_avx_epi32(*sum, w, x)
                } else {
                    _mm256_add_epi32(*sum, _mm256_madd_epi16(w, x))
                };
            }
        }
    }
}

// SAFETY: a value exists only where `Avx2::new`'s promise was kept.
unsafe impl<const VNNI: bool> Words for Avx2<VNNI> {
    const ROWS: usize = 16;
    const TILE: usize = TILE;
    const TOGETHER: usize = 1;
    const SIGNED_OFFSET: i32 = if VNNI { MOVED_BY } else { 0 };

    type Word = Word;
    type Floats = [__m256; 2];
    type Ints = [__m256i; 2];

    #[inline(always)]
    unsafe fn word(self, at: *const u8) -> Self::Word {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let at: *const __m256i = at.cast();
            [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))]
        }
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
        self.shr_bytes::<N>(a)
    }
    #[inline(always)]
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word {
        self.shl_bytes::<N>(a)
    }
    #[inline(always)]
    fn signed(self, a: Self::Word) -> Self::Word {
        if !VNNI {
            return a;
        }
        // SAFETY: `self` proves the instructions.
        unsafe {
            let sign = _mm256_set1_epi8(-128);
            [_mm256_xor_si256(a[0], sign), _mm256_xor_si256(a[1], sign)]
        }
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
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            if VNNI {
                for j in part.words() {
                    for (sum, x) in sums.iter_mut().zip(x) {
                        self.add_products(sum, words[j], x.add(j * STRIDE));
                    }
                }
                for [a, b] in &mut sums {
                    *a = _mm256_slli_epi32::<8>(*a);
                    *b = _mm256_slli_epi32::<8>(*b);
                }
                for j in part.words() {
                    for (sum, x) in sums.iter_mut().zip(x) {
                        self.add_products(sum, words[j], x.add((WORDS + j) * STRIDE));
                    }
                }
                return sums;
            }
            for j in part.words() {
                let [even_a, odd_a] = even_odd(kind, words[j][0]);
                let [even_b, odd_b] = even_odd(kind, words[j][1]);
                for (sum, x) in sums.iter_mut().zip(x) {
                    self.add_products(sum, [even_a, even_b], x.add(j * STRIDE));
                }
                for (sum, x) in sums.iter_mut().zip(x) {
                    self.add_products(sum, [odd_a, odd_b], x.add((WORDS + j) * STRIDE));
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        of.call::<TILE>(self);
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, value: i32) -> Self::Ints {
        let value = self.splat_i32(value);
        [self.sub_i32(a[0], value), self.sub_i32(a[1], value)]
    }

    #[inline(always)]
    fn floats(self, value: f32) -> Self::Floats {
        [self.splat(value); 2]
    }
    #[inline(always)]
    unsafe fn floats_store(self, value: Self::Floats, to: *mut f32) {
        // SAFETY: the caller's promise is this function's.
        unsafe {
            self.store(value[0], to);
            self.store(value[1], to.add(LANES));
        }
    }
    #[inline(always)]
    unsafe fn floats_from_f16(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller's promise is this function's.
        unsafe {
            [
                self.load_f16(from.cast()),
                self.load_f16(from.cast::<u16>().add(LANES)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let wide = |at| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(at));
            let bytes = _mm_loadu_si128(from.cast());
            [wide(bytes), wide(_mm_srli_si128::<8>(bytes))]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let wide = |at| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(at));
            let bytes = _mm_loadu_si128(from.cast());
            [wide(bytes), wide(_mm_srli_si128::<8>(bytes))]
        }
    }
    #[inline(always)]
    fn floats_from(self, a: Self::Ints) -> Self::Floats {
        [self.to_f32(a[0]), self.to_f32(a[1])]
    }
    #[inline(always)]
    fn floats_mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        [self.mul(a[0], b[0]), self.mul(a[1], b[1])]
    }
    #[inline(always)]
    fn floats_fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        [self.fma(a[0], b[0], c[0]), self.fma(a[1], b[1], c[1])]
    }
}
