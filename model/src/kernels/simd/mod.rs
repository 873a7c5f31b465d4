//! The small vector trait that every kernel is written against, and its implementations.
//!
//! A kernel is generic over [`Simd`], whose values are proofs that the CPU has the instructions:
//! they are made only by [`dispatch`](super::dispatch) after detection. Every method is a pure
//! function of its arguments with one defined result, bit for bit, on every implementation:
//! integer sums are exact, and each floating-point method is one correctly rounded operation.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
mod words;

#[cfg(target_arch = "aarch64")]
use words::dot_blocks_of_tile;
pub(crate) use words::{Part, WORD, WORDS, Words};

/// Rows a GEMV works on at a time, and lanes of [`Simd::F32`] and [`Simd::I32`].
pub(crate) const LANES: usize = 8;

/// Lanes of [`Simd::TileF32`].
pub(crate) const TILE_ROWS: usize = 16;

/// One block of 32 quantised activations, in the order that the instruction set's products want; or,
/// for the GEMM, as much of several positions' blocks, whose words lie side by side.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct ActivationBlock(pub(crate) [i16; 32]);

/// A sum of an activation block's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) value: i32,
    /// `value` is the first and 256 times the second: a pair that x86 multiplies in one instruction.
    pub(crate) digits: [i16; 2],
}

impl Sum {
    pub(crate) fn new(value: i32) -> Self {
        let low = value as i8;
        // At most 32 · 32639 / 256 = 4080.
        let high = (value - i32::from(low)) >> 8;
        Self {
            value,
            digits: [i16::from(low), high as i16],
        }
    }
}

/// The sums of an activation block's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockSums {
    /// Of all 32.
    pub(crate) whole: Sum,
    /// Of the first and of the second 16.
    pub(crate) halves: [Sum; 2],
}

/// What the 32 weight bytes of a block mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightKind {
    /// Unsigned values of at most 7 bits, from which an offset is subtracted.
    Unsigned,
    /// Signed bytes.
    Signed,
    /// Signed bytes of a [`Words::table`], as products want them.
    LookedUp,
}

/// Which load made a [`Simd::Bytes`] of two rows: some instruction sets arrange them differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// [`Simd::load_bytes`]: one row, then the other.
    Rows,
    /// [`Simd::load_nibbles`] and [`Simd::load_bits_as_16`]: the first halves of both rows, then
    /// the second halves.
    Halves,
}

/// What the 32 weight bytes of a block are.
#[derive(Clone, Copy)]
pub(crate) struct WeightForm {
    pub(crate) kind: WeightKind,
    /// Only AVX2 has two.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) arrangement: Arrangement,
}

/// Vector operations of one instruction set.
///
/// # Safety
/// Implementations promise that a value of the type exists only where the CPU has the
/// instructions its methods use.
pub(crate) unsafe trait Simd: Words {
    /// Eight `f32`.
    type F32: Copy;
    /// Eight `i32`.
    type I32: Copy;
    /// 32 weight bytes from each of [`Self::ROWS_PER_BYTES`] rows.
    type Bytes: Copy;
    /// Sixteen `f32`.
    type TileF32: Copy;

    /// Rows held by one [`Self::Bytes`]: row `i` and, where it is two, row `i + 4`.
    const ROWS_PER_BYTES: usize;
    /// Whether registers hold sixteen [`Self::TileF32`] and what is multiplied into them.
    const HAS_WIDE_TILES: bool;

    /// Every lane `value`.
    fn splat(self, value: f32) -> Self::F32;
    /// Eight consecutive values.
    ///
    /// # Safety
    /// `from` is valid for reading eight `f32`.
    unsafe fn load(self, from: *const f32) -> Self::F32;
    /// Eight consecutive `f16`, widened exactly.
    ///
    /// # Safety
    /// `from` is valid for reading eight 16-bit values.
    unsafe fn load_f16(self, from: *const u16) -> Self::F32;
    /// Eight consecutive `bf16`, widened exactly.
    ///
    /// # Safety
    /// `from` is valid for reading eight 16-bit values.
    unsafe fn load_bf16(self, from: *const u16) -> Self::F32;
    /// # Safety
    /// `to` is valid for writing eight `f32`.
    unsafe fn store(self, value: Self::F32, to: *mut f32);
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a · b + c`, rounded once.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The larger of each lane; for finite values.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller of each lane; for finite values.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Rounded to the nearest integer, ties to even; for values within `i32`.
    fn round_to_i32(self, a: Self::F32) -> Self::I32;
    /// Rounded to the nearest `f32`, ties to even.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    fn f32_bits(self, a: Self::F32) -> Self::I32;
    fn f32_from_bits(self, a: Self::I32) -> Self::F32;

    /// Every lane `value`.
    fn splat_i32(self, value: i32) -> Self::I32;
    /// # Safety
    /// `to` is valid for writing eight `i32`.
    unsafe fn store_i32(self, value: Self::I32, to: *mut i32);
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Logical shift right by a constant.
    fn shr_i32<const N: i32>(self, a: Self::I32) -> Self::I32;
    fn shl_i32<const N: i32>(self, a: Self::I32) -> Self::I32;
    /// Logical shift right, the same for all lanes.
    fn shr_i32_by(self, a: Self::I32, by: u32) -> Self::I32;
    /// Sign-extends the low byte of each lane.
    fn sign_extend_byte(self, a: Self::I32) -> Self::I32;

    /// Lane `r` is the little-endian `u32` at `from + r · stride`.
    ///
    /// # Safety
    /// Those eight reads are valid.
    unsafe fn gather_u32(self, from: *const u8, stride: usize) -> Self::I32;
    /// The low and the high 16 bits of each lane, each as an `f16`, widened exactly.
    fn f16_pairs_to_f32(self, a: Self::I32) -> [Self::F32; 2];

    /// 32 bytes of row 0 and, where a vector holds two rows, of the row `pair_stride` further.
    ///
    /// # Safety
    /// Those reads are valid.
    unsafe fn load_bytes(self, from: *const u8, pair_stride: usize) -> Self::Bytes;
    /// 16 bytes of each row as 32 nibbles: the low ones, then the high ones.
    ///
    /// # Safety
    /// Those reads are valid.
    unsafe fn load_nibbles(self, from: *const u8, pair_stride: usize) -> Self::Bytes;
    /// 32 bits of each row as 32 bytes, `0x10` where bit `i` is set, else 0.
    ///
    /// # Safety
    /// Those reads (4 bytes a row) are valid.
    unsafe fn load_bits_as_16(self, from: *const u8, pair_stride: usize) -> Self::Bytes;
    fn and_bytes(self, a: Self::Bytes, mask: u8) -> Self::Bytes;
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// The values of a table that bytes below 16 number.
    fn lookup_bytes(self, a: Self::Bytes, values: &[i8; 16]) -> Self::Bytes;
    /// Shifts 16-bit units right; the caller masks away what crosses bytes.
    fn shr_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes;
    /// Shifts 16-bit units left; the caller masks away what crosses bytes.
    fn shl_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes;
    /// Zeros, to initialise arrays.
    fn zero_bytes(self) -> Self::Bytes;

    /// Exact integer dot products of eight rows' 32 weights with one activation block. Lane `r` is
    /// row `r`; only the first `8 / ROWS_PER_BYTES` entries of `rows` are used. `sums` are the
    /// block's own.
    fn dot_rows(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> Self::I32;
    /// As [`Self::dot_rows`], for the first and for the second 16 elements.
    fn dot_row_halves(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        sums: &BlockSums,
    ) -> [Self::I32; 2];

    /// Rearranges a block of 32 values in −32639..=32639, four vectors in natural order.
    ///
    /// # Safety
    /// `to` is valid for writing.
    unsafe fn store_block(self, values: [Self::I32; 4], to: *mut ActivationBlock);

    fn tile_splat(self, value: f32) -> Self::TileF32;
    /// # Safety
    /// `from` is valid for reading sixteen `f32`.
    unsafe fn tile_load(self, from: *const f32) -> Self::TileF32;
    /// # Safety
    /// `to` is valid for writing sixteen `f32`.
    unsafe fn tile_store(self, value: Self::TileF32, to: *mut f32);
    /// The first and the second eight lanes.
    fn tile_halves(self, a: Self::TileF32) -> [Self::F32; 2];
    /// Sixteen lanes of two times eight.
    fn tile_of(self, halves: [Self::F32; 2]) -> Self::TileF32;
    /// Sixteen consecutive `f16`, widened exactly.
    ///
    /// # Safety
    /// `from` is valid for reading sixteen 16-bit values.
    #[inline(always)]
    unsafe fn tile_load_f16(self, from: *const u16) -> Self::TileF32 {
        // SAFETY: the caller's promise is this function's.
        unsafe { self.tile_of([self.load_f16(from), self.load_f16(from.add(LANES))]) }
    }
    /// The larger of each lane; for finite values.
    #[inline(always)]
    fn tile_max(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        let ([a0, a1], [b0, b1]) = (self.tile_halves(a), self.tile_halves(b));
        self.tile_of([self.max(a0, b0), self.max(a1, b1)])
    }
    #[inline(always)]
    fn tile_add(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        let ([a0, a1], [b0, b1]) = (self.tile_halves(a), self.tile_halves(b));
        self.tile_of([self.add(a0, b0), self.add(a1, b1)])
    }
    #[inline(always)]
    fn tile_sub(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        let ([a0, a1], [b0, b1]) = (self.tile_halves(a), self.tile_halves(b));
        self.tile_of([self.sub(a0, b0), self.sub(a1, b1)])
    }
    /// The smaller of each lane; for finite values.
    #[inline(always)]
    fn tile_min(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        let ([a0, a1], [b0, b1]) = (self.tile_halves(a), self.tile_halves(b));
        self.tile_of([self.min(a0, b0), self.min(a1, b1)])
    }
    /// The nearest integer of each lane, ties to even; for values within `i32`.
    #[inline(always)]
    fn tile_round(self, a: Self::TileF32) -> Self::TileF32 {
        let [a0, a1] = self.tile_halves(a);
        let [a0, a1] = [self.round_to_i32(a0), self.round_to_i32(a1)];
        self.tile_of([self.to_f32(a0), self.to_f32(a1)])
    }
    /// `a · 2ⁿ` for integers `n` in −126..=127.
    #[inline(always)]
    fn tile_scale(self, a: Self::TileF32, n: Self::TileF32) -> Self::TileF32 {
        let ([a0, a1], [n0, n1]) = (self.tile_halves(a), self.tile_halves(n));
        let bias = self.splat_i32(127);
        let n0 = self.shl_i32::<23>(self.add_i32(self.round_to_i32(n0), bias));
        let n1 = self.shl_i32::<23>(self.add_i32(self.round_to_i32(n1), bias));
        let [n0, n1] = [self.f32_from_bits(n0), self.f32_from_bits(n1)];
        self.tile_of([self.mul(a0, n0), self.mul(a1, n1)])
    }
    fn tile_mul(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32;
    fn tile_fma(self, a: Self::TileF32, b: Self::TileF32, c: Self::TileF32) -> Self::TileF32;

    /// Hints that the cache line at `at` will be read.
    fn prefetch(self, at: *const u8);
}

/// [`half_of_power`](super::values::half_of_power) of eight exponents.
#[inline(always)]
pub(crate) fn half_of_powers<S: Simd>(s: S, exponents: S::I32) -> S::F32 {
    let one = s.splat_i32(1);
    let normal = s.shl_i32::<23>(s.sub_i32(exponents, one));
    // Larger for the exponents 0 and 1 only.
    let subnormal = s.shl_i32::<21>(s.add_i32(exponents, one));
    s.f32_from_bits(s.max_i32(normal, subnormal))
}

/// A computation generic over the number of positions of a tile, [`Words::TILE`].
pub(crate) trait OfTile<S> {
    /// Must be `#[inline(always)]`, as [`Kernel::run`](super::Kernel::run).
    fn call<const N: usize>(self, simd: S);
}
