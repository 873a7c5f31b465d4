//! Products of weights and activations, and what arranges bytes for them.

use std::arch::x86_64::*;

use super::super::{ActivationBlock, LANES, Sum, WeightKind};

/// Splits 32 bytes into the 16-bit values of even and of odd elements.
#[inline(always)]
pub(super) fn even_odd(kind: WeightKind, q: __m256i) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        match kind {
            WeightKind::Unsigned => [
                _mm256_and_si256(q, _mm256_set1_epi16(0x00FF)),
                _mm256_srli_epi16::<8>(q),
            ],
            WeightKind::Signed | WeightKind::LookedUp => [
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(q)),
                _mm256_srai_epi16::<8>(q),
            ],
        }
    }
}

/// Adds the four `i32` of each 128-bit half of each vector; vectors' sums side by side.
#[inline(always)]
fn reduce(v: &[__m256i; 4]) -> __m256i {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        let pair =
            |a, b| _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (a, b) = (pair(v[0], v[1]), pair(v[2], v[3]));
        _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b))
    }
}

/// `vpdpbusd` wants unsigned weights: signed ones are moved up by so much, and the activations' own
/// sum, so many times, is taken away again.
pub(in super::super) const MOVED_BY: i32 = 128;

/// Products of weight bytes with the even and the odd activations that belong to them, or with
/// `VNNI` with their high and low bytes, summed to eight `i32`. There signed weights are moved.
#[inline(always)]
fn products<const VNNI: bool>(kind: WeightKind, bytes: __m256i, x: [__m256i; 2]) -> __m256i {
    // SAFETY: called only from methods of a proof type (AVX2, and if `VNNI` AVX-VNNI).
    unsafe {
        if VNNI {
            let bytes = match kind {
                WeightKind::Unsigned => bytes,
                WeightKind::Signed | WeightKind::LookedUp => {
                    _mm256_xor_si256(bytes, _mm256_set1_epi8(-128))
                }
            };
            let high = _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), bytes, x[0]);
            return _mm256_dpbusd_avx_epi32(_mm256_slli_epi32::<8>(high), bytes, x[1]);
        }
        let [even, odd] = even_odd(kind, bytes);
        _mm256_add_epi32(_mm256_madd_epi16(even, x[0]), _mm256_madd_epi16(odd, x[1]))
    }
}

/// The pair of factors that makes `−value · sum` of [`sum_pair`]; `value` is at most 128.
#[inline(always)]
pub(in super::super) const fn offset_pair(value: i32) -> i32 {
    (-value & 0xFFFF) | ((-256 * value) << 16)
}

#[inline(always)]
pub(in super::super) const fn sum_pair(sum: &Sum) -> i32 {
    sum.digits[0] as u16 as i32 | (sum.digits[1] as i32) << 16
}

/// What [`products`] of moved weights are without the move; `sum` is that of the activations.
#[inline(always)]
pub(super) fn moved_back<const VNNI: bool>(kind: WeightKind, dots: __m256i, sum: i32) -> __m256i {
    if !VNNI || kind == WeightKind::Unsigned {
        return dots;
    }
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe { _mm256_sub_epi32(dots, _mm256_set1_epi32(MOVED_BY * sum)) }
}

/// 32 `i16` in natural order as their high bytes and their low ones: `x = 256·high + low`, both
/// within a signed byte.
#[inline(always)]
pub(in super::super) fn high_low([first, second]: [__m256i; 2]) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        let high = |v| _mm256_srai_epi16::<8>(_mm256_add_epi16(v, _mm256_set1_epi16(128)));
        let low = |v| _mm256_sub_epi16(v, _mm256_slli_epi16::<8>(high(v)));
        let bytes = |a, b| _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi16(a, b));
        [
            bytes(high(first), high(second)),
            bytes(low(first), low(second)),
        ]
    }
}

/// Dot products of whole rows, for the first and for the second 16 elements.
#[inline(always)]
pub(super) fn dot_whole_rows<const VNNI: bool>(
    kind: WeightKind,
    rows: &[[__m256i; 2]; LANES],
    x: &ActivationBlock,
) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2); a block is the 32 bytes of even
    // elements, then those of odd ones (with `VNNI` the high and the low bytes), aligned to 64.
    unsafe {
        let at: *const __m256i = x.0.as_ptr().cast();
        let x = [_mm256_load_si256(at), _mm256_load_si256(at.add(1))];
        let mut sums = [[_mm256_setzero_si256(); 4]; 2];
        for i in 0..4 {
            for which in 0..2 {
                sums[which][i] = products::<VNNI>(kind, rows[i][which], x);
            }
        }
        // In each, four rows' first halves, then their second.
        let (low, high) = (reduce(&sums[0]), reduce(&sums[1]));
        [
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        ]
    }
}

/// Dot products of pairs of rows that are arranged by halves.
#[inline(always)]
pub(super) fn dot_paired_rows<const VNNI: bool>(
    kind: WeightKind,
    rows: &[[__m256i; 2]; LANES],
    x: &ActivationBlock,
) -> __m256i {
    // SAFETY: called only from methods of a proof type (AVX2); a block is 16 bytes each of the even
    // elements of its first half, of its second, and of the odd ones of both (with `VNNI` of the
    // high and the low bytes), aligned to 64.
    unsafe {
        let at: *const __m128i = x.0.as_ptr().cast();
        let x = |i| _mm256_broadcastsi128_si256(_mm_load_si128(at.add(i)));
        let (first, second) = ([x(0), x(2)], [x(1), x(3)]);
        let mut sums = [_mm256_setzero_si256(); 4];
        for i in 0..4 {
            sums[i] = _mm256_add_epi32(
                products::<VNNI>(kind, rows[i][0], first),
                products::<VNNI>(kind, rows[i][1], second),
            );
        }
        reduce(&sums)
    }
}

/// Packs four vectors of eight `i32` into 32 `i16` in natural order.
#[inline(always)]
pub(in super::super) fn narrow(values: [__m256i; 4]) -> [__m256i; 2] {
    // SAFETY: called only from methods of a proof type (AVX2).
    unsafe {
        [
            _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(values[0], values[1])),
            _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(values[2], values[3])),
        ]
    }
}
