//! Vector operations on packed weights, whose lanes are rows (see [`packed`](crate::kernels::packed)).

use super::{OfTile, Sum, WeightKind};

/// Bytes of a word: four weights of one row.
pub(crate) const WORD: usize = 4;
/// Words of an activation block, and of a row's 32 weights as bytes.
pub(crate) const WORDS: usize = 8;

/// The words of 32 weights that a dot product covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    First,
    Second,
}

impl Part {
    #[inline(always)]
    pub(super) const fn words(self) -> std::ops::Range<usize> {
        match self {
            Self::Whole => 0..WORDS,
            Self::First => 0..WORDS / 2,
            Self::Second => WORDS / 2..WORDS,
        }
    }
}

/// Operations on vectors with one lane for each of [`Words::ROWS`] rows. As for
/// [`Simd`](super::Simd), every method has one result on every implementation, bit for bit.
///
/// # Safety
/// As for [`Simd`](super::Simd).
pub(crate) unsafe trait Words: Copy + Send + Sync {
    /// Rows of a vector: 16, or 8 where registers are narrow or few. A packed group has 16.
    const ROWS: usize;
    /// Positions that a pass of the GEMV takes at most, 2 or 4.
    const AT_ONCE: usize = 4;
    /// Positions that a pass of the GEMM takes: as many as the registers hold.
    const TILE: usize;
    /// Words of an activation block that stay side by side when blocks of several positions are
    /// interleaved.
    const TOGETHER: usize;
    /// What [`Self::operands`], or [`Self::table`], adds to each signed weight.
    const SIGNED_OFFSET: i32;

    /// A word of each row.
    type Word: Copy;
    /// Sixteen weights to choose from.
    type Table: Copy;
    /// A word of each row as products want it, or with the next word's what they want of both.
    type Operand: Copy;
    /// An `f32` for each row.
    type Floats: Copy;
    /// An `i32` for each row.
    type Ints: Copy;

    /// # Safety
    /// `at` is valid for reading a word of each row.
    unsafe fn word(self, at: *const u8) -> Self::Word;
    fn word_and(self, a: Self::Word, mask: u8) -> Self::Word;
    fn word_or(self, a: Self::Word, b: Self::Word) -> Self::Word;
    /// Shifts 16-bit units right; the caller masks away what crosses bytes.
    fn word_shr<const N: i32>(self, a: Self::Word) -> Self::Word;
    /// Shifts 16-bit units left; the caller masks away what crosses bytes.
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word;
    /// Sixteen signed weights, [`Self::SIGNED_OFFSET`] more than they are.
    ///
    /// # Safety
    /// `values` is valid for reading sixteen bytes.
    unsafe fn table(self, values: *const u8) -> Self::Table;
    /// The weights of a table that bytes below 16 number.
    fn word_lookup(self, a: Self::Word, table: Self::Table) -> Self::Word;
    /// A sub-block's words as [`Self::dot`] wants them; signed weights are [`Self::SIGNED_OFFSET`]
    /// more than they are.
    fn operands(self, kind: WeightKind, words: [Self::Word; WORDS]) -> [Self::Operand; WORDS];

    /// Exact integer dot products of the rows' weights in `part` of a block with the same part of
    /// `N` activation blocks, as [`store_block`](super::Simd::store_block) laid them out. The
    /// sixteen `i32` of block `n` start at `x[n]`: [`Self::TOGETHER`] side by side, then those of
    /// the other `STRIDE − 1` blocks of a tile.
    ///
    /// # Safety
    /// The blocks are readable.
    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        part: Part,
        weights: &[Self::Operand; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N];
    /// As [`Self::dot`] with the [`Self::TILE`] blocks of a tile, of which `x` is the first.
    ///
    /// # Safety
    /// `N` is [`Self::TILE`]; the blocks are readable.
    #[inline(always)]
    unsafe fn dot_tile<const N: usize>(
        self,
        part: Part,
        weights: &[Self::Operand; WORDS],
        x: *const i32,
    ) -> [Self::Ints; N] {
        // SAFETY: the caller's promise.
        unsafe { dot_blocks_of_tile(self, part, weights, x) }
    }
    /// Calls `of` with [`Self::TILE`], compiled once for all callers of its type.
    fn with_tile<T: OfTile<Self>>(self, of: T);
    /// An offset of at most 128 as [`Self::ints_minus`] wants it.
    fn offset(self, value: i32) -> Self::Ints;
    /// `a − offset · sum` in every lane.
    fn ints_minus(self, a: Self::Ints, offset: Self::Ints, sum: &Sum) -> Self::Ints;

    fn floats(self, value: f32) -> Self::Floats;
    /// # Safety
    /// `to` is valid for writing an `f32` for each row.
    unsafe fn floats_store(self, value: Self::Floats, to: *mut f32);
    /// An `f16` for each row, widened exactly.
    ///
    /// # Safety
    /// `from` is valid for reading two bytes for each row.
    unsafe fn floats_from_f16(self, from: *const u8) -> Self::Floats;
    /// A byte for each row.
    ///
    /// # Safety
    /// `from` is valid for reading a byte for each row.
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats;
    /// A signed byte for each row.
    ///
    /// # Safety
    /// `from` is valid for reading a byte for each row.
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats;
    /// The low, and the high half of a byte for each row.
    ///
    /// # Safety
    /// `from` is valid for reading a byte for each row.
    unsafe fn floats_from_nibbles(self, from: *const u8) -> [Self::Floats; 2];
    /// Half of the power of two whose exponent, 127 more than it is, is the byte of a row: see
    /// [`half_of_power`](crate::kernels::values::half_of_power).
    ///
    /// # Safety
    /// `from` is valid for reading a byte for each row.
    unsafe fn floats_from_exponents(self, from: *const u8) -> Self::Floats;
    /// Rounded to the nearest `f32`, ties to even.
    fn floats_from(self, a: Self::Ints) -> Self::Floats;
    fn floats_mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`, rounded once.
    fn floats_fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
}

/// [`Words::dot_tile`] by [`Words::dot`].
///
/// # Safety
/// As for [`Words::dot_tile`].
#[inline(always)]
pub(super) unsafe fn dot_blocks_of_tile<S: Words, const N: usize>(
    s: S,
    part: Part,
    weights: &[S::Operand; WORDS],
    x: *const i32,
) -> [S::Ints; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut blocks = [x; N];
        for (n, block) in blocks.iter_mut().enumerate() {
            *block = x.add(n * S::TOGETHER);
        }
        s.dot::<N, N>(part, weights, &blocks)
    }
}
