//! The quantised storage formats: how eight rows' weights and scales are read where they lie.
//!
//! Layouts are those of ggml's `ggml-common.h`. A storage block holds 32 elements, or 256 as eight
//! sub-blocks of 32.

mod few_bits;
mod tables;

pub(crate) use few_bits::{Q2K, Q3K};
pub(crate) use tables::{Iq4Nl, Iq4Xs, Mxfp4};

use super::simd::{Arrangement, Simd, WeightForm, WeightKind};
use crate::TensorType;

/// One storage format.
pub(crate) trait Codec: Copy + Send + Sync {
    const TYPE: TensorType;
    /// Activation blocks (32 elements) in a storage block: 1 or 8.
    const BLOCKS: usize = Self::TYPE.block_elements() / 32;
    const BYTES: usize = Self::TYPE.block_bytes();
    const FORM: WeightForm = WeightForm {
        kind: WeightKind::Unsigned,
        arrangement: Arrangement::Rows,
    };
    /// Subtracted from every unsigned weight.
    const OFFSET: i32 = 0;
    /// Whether a block adds a minimum, `m_w`.
    const HAS_MINIMUM: bool = false;
    /// Whether each 16 elements have their own scale, and minimum if there is one.
    const HALVES: bool = false;

    /// The scales of one storage block of eight rows.
    type Scales<S: Simd>: Copy;

    /// # Safety
    /// `block` points at a storage block of the first of eight rows, `row_bytes` apart.
    unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> Self::Scales<S>;
    /// `d_w` of sub-block `SUB`, for its first and its second 16 elements (the first only, unless
    /// [`Self::HALVES`]).
    fn scale<S: Simd, const SUB: usize>(s: S, scales: &Self::Scales<S>) -> [S::F32; 2];
    /// `m_w` of sub-block `SUB`, as [`Self::scale`].
    #[inline(always)]
    fn minimum<S: Simd, const SUB: usize>(s: S, scales: &Self::Scales<S>) -> [S::F32; 2] {
        let _ = scales;
        [s.splat(0.0); 2]
    }
    /// The 32 weights of sub-block `SUB` of the row whose storage block is at `block` (and of the
    /// row `pair_stride` further, where a vector holds two).
    ///
    /// # Safety
    /// Those blocks are readable.
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes;
}

/// Unsigned weights from nibbles.
const NIBBLES: WeightForm = WeightForm {
    kind: WeightKind::Unsigned,
    arrangement: Arrangement::Halves,
};
/// Signed bytes.
const BYTES: WeightForm = WeightForm {
    kind: WeightKind::Signed,
    arrangement: Arrangement::Rows,
};

macro_rules! simple_codec {
    (
        $(#[$doc:meta])* $name:ident: $type:ident,
        $(const $const:ident = $value:expr,)*
        |$s:ident, $block:ident, $stride:ident| $weights:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Codec for $name {
            const TYPE: TensorType = TensorType::$type;
            $(simple_codec!(@const $const = $value);)*

            type Scales<S: Simd> = [S::F32; 2];

            #[inline(always)]
            unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> [S::F32; 2] {
                // SAFETY: a block is at least four bytes. It starts with its f16 scale, and f16
                // minimum if it has one; else what follows is not used.
                unsafe { s.f16_pairs_to_f32(s.gather_u32(block, row_bytes)) }
            }
            #[inline(always)]
            fn scale<S: Simd, const SUB: usize>(_s: S, scales: &[S::F32; 2]) -> [S::F32; 2] {
                [scales[0], scales[0]]
            }
            #[inline(always)]
            fn minimum<S: Simd, const SUB: usize>(_s: S, scales: &[S::F32; 2]) -> [S::F32; 2] {
                [scales[1], scales[1]]
            }
            #[inline(always)]
            unsafe fn weights<S: Simd, const SUB: usize>(
                $s: S,
                $block: *const u8,
                $stride: usize,
            ) -> S::Bytes {
                // SAFETY: the offsets are those of the format's block.
                unsafe { $weights }
            }
        }
    };
    (@const FORM = $value:expr) => { const FORM: WeightForm = $value; };
    (@const OFFSET = $value:expr) => { const OFFSET: i32 = $value; };
    (@const HAS_MINIMUM = $value:expr) => { const HAS_MINIMUM: bool = $value; };
}
use simple_codec;

simple_codec! {
    /// `f16 d, u8 nibbles[16]`; `w = d · (q − 8)`.
    Q4_0: Q4_0,
    const FORM = NIBBLES,
    const OFFSET = 8,
    |s, block, stride| s.load_nibbles(block.add(2), stride)
}
simple_codec! {
    /// `f16 d, f16 m, u8 nibbles[16]`; `w = d · q + m`.
    Q4_1: Q4_1,
    const FORM = NIBBLES,
    const HAS_MINIMUM = true,
    |s, block, stride| s.load_nibbles(block.add(4), stride)
}
simple_codec! {
    /// `f16 d, u32 high bits, u8 nibbles[16]`; `w = d · (q − 16)`.
    Q5_0: Q5_0,
    const FORM = NIBBLES,
    const OFFSET = 16,
    |s, block, stride| s.or_bytes(
        s.load_nibbles(block.add(6), stride),
        s.load_bits_as_16(block.add(2), stride),
    )
}
simple_codec! {
    /// `f16 d, f16 m, u32 high bits, u8 nibbles[16]`; `w = d · q + m`.
    Q5_1: Q5_1,
    const FORM = NIBBLES,
    const HAS_MINIMUM = true,
    |s, block, stride| s.or_bytes(
        s.load_nibbles(block.add(8), stride),
        s.load_bits_as_16(block.add(4), stride),
    )
}
simple_codec! {
    /// `f16 d, i8 q[32]`; `w = d · q`.
    Q8_0: Q8_0,
    const FORM = BYTES,
    |s, block, stride| s.load_bytes(block.add(2), stride)
}

/// Byte `byte` of each lane.
#[inline(always)]
fn byte_of<S: Simd>(s: S, word: S::I32, byte: u32) -> S::I32 {
    s.and_i32(s.shr_i32_by(word, 8 * byte), s.splat_i32(0xFF))
}

/// Four words of each of eight rows.
///
/// # Safety
/// Those reads from `at` on, `row_bytes` apart, are valid.
#[inline(always)]
unsafe fn four_words<S: Simd>(s: S, at: *const u8, row_bytes: usize) -> [S::I32; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        [
            s.gather_u32(at, row_bytes),
            s.gather_u32(at.add(4), row_bytes),
            s.gather_u32(at.add(8), row_bytes),
            s.gather_u32(at.add(12), row_bytes),
        ]
    }
}

/// Scales of a Q4_K or Q5_K block: `f16 d, f16 dmin`, then eight 6-bit scales and eight 6-bit
/// minimums in 12 bytes. Lanes are rows; each `i32` holds four sub-blocks' bytes.
#[derive(Clone, Copy)]
pub(crate) struct SixBitScales<S: Simd> {
    d: S::F32,
    negative_dmin: S::F32,
    scales: [S::I32; 2],
    minimums: [S::I32; 2],
}

impl<S: Simd> SixBitScales<S> {
    /// # Safety
    /// `block` points at a Q4_K or Q5_K block of the first of eight rows, `row_bytes` apart.
    #[inline(always)]
    unsafe fn read(s: S, block: *const u8, row_bytes: usize) -> Self {
        // SAFETY: the header of these blocks is 16 bytes.
        let [head, a, b, c] = unsafe { four_words(s, block, row_bytes) };
        let low6 = s.splat_i32(0x3F3F_3F3F);
        let low4 = s.splat_i32(0x0F0F_0F0F);
        let high2 = s.splat_i32(0x3030_3030);
        let [d, dmin] = s.f16_pairs_to_f32(head);
        Self {
            d,
            negative_dmin: s.mul(dmin, s.splat(-1.0)),
            scales: [
                s.and_i32(a, low6),
                s.or_i32(s.and_i32(c, low4), s.and_i32(s.shr_i32::<2>(a), high2)),
            ],
            minimums: [
                s.and_i32(b, low6),
                s.or_i32(
                    s.and_i32(s.shr_i32::<4>(c), low4),
                    s.and_i32(s.shr_i32::<2>(b), high2),
                ),
            ],
        }
    }

    /// Byte `sub % 4` of each lane of `words[sub / 4]`, times `unit`; exact (11 + 6 bits).
    #[inline(always)]
    fn times(s: S, words: &[S::I32; 2], sub: usize, unit: S::F32) -> S::F32 {
        let byte = byte_of(s, words[sub / 4], sub as u32 % 4);
        s.mul(unit, s.to_f32(byte))
    }
}

macro_rules! six_bit_scales {
    () => {
        const HAS_MINIMUM: bool = true;

        type Scales<S: Simd> = SixBitScales<S>;

        #[inline(always)]
        unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> SixBitScales<S> {
            // SAFETY: the caller's promise is this function's.
            unsafe { SixBitScales::read(s, block, row_bytes) }
        }
        #[inline(always)]
        fn scale<S: Simd, const SUB: usize>(s: S, scales: &SixBitScales<S>) -> [S::F32; 2] {
            [SixBitScales::times(s, &scales.scales, SUB, scales.d); 2]
        }
        #[inline(always)]
        fn minimum<S: Simd, const SUB: usize>(s: S, scales: &SixBitScales<S>) -> [S::F32; 2] {
            [SixBitScales::times(s, &scales.minimums, SUB, scales.negative_dmin); 2]
        }
    };
}

/// `f16 d, f16 dmin, u8 scales[12], u8 nibbles[128]`;
/// `w = d · scale · q − dmin · minimum`.
#[derive(Clone, Copy)]
pub(crate) struct Q4K;

impl Codec for Q4K {
    const TYPE: TensorType = TensorType::Q4_K;
    six_bit_scales!();

    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        // SAFETY: 32 bytes hold the low nibbles of an even sub-block and the high of the next.
        let packed = unsafe { s.load_bytes(block.add(16 + 32 * (SUB / 2)), pair_stride) };
        nibble::<S, SUB>(s, packed)
    }
}

/// As [`Q4K`] with `u8 high[32]` before the nibbles: bit `j` is sub-block `j`'s fifth bit.
#[derive(Clone, Copy)]
pub(crate) struct Q5K;

impl Codec for Q5K {
    const TYPE: TensorType = TensorType::Q5_K;
    six_bit_scales!();

    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        // SAFETY: the offsets are those of a 176-byte block.
        let (packed, high) = unsafe {
            (
                s.load_bytes(block.add(48 + 32 * (SUB / 2)), pair_stride),
                s.load_bytes(block.add(16), pair_stride),
            )
        };
        let fifth = match SUB {
            0 => s.shl_bytes::<4>(high),
            1 => s.shl_bytes::<3>(high),
            2 => s.shl_bytes::<2>(high),
            3 => s.shl_bytes::<1>(high),
            4 => high,
            5 => s.shr_bytes::<1>(high),
            6 => s.shr_bytes::<2>(high),
            _ => s.shr_bytes::<3>(high),
        };
        s.or_bytes(nibble::<S, SUB>(s, packed), s.and_bytes(fifth, 16))
    }
}

/// The low nibbles for an even sub-block, the high ones for an odd.
#[inline(always)]
fn nibble<S: Simd, const SUB: usize>(s: S, packed: S::Bytes) -> S::Bytes {
    let shifted = if SUB.is_multiple_of(2) {
        packed
    } else {
        s.shr_bytes::<4>(packed)
    };
    s.and_bytes(shifted, 15)
}

/// `u8 low[128], u8 high[64], i8 scales[16], f16 d`; `w = d · scale · (q − 32)`, a scale for each
/// 16 elements.
#[derive(Clone, Copy)]
pub(crate) struct Q6K;

impl Codec for Q6K {
    const TYPE: TensorType = TensorType::Q6_K;
    const OFFSET: i32 = 32;
    const HALVES: bool = true;

    /// `d`, and the sixteen scales four to an `i32`.
    type Scales<S: Simd> = (S::F32, [S::I32; 4]);

    #[inline(always)]
    unsafe fn scales<S: Simd>(s: S, block: *const u8, row_bytes: usize) -> Self::Scales<S> {
        // SAFETY: the offsets are those of a 210-byte block.
        unsafe {
            let [_, d] = s.f16_pairs_to_f32(s.gather_u32(block.add(206), row_bytes));
            (d, four_words(s, block.add(192), row_bytes))
        }
    }
    #[inline(always)]
    fn scale<S: Simd, const SUB: usize>(s: S, scales: &Self::Scales<S>) -> [S::F32; 2] {
        let word = scales.1[SUB / 2];
        let of_byte = |byte: u32| {
            let scale = s.sign_extend_byte(s.shr_i32_by(word, 8 * byte));
            s.mul(scales.0, s.to_f32(scale))
        };
        let first = 2 * (SUB as u32 % 2);
        [of_byte(first), of_byte(first + 1)]
    }
    #[inline(always)]
    unsafe fn weights<S: Simd, const SUB: usize>(
        s: S,
        block: *const u8,
        pair_stride: usize,
    ) -> S::Bytes {
        let (n, quarter) = (SUB / 4, SUB % 4);
        // SAFETY: the offsets are those of a 210-byte block.
        let (low, high) = unsafe {
            (
                s.load_bytes(block.add(64 * n + 32 * (quarter % 2)), pair_stride),
                s.load_bytes(block.add(128 + 32 * n), pair_stride),
            )
        };
        let (low, high) = match quarter {
            0 => (low, s.shl_bytes::<4>(high)),
            1 => (low, s.shl_bytes::<2>(high)),
            2 => (s.shr_bytes::<4>(low), high),
            _ => (s.shr_bytes::<4>(low), s.shr_bytes::<2>(high)),
        };
        s.or_bytes(s.and_bytes(low, 15), s.and_bytes(high, 0x30))
    }
}
