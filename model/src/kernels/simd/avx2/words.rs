//! Packed weights with a group in two vectors.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::{LANES, OfTile, Part, Simd, Sum, WORDS, WeightKind, Words, half_of_powers};
use super::Avx2;
use super::products::{MOVED_BY, even_odd, offset_pair, sum_pair};

/// Positions of a tile.
const TILE: usize = 6;

/// Words of the first eight rows of a group, and of the others.
type Word = [__m256i; 2];

/// Bytes of the first eight rows and of the others; without `VNNI` even ones as `i16`, then odd ones.
type Operand = [__m256i; 4];

/// `sum + w · x`, by the four bytes of a word with `x` the low or high bytes if `VNNI`, or by their
/// even or odd two with a pair of activations.
///
/// # Safety
/// The CPU has AVX2, and if `VNNI` AVX-VNNI; `x` is readable.
#[inline(always)]
unsafe fn add_products<const VNNI: bool>(sum: &mut Word, w: [__m256i; 2], x: *const i32) {
    // SAFETY: the caller's promises.
    unsafe {
        let x = _mm256_set1_epi32(x.read());
        for (sum, w) in sum.iter_mut().zip(w) {
            *sum = if VNNI {
                _mm256_dpbusd_avx_epi32(*sum, w, x)
            } else {
                _mm256_add_epi32(*sum, _mm256_madd_epi16(w, x))
            }
        }
    }
}

/// Adds to the sums `{a0}` to `{a5}` of the first eight rows and `{b0}` to `{b5}` of the others the
/// products of the operands of word `$j`, from byte `$from` of them on, with word `$j` behind `$behind`
/// of the activations of six positions.
macro_rules! add_word {
    ($add:ident, $j:literal, $from:literal, $behind:literal) => {
        concat!(
            add_word!(operand "wa", $j, $from, 0),
            add_word!(operand "wb", $j, $from, 32),
            add_word!(positions $add, $j, $behind, (0 "t" "u") (1 "u" "t") (2 "t" "u") (3 "u" "t") (4 "t" "u") (5 "u" "t"))
        )
    };
    (operand $w:literal, $j:literal, $from:literal, $rows:literal) => {
        concat!("vmovdqa {", $w, "}, ymmword ptr [{weights} + 128*", $j, " + ", $from, " + ", $rows, "]\n")
    };
    (positions $add:ident, $j:literal, $behind:literal, $(($n:literal $t:literal $u:literal))*) => {
        concat!($(
            "vpbroadcastd {", $t, "}, dword ptr [{x} + 24*", $j, " + 24*", $behind, " + 4*", $n, "]\n",
            $add!($n $t $u),
        )*)
    };
}
macro_rules! add_pairs {
    ($n:literal $t:literal $u:literal) => {
        concat!(
            add_pairs!(multiply "wa" $t => $u),
            add_pairs!(multiply "wb" $t => $t),
            add_pairs!(add "a" $n $u),
            add_pairs!(add "b" $n $t),
        )
    };
    (multiply $w:literal $x:literal => $to:literal) => {
        concat!("vpmaddwd {", $to, "}, {", $w, "}, {", $x, "}\n")
    };
    (add $sum:literal $n:literal $products:literal) => {
        concat!("vpaddd {", $sum, $n, "}, {", $sum, $n, "}, {", $products, "}\n")
    };
}
macro_rules! add_bytes {
    ($n:literal $t:literal $_u:literal) => {
        concat!(add_bytes!("a" $n "wa" $t), add_bytes!("b" $n "wb" $t))
    };
    ($sum:literal $n:literal $w:literal $x:literal) => {
        concat!("{{vex}} vpdpbusd {", $sum, $n, "}, {", $w, "}, {", $x, "}\n")
    };
}
macro_rules! shift {
    ($($n:literal)*) => {
        concat!($(
            "vpslld {a", $n, "}, {a", $n, "}, 8\n",
            "vpslld {b", $n, "}, {b", $n, "}, 8\n",
        )*)
    };
}
macro_rules! with_sums {
    ($weights:ident, $x:ident, $sums:ident, $($code:expr,)*) => {{
        // As what is written over a register must be something.
        let zero = _mm256_setzero_si256();
        asm!(
            $($code,)*
            weights = in(reg) $weights, x = in(reg) $x,
            wa = inout(ymm_reg) zero => _, wb = inout(ymm_reg) zero => _,
            t = inout(ymm_reg) zero => _, u = inout(ymm_reg) zero => _,
            a0 = inout(ymm_reg) $sums[0][0], b0 = inout(ymm_reg) $sums[0][1],
            a1 = inout(ymm_reg) $sums[1][0], b1 = inout(ymm_reg) $sums[1][1],
            a2 = inout(ymm_reg) $sums[2][0], b2 = inout(ymm_reg) $sums[2][1],
            a3 = inout(ymm_reg) $sums[3][0], b3 = inout(ymm_reg) $sums[3][1],
            a4 = inout(ymm_reg) $sums[4][0], b4 = inout(ymm_reg) $sums[4][1],
            a5 = inout(ymm_reg) $sums[5][0], b5 = inout(ymm_reg) $sums[5][1],
            options(pure, readonly, nostack, preserves_flags),
        )
    }};
}
/// The dot products of some words.
macro_rules! dot_words {
    ($weights:ident, $x:ident, $sums:ident: $($j:literal)*) => {
        if VNNI {
            with_sums!(
                $weights, $x, $sums,
                concat!($(add_word!(add_bytes, $j, 0, 0),)*),
                shift!(0 1 2 3 4 5),
                concat!($(add_word!(add_bytes, $j, 0, 8),)*),
            )
        } else {
            with_sums!(
                $weights, $x, $sums,
                concat!($(add_word!(add_pairs, $j, 0, 0), add_word!(add_pairs, $j, 64, 8),)*),
            )
        }
    };
}

/// [`Words::dot_tile`]. Written out, because the compiler would do one position's products after the
/// other, each waiting for the last, and spill what it loaded too early.
///
/// # Safety
/// As for [`Words::dot_tile`]; if `VNNI`, the CPU has AVX-VNNI.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot_tile<const VNNI: bool, const N: usize>(
    part: Part,
    weights: &[Operand; WORDS],
    x: *const i32,
) -> [Word; N] {
    let weights = weights.as_ptr();
    let mut sums = [[_mm256_setzero_si256(); 2]; N];
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
#[target_feature(enable = "avx2,fma,f16c")]
fn apart<const VNNI: bool, T: OfTile<Avx2<VNNI>>>(s: Avx2<VNNI>, of: T) {
    of.call::<TILE>(s);
}

#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn apart_vnni<const VNNI: bool, T: OfTile<Avx2<VNNI>>>(s: Avx2<VNNI>, of: T) {
    of.call::<TILE>(s);
}

// SAFETY: a value exists only where `Avx2::new`'s promise was kept.
unsafe impl<const VNNI: bool> Words for Avx2<VNNI> {
    const ROWS: usize = 16;
    const TILE: usize = TILE;
    const TOGETHER: usize = 1;
    const SIGNED_OFFSET: i32 = if VNNI { MOVED_BY } else { 0 };

    type Word = Word;
    type Table = __m256i;
    type Operand = Operand;
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
    unsafe fn table(self, values: *const u8) -> Self::Table {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(values.cast()));
            _mm256_xor_si256(table, _mm256_set1_epi8(Self::SIGNED_OFFSET as i8))
        }
    }
    #[inline(always)]
    fn word_lookup(self, a: Self::Word, table: Self::Table) -> Self::Word {
        // SAFETY: `self` proves the instructions.
        unsafe {
            [
                _mm256_shuffle_epi8(table, a[0]),
                _mm256_shuffle_epi8(table, a[1]),
            ]
        }
    }
    #[inline(always)]
    fn operands(self, kind: WeightKind, words: [Self::Word; WORDS]) -> [Self::Operand; WORDS] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let mut operands = [[_mm256_setzero_si256(); 4]; WORDS];
            for (operand, [a, b]) in operands.iter_mut().zip(words) {
                *operand = if !VNNI {
                    let ([even_a, odd_a], [even_b, odd_b]) = (even_odd(kind, a), even_odd(kind, b));
                    [even_a, even_b, odd_a, odd_b]
                } else if kind == WeightKind::Signed {
                    let sign = _mm256_set1_epi8(-128);
                    [_mm256_xor_si256(a, sign), _mm256_xor_si256(b, sign), a, b]
                } else {
                    [a, b, a, b]
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
        // SAFETY: `self` proves the instructions; the caller the reads. A block is eight words of
        // pairs of even activations, then eight of odd ones; with `VNNI` of high bytes, then of low.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            if VNNI {
                for j in part.words() {
                    let w = [weights[j][0], weights[j][1]];
                    for (sum, x) in sums.iter_mut().zip(x) {
                        add_products::<VNNI>(sum, w, x.add(j * STRIDE));
                    }
                }
                for [a, b] in &mut sums {
                    *a = _mm256_slli_epi32::<8>(*a);
                    *b = _mm256_slli_epi32::<8>(*b);
                }
                for j in part.words() {
                    let w = [weights[j][0], weights[j][1]];
                    for (sum, x) in sums.iter_mut().zip(x) {
                        add_products::<VNNI>(sum, w, x.add((WORDS + j) * STRIDE));
                    }
                }
                return sums;
            }
            for j in part.words() {
                let [even_a, even_b, odd_a, odd_b] = weights[j];
                for (sum, x) in sums.iter_mut().zip(x) {
                    add_products::<VNNI>(sum, [even_a, even_b], x.add(j * STRIDE));
                }
                for (sum, x) in sums.iter_mut().zip(x) {
                    add_products::<VNNI>(sum, [odd_a, odd_b], x.add((WORDS + j) * STRIDE));
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
        unsafe { dot_tile::<VNNI, N>(part, weights, x) }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        // SAFETY: `self` proves the instructions.
        unsafe {
            if VNNI {
                apart_vnni(self, of);
            } else {
                apart(self, of);
            }
        }
    }
    #[inline(always)]
    fn offset(self, value: i32) -> Self::Ints {
        [self.splat_i32(offset_pair(value)); 2]
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, offset: Self::Ints, sum: &Sum) -> Self::Ints {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let product = _mm256_madd_epi16(offset[0], _mm256_set1_epi32(sum_pair(sum)));
            [self.add_i32(a[0], product), self.add_i32(a[1], product)]
        }
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
    unsafe fn floats_from_nibbles(self, from: *const u8) -> [Self::Floats; 2] {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let wide = |at| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(at));
            let bytes = _mm_loadu_si128(from.cast());
            let low = _mm_and_si128(bytes, _mm_set1_epi8(15));
            let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), _mm_set1_epi8(15));
            [
                [wide(low), wide(_mm_srli_si128::<8>(low))],
                [wide(high), wide(_mm_srli_si128::<8>(high))],
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_exponents(self, from: *const u8) -> Self::Floats {
        // SAFETY: `self` proves the instructions; the caller the read.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            let first = _mm256_cvtepu8_epi32(bytes);
            let second = _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes));
            [half_of_powers(self, first), half_of_powers(self, second)]
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
