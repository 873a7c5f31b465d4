//! The packed formats: where a block's planes and scales lie, and how they are read.

mod halves;
mod tables;

pub(crate) use halves::{Q2K, Q3K, Q6K};
pub(crate) use tables::{Coded, Iq4Nl, Iq4Xs, Mxfp4};

use super::grids;
pub(crate) use super::planes::GROUP;
use super::planes::Planes;
use super::simd::{WORD, WORDS, WeightKind, Words};
use crate::TensorType;

/// What a sub-block adds to a sum.
pub(crate) trait Terms: Copy {
    /// `d_w` and `d_x` times the products of the first sixteen elements, then of the others, which
    /// have their own scale.
    const HALVES: bool = false;
    /// After the products a minimum, `m_w`, times the activations' sum.
    const MINIMUM: bool = false;
}

/// `d_w · d_x · (Σ q · x − offset · Σ x)`.
#[derive(Clone, Copy)]
pub(crate) struct Whole;
impl Terms for Whole {}

/// [`Whole`] by halves.
#[derive(Clone, Copy)]
pub(crate) struct Halves;
impl Terms for Halves {
    const HALVES: bool = true;
}

/// `d_w · d_x · Σ q · x`, then `m_w · Σ d_x · x`.
#[derive(Clone, Copy)]
pub(crate) struct WithMinimum;
impl Terms for WithMinimum {
    const MINIMUM: bool = true;
}

/// [`WithMinimum`] by halves: both products, then both minimums.
#[derive(Clone, Copy)]
pub(crate) struct HalvesWithMinimum;
impl Terms for HalvesWithMinimum {
    const HALVES: bool = true;
    const MINIMUM: bool = true;
}

/// The factors of a sub-block: `d_w` and `m_w`, of both halves if [`Terms::HALVES`].
#[derive(Clone, Copy)]
pub(crate) struct Scales<S: Words> {
    pub(crate) d: [S::Floats; 2],
    pub(crate) m: [S::Floats; 2],
}

impl<S: Words> Scales<S> {
    /// `d` times signed bytes, for each half.
    ///
    /// # Safety
    /// `sub` points at sixteen signed bytes for each half; `first` is as for [`Planes::read`].
    #[inline(always)]
    unsafe fn of_signed_halves(s: S, d: S::Floats, sub: *const u8, first: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let a = s.floats_mul(d, s.floats_from_i8(sub.add(first)));
            let b = s.floats_mul(d, s.floats_from_i8(sub.add(GROUP + first)));
            Self {
                d: [a, b],
                m: [a, b],
            }
        }
    }
}

/// A sub-block as products take it.
#[derive(Clone, Copy)]
pub(crate) struct SubBlock<S: Words> {
    pub(crate) weights: [S::Operand; WORDS],
    pub(crate) scales: Scales<S>,
}

/// One packed type.
pub(crate) trait Format: Copy + Send + Sync {
    const TYPE: TensorType;
    const PLANES: Planes;
    const KIND: WeightKind = WeightKind::Unsigned;
    /// Subtracted from every weight.
    const OFFSET: i32 = 0;
    /// Positions that a pass of the GEMV takes at most, 2 or 4: code for more takes long to compile.
    const AT_ONCE: usize = 4;
    /// Bytes of a storage block's head, and of a sub-block's scales.
    const HEAD: usize;
    const SCALES: usize;

    const SUBS: usize = Self::TYPE.block_elements() / 32;
    const SUB_BYTES: usize = Self::SCALES + Self::PLANES.bytes();
    /// Bytes of a storage block of a group.
    const BYTES: usize = Self::HEAD + Self::SUBS * Self::SUB_BYTES;

    type Terms: Terms;
    /// What a storage block's head says of some rows.
    type Head<S: Words>: Copy;

    /// What is subtracted from every weight that products take.
    #[inline(always)]
    fn offset<S: Words>() -> i32 {
        match Self::KIND {
            WeightKind::Unsigned => Self::OFFSET,
            WeightKind::Signed | WeightKind::LookedUp => Self::OFFSET + S::SIGNED_OFFSET,
        }
    }

    /// Sub-block `sub` of the storage block at `block`, whose head is `head`.
    ///
    /// # Safety
    /// `block` points at a packed storage block; `first` is as for [`Planes::read`].
    #[inline(always)]
    unsafe fn sub_block<S: Words>(
        s: S,
        head: &Self::Head<S>,
        block: *const u8,
        sub: usize,
        first: usize,
    ) -> SubBlock<S> {
        // SAFETY: a sub-block is its scales, then its planes.
        unsafe {
            let at = block.add(Self::HEAD + sub * Self::SUB_BYTES);
            let words = Self::PLANES.read(s, at.add(Self::SCALES), first);
            let words = Self::looked_up(s, head, words);
            SubBlock {
                weights: s.operands(Self::KIND, words),
                scales: Self::scales(s, head, at, first),
            }
        }
    }

    /// The weights that words of the planes stand for.
    #[inline(always)]
    fn looked_up<S: Words>(
        _s: S,
        _head: &Self::Head<S>,
        words: [S::Word; WORDS],
    ) -> [S::Word; WORDS] {
        words
    }
    /// # Safety
    /// `block` points at a packed storage block; `first` is as for [`Planes::read`].
    unsafe fn head<S: Words>(s: S, block: *const u8, first: usize) -> Self::Head<S>;
    /// # Safety
    /// `sub` points at a sub-block; `first` is as for [`Planes::read`].
    unsafe fn scales<S: Words>(
        s: S,
        head: &Self::Head<S>,
        sub: *const u8,
        first: usize,
    ) -> Scales<S>;

    /// Packs the head, then the scales of sub-block `sub`, of row `row`, whose storage block is
    /// `stored`.
    fn pack_head(stored: &[u8], row: usize, to: &mut [u8]);
    fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]);
    /// The weights of sub-block `sub` of a storage block, four bytes a word.
    fn codes(stored: &[u8], sub: usize) -> [u32; WORDS];
}

/// Copies the little-endian halfword at `from` to be `row`'s of sixteen.
fn put_half(stored: &[u8], from: usize, row: usize, to: &mut [u8]) {
    to[2 * row..2 * row + 2].copy_from_slice(&stored[from..from + 2]);
}

fn word(stored: &[u8], at: usize) -> u32 {
    let mut bytes = [0; WORD];
    bytes.copy_from_slice(&stored[at..at + WORD]);
    u32::from_le_bytes(bytes)
}

/// 32 nibbles of 16 bytes: the low ones, then the high ones.
fn nibbles(stored: &[u8], at: usize) -> [u32; WORDS] {
    std::array::from_fn(|v| word(stored, at + WORD * (v % 4)) >> (4 * (v / 4)) & 0x0F0F_0F0F)
}

/// Adds bit `i` of the `u32` at `at` as fifth bit of weight `i`.
fn with_fifths(mut codes: [u32; WORDS], stored: &[u8], at: usize) -> [u32; WORDS] {
    let bits = word(stored, at);
    for (v, code) in codes.iter_mut().enumerate() {
        let four = bits >> (4 * v) & 0x0F;
        // Bit `i` of the four moves to bit 0 of byte `i`.
        *code |= (four.wrapping_mul(0x0020_4081) & 0x0101_0101) << 4;
    }
    codes
}

macro_rules! simple_format {
    (
        $(#[$doc:meta])* $name:ident: $planes:ident, $terms:ident,
        halves: [$($half:expr),*],
        $(const $const:ident: $type:ty = $value:expr,)*
        |$stored:ident| $codes:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Format for $name {
            const TYPE: TensorType = TensorType::$name;
            const PLANES: Planes = Planes::$planes;
            const HEAD: usize = 0;
            const SCALES: usize = 2 * GROUP * [$($half),*].len();
            $(const $const: $type = $value;)*

            type Terms = $terms;
            type Head<S: Words> = ();

            #[inline(always)]
            unsafe fn head<S: Words>(_s: S, _block: *const u8, _first: usize) {}
            #[inline(always)]
            unsafe fn scales<S: Words>(s: S, _head: &(), sub: *const u8, first: usize) -> Scales<S> {
                // SAFETY: sixteen `f16` for `d`, and for `m` if there is one.
                unsafe {
                    let d = s.floats_from_f16(sub.add(2 * first));
                    let m = if $terms::MINIMUM {
                        s.floats_from_f16(sub.add(2 * (GROUP + first)))
                    } else {
                        d
                    };
                    Scales {
                        d: [d, d],
                        m: [m, m],
                    }
                }
            }

            fn pack_head(_stored: &[u8], _row: usize, _to: &mut [u8]) {}
            fn pack_scales(stored: &[u8], _sub: usize, row: usize, to: &mut [u8]) {
                for (at, half) in [$($half),*].into_iter().enumerate() {
                    put_half(stored, half, row, &mut to[2 * GROUP * at..]);
                }
            }
            fn codes($stored: &[u8], _sub: usize) -> [u32; WORDS] {
                $codes
            }
        }
    };
}

simple_format! {
    Q4_0: Nibbles, Whole,
    halves: [0],
    const OFFSET: i32 = 8,
    |stored| nibbles(stored, 2)
}
simple_format! {
    Q4_1: Nibbles, WithMinimum,
    halves: [0, 2],
    |stored| nibbles(stored, 4)
}
simple_format! {
    Q5_0: NibblesAndFifths, Whole,
    halves: [0],
    const OFFSET: i32 = 16,
    |stored| with_fifths(nibbles(stored, 6), stored, 2)
}
simple_format! {
    Q5_1: NibblesAndFifths, WithMinimum,
    halves: [0, 2],
    |stored| with_fifths(nibbles(stored, 8), stored, 4)
}
simple_format! {
    Q8_0: Bytes, Whole,
    halves: [0],
    const KIND: WeightKind = WeightKind::Signed,
    |stored| std::array::from_fn(|v| word(stored, 2 + WORD * v))
}

/// `d` and `−dmin` of a Q4_K, Q5_K or Q2_K block.
#[derive(Clone, Copy)]
pub(crate) struct MinimumHead<S: Words> {
    d: S::Floats,
    negative_dmin: S::Floats,
}

impl<S: Words> MinimumHead<S> {
    /// # Safety
    /// `block` points at sixteen `f16` of `d`, then of `dmin`; `first` is as for [`Planes::read`].
    #[inline(always)]
    unsafe fn read(s: S, block: *const u8, first: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let dmin = s.floats_from_f16(block.add(2 * (GROUP + first)));
            Self {
                d: s.floats_from_f16(block.add(2 * first)),
                negative_dmin: s.floats_mul(dmin, s.floats(-1.0)),
            }
        }
    }
}

/// The head of formats whose blocks have `f16 d` at `$d`, then `f16 dmin`.
macro_rules! minimum_head {
    (d at $d:literal) => {
        const HEAD: usize = 4 * GROUP;

        type Head<S: Words> = MinimumHead<S>;

        #[inline(always)]
        unsafe fn head<S: Words>(s: S, block: *const u8, first: usize) -> MinimumHead<S> {
            // SAFETY: sixteen `f16` each.
            unsafe { MinimumHead::read(s, block, first) }
        }
        fn pack_head(stored: &[u8], row: usize, to: &mut [u8]) {
            put_half(stored, $d, row, to);
            put_half(stored, $d + 2, row, &mut to[2 * GROUP..]);
        }
    };
}
use minimum_head;

/// The 6-bit scale and minimum of sub-block `sub`, of the 12 bytes from `stored[4]` on.
fn six_bits(stored: &[u8], sub: usize) -> [u8; 2] {
    let packed = &stored[4..16];
    if sub < 4 {
        [packed[sub] & 63, packed[sub + 4] & 63]
    } else {
        [
            packed[sub + 4] & 15 | packed[sub - 4] >> 6 << 4,
            packed[sub + 4] >> 4 | packed[sub] >> 6 << 4,
        ]
    }
}

macro_rules! six_bit_format {
    ($name:ident: $type:ident, $planes:ident, |$stored:ident, $sub:ident| $codes:expr) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Format for $name {
            const TYPE: TensorType = TensorType::$type;
            const PLANES: Planes = Planes::$planes;
            const SCALES: usize = 2 * GROUP;

            type Terms = WithMinimum;
            minimum_head!(d at 0);

            #[inline(always)]
            unsafe fn scales<S: Words>(
                s: S,
                head: &MinimumHead<S>,
                sub: *const u8,
                first: usize,
            ) -> Scales<S> {
                // SAFETY: sixteen bytes each. The products are exact (11 + 6 bits).
                unsafe {
                    let d = s.floats_mul(head.d, s.floats_from_u8(sub.add(first)));
                    let m = s.floats_from_u8(sub.add(GROUP + first));
                    let m = s.floats_mul(head.negative_dmin, m);
                    Scales {
                        d: [d, d],
                        m: [m, m],
                    }
                }
            }

            fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]) {
                [to[row], to[GROUP + row]] = six_bits(stored, sub);
            }
            fn codes($stored: &[u8], $sub: usize) -> [u32; WORDS] {
                $codes
            }
        }
    };
}

/// 32 nibbles of 32 bytes of a pair of sub-blocks: the low ones are the first's.
fn nibbles_of_pair(stored: &[u8], at: usize, sub: usize) -> [u32; WORDS] {
    let at = at + 32 * (sub / 2);
    std::array::from_fn(|v| word(stored, at + WORD * v) >> (4 * (sub % 2)) & 0x0F0F_0F0F)
}

six_bit_format!(Q4K: Q4_K, Nibbles, |stored, sub| nibbles_of_pair(stored, 16, sub));
six_bit_format!(Q5K: Q5_K, NibblesAndFifths, |stored, sub| {
    let mut codes = nibbles_of_pair(stored, 48, sub);
    for (v, code) in codes.iter_mut().enumerate() {
        *code |= (word(stored, 16 + WORD * v) >> sub & 0x0101_0101) << 4;
    }
    codes
});

/// Calls `$with!(Format)` with the format of a type.
macro_rules! of_type {
    ($tensor_type:expr, $with:ident) => {
        $crate::kernels::packed_format::of_type!(
            @ $tensor_type, $with,
            TensorType::IQ3_S => $with!(Coded<grids::Iq3S>),
            TensorType::IQ3_XXS => $with!(Coded<grids::Iq3Xxs>),
            TensorType::IQ2_S => $with!(Coded<grids::Iq2S>),
            TensorType::IQ2_XS => $with!(Coded<grids::Iq2Xs>),
            TensorType::IQ2_XXS => $with!(Coded<grids::Iq2Xxs>),
            TensorType::TQ2_0 => $with!(Coded<grids::Tq2>),
            TensorType::TQ1_0 => $with!(Coded<grids::Tq1>),
        )
    };
    (@ $tensor_type:expr, $with:ident, $($coded:tt)*) => {
        match $tensor_type {
            TensorType::Q4_0 => $with!(Q4_0),
            TensorType::Q4_1 => $with!(Q4_1),
            TensorType::Q5_0 => $with!(Q5_0),
            TensorType::Q5_1 => $with!(Q5_1),
            TensorType::Q8_0 => $with!(Q8_0),
            TensorType::Q2_K => $with!(Q2K),
            TensorType::Q3_K => $with!(Q3K),
            TensorType::Q4_K => $with!(Q4K),
            TensorType::Q5_K => $with!(Q5K),
            TensorType::Q6_K => $with!(Q6K),
            TensorType::IQ4_NL => $with!(Iq4Nl),
            TensorType::IQ4_XS => $with!(Iq4Xs),
            TensorType::MXFP4 => $with!(Mxfp4),
            $($coded)*
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
                unreachable!("float weights are not packed")
            }
        }
    };
}
pub(crate) use of_type;

/// As [`of_type`], with one format for all types that are packed as codes: once packed, they differ
/// in nothing that products are compiled for.
macro_rules! of_packed_type {
    ($tensor_type:expr, $with:ident) => {
        $crate::kernels::packed_format::of_type!(
            @ $tensor_type, $with,
            TensorType::IQ3_S
            | TensorType::IQ3_XXS
            | TensorType::IQ2_S
            | TensorType::IQ2_XS
            | TensorType::IQ2_XXS
            | TensorType::TQ2_0
            | TensorType::TQ1_0 => $with!(Coded<grids::Iq3S>),
        )
    };
}
pub(crate) use of_packed_type;

/// Bytes of a packed group of rows of `columns` weights; `None` for types that are not packed, and
/// for lengths that are no whole blocks.
pub(crate) fn group_bytes(tensor_type: TensorType, columns: usize) -> Option<usize> {
    macro_rules! with {
        ($format:ty) => {
            <$format as Format>::BYTES
        };
    }
    if tensor_type.is_float() || !columns.is_multiple_of(tensor_type.block_elements()) {
        return None;
    }
    let bytes = of_packed_type!(tensor_type, with);
    (columns / tensor_type.block_elements()).checked_mul(bytes)
}
