//! Q2_K and Q3_K where they lie.

use super::super::simd::Simd;
use super::{Codec, byte_of, four_words};
use crate::TensorType;

/// Two bits of each weight of a sub-block: 32 bytes have those of four.
///
/// # Safety
/// `at` points at them; else as for [`Codec::weights`].
#[inline(always)]
unsafe fn twos<S: Simd, const SUB: usize>(s: S, at: *const u8, pair_stride: usize) -> S::Bytes {
    // SAFETY: the caller's promise.
    let bytes = unsafe { s.load_bytes(at.add(32 * (SUB / 4)), pair_stride) };
    let shifted = match SUB % 4 {
        0 => bytes,
        1 => s.shr_bytes::<2>(bytes),
        2 => s.shr_bytes::<4>(bytes),
        _ => s.shr_bytes::<6>(bytes),
    };
    s.and_bytes(shifted, 3)
}

/// Scales of a Q2_K block: sixteen bytes of a 4-bit scale and a 4-bit minimum, four to an `i32`.
#[derive(Clone, Copy)]
pub(crate) struct NibbleScales<S: Simd> {
    d: S::F32,
    negative_dmin: S::F32,
    both: [S::I32; 4],
}

impl<S: Simd> NibbleScales<S> {
    /// The nibbles of sub-block `sub` from bit `from` of a byte on, times `unit`; exact (11 + 4 bits).
    #[inline(always)]
    fn times(&self, s: S, sub: usize, from: u32, unit: S::F32) -> [S::F32; 2] {
        let word = s.shr_i32_by(self.both[sub / 2], 16 * (sub as u32 % 2) + from);
        let fifteen = s.splat_i32(15);
        let [first, second] = [word, s.shr_i32::<8>(word)];
        [
            s.mul(unit, s.to_f32(s.and_i32(first, fifteen))),
            s.mul(unit, s.to_f32(s.and_i32(second, fifteen))),
        ]
    }
}

/// `u8 scales and minimums[16], u8 q[64], f16 d, f16 dmin`; `w = d · scale · q − dmin · minimum`, a
/// scale and a minimum for each 16 elements.
#[derive(Clone, Copy)]
pub(crate) struct Q2K;

impl Codec for Q2K {
    const TYPE: TensorType = TensorType::Q2_K;
    const HAS_MINIMUM: bool = true;
    const HALVES: bool = true;

    type Scales<S: Simd> = NibbleScales<S>;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> NibbleScales<S> {
        // SAFETY: the offsets are those of an 84-byte block.
        unsafe {
            let [d, dmin] = s.f16_pairs_to_f32(s.gather_u32(block.add(80), row_bytes));
            NibbleScales {
                d,
                negative_dmin: s.mul(dmin, s.splat(-1.0)),
                both: four_words(s, block, row_bytes),
            }
        }
    }
    #[inline(always)]
    fn scale<S: Simd, const SUB: usize>(s: S, scales: &NibbleScales<S>) -> [S::F32; 2] {
        scales.times(s, SUB, 0, scales.d)
    }
    #[inline(always)]
    fn minimum<S: Simd, const SUB: usize>(s: S, scales: &NibbleScales<S>) -> [S::F32; 2] {
        scales.times(s, SUB, 4, scales.negative_dmin)
    }
    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        // SAFETY: the offset is that of an 84-byte block.
        unsafe { twos::<S, SUB>(s, block.add(16), pair_stride) }
    }
}

/// `u8 high[32], u8 q[64], u8 scales[12], f16 d`; `w = d · scale · (q − 4)`, a signed 6-bit scale for
/// each 16 elements; bit `j` of `high` is sub-block `j`'s third bit.
#[derive(Clone, Copy)]
pub(crate) struct Q3K;

impl Codec for Q3K {
    const TYPE: TensorType = TensorType::Q3_K;
    const OFFSET: i32 = 4;
    const HALVES: bool = true;

    /// `d`, and the sixteen scales, 32 more than they are, four to an `i32`.
    type Scales<S: Simd> = (S::F32, [S::I32; 4]);

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> Self::Scales<S> {
        // SAFETY: the offsets are those of a 110-byte block.
        let ([_, d], [a, b, c]) = unsafe {
            (
                s.f16_pairs_to_f32(s.gather_u32(block.add(106), row_bytes)),
                [
                    s.gather_u32(block.add(96), row_bytes),
                    s.gather_u32(block.add(100), row_bytes),
                    s.gather_u32(block.add(104), row_bytes),
                ],
            )
        };
        let (low4, high2) = (s.splat_i32(0x0F0F_0F0F), s.splat_i32(0x3030_3030));
        let words = [
            s.or_i32(s.and_i32(a, low4), s.and_i32(s.shl_i32::<4>(c), high2)),
            s.or_i32(s.and_i32(b, low4), s.and_i32(s.shl_i32::<2>(c), high2)),
            s.or_i32(s.and_i32(s.shr_i32::<4>(a), low4), s.and_i32(c, high2)),
            s.or_i32(
                s.and_i32(s.shr_i32::<4>(b), low4),
                s.and_i32(s.shr_i32::<2>(c), high2),
            ),
        ];
        (d, words)
    }
    #[inline(always)]
    fn scale<S: Simd, const SUB: usize>(s: S, scales: &Self::Scales<S>) -> [S::F32; 2] {
        let (word, first) = (scales.1[SUB / 2], 2 * (SUB as u32 % 2));
        let middle = s.splat_i32(32);
        let [a, b] = [byte_of(s, word, first), byte_of(s, word, first + 1)];
        [
            s.mul(scales.0, s.to_f32(s.sub_i32(a, middle))),
            s.mul(scales.0, s.to_f32(s.sub_i32(b, middle))),
        ]
    }
    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        // SAFETY: the offsets are those of a 110-byte block.
        let (low, high) = unsafe {
            (
                twos::<S, SUB>(s, block.add(32), pair_stride),
                s.load_bytes(block, pair_stride),
            )
        };
        let third = match SUB {
            0 => s.shl_bytes::<2>(high),
            1 => s.shl_bytes::<1>(high),
            2 => high,
            3 => s.shr_bytes::<1>(high),
            4 => s.shr_bytes::<2>(high),
            5 => s.shr_bytes::<3>(high),
            6 => s.shr_bytes::<4>(high),
            _ => s.shr_bytes::<5>(high),
        };
        s.or_bytes(low, s.and_bytes(third, 4))
    }
}
