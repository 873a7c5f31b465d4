//! Types whose weights are numbers of a table, where they lie.

use super::super::simd::{Arrangement, Simd, WeightForm, WeightKind, half_of_powers};
use super::super::values;
use super::{Codec, simple_codec};
use crate::TensorType;

/// Signed bytes that nibbles number.
const LOOKED_UP: WeightForm = WeightForm {
    kind: WeightKind::Signed,
    arrangement: Arrangement::Halves,
};

simple_codec! {
    /// `f16 d, u8 nibbles[16]`; `w = d · value`.
    Iq4Nl: IQ4_NL,
    const FORM = LOOKED_UP,
    |s, block, stride| s.lookup_bytes(s.load_nibbles(block.add(2), stride), &values::IQ4)
}

/// `u8 exponent, u8 nibbles[16]`; `w = 2^(exponent − 128) · value`.
#[derive(Clone, Copy)]
pub(crate) struct Mxfp4;

impl Codec for Mxfp4 {
    const TYPE: TensorType = TensorType::MXFP4;
    const FORM: WeightForm = LOOKED_UP;

    type Scales<S: Simd> = S::F32;

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> S::F32 {
        // SAFETY: a block is more than four bytes.
        let words = unsafe { s.gather_u32(block, row_bytes) };
        half_of_powers(s, s.and_i32(words, s.splat_i32(0xFF)))
    }
    #[inline(always)]
    fn scale<S: Simd, const SUB: usize>(_s: S, scales: &S::F32) -> [S::F32; 2] {
        [*scales, *scales]
    }
    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        // SAFETY: the offset is that of a 17-byte block.
        let nibbles = unsafe { s.load_nibbles(block.add(1), pair_stride) };
        s.lookup_bytes(nibbles, &values::FP4)
    }
}

/// `f16 d, u16 high bits, u8 low bits[4], u8 nibbles[128]`; `w = d · scale · value`, a signed 6-bit
/// scale for each 32 elements.
#[derive(Clone, Copy)]
pub(crate) struct Iq4Xs;

impl Codec for Iq4Xs {
    const TYPE: TensorType = TensorType::IQ4_XS;
    const FORM: WeightForm = LOOKED_UP;

    /// `d`; `d` and the high bits of scales; the low bits.
    type Scales<S: Simd> = (S::F32, [S::I32; 2]);

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> Self::Scales<S> {
        // SAFETY: the offsets are those of a 136-byte block.
        let words = unsafe {
            [
                s.gather_u32(block, row_bytes),
                s.gather_u32(block.add(4), row_bytes),
            ]
        };
        (s.f16_pairs_to_f32(words[0])[0], words)
    }
    #[inline(always)]
    fn scale<S: Simd, const SUB: usize>(s: S, scales: &Self::Scales<S>) -> [S::F32; 2] {
        let sub = SUB as u32;
        let [high, low] = scales.1;
        let low = s.and_i32(s.shr_i32_by(low, 4 * sub), s.splat_i32(15));
        let high = s.and_i32(s.shr_i32_by(high, 16 + 2 * sub), s.splat_i32(3));
        let scale = s.sub_i32(s.or_i32(low, s.shl_i32::<4>(high)), s.splat_i32(32));
        [s.mul(scales.0, s.to_f32(scale)); 2]
    }
    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        // SAFETY: the offset is that of a 136-byte block.
        let nibbles = unsafe { s.load_nibbles(block.add(8 + 16 * SUB), pair_stride) };
        s.lookup_bytes(nibbles, &values::IQ4)
    }
}
