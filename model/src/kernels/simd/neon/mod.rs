//! NEON, the aarch64 baseline; NEON with the dot-product extension; and with the 8-bit matrix
//! extension as well.
//!
//! Without dot products a weight and a 16-bit activation are multiplied whole (`smlal`); with them
//! the activations are two signed bytes (`x = 256·high + low`) and four products a lane are added
//! at once (`sdot`). The matrix extension multiplies eight weights of two rows with eight high and
//! eight low bytes (`smmla`). Both are inline assembly: their intrinsics are not in stable Rust.

mod products;
mod words;

use std::arch::aarch64::*;
use std::arch::asm;

use super::{ActivationBlock, BlockSums, LANES, Simd, WeightForm};

/// NEON; `DOT` adds the dot-product extension, `MATRIX`, which implies it, the 8-bit matrix
/// extension.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool, const MATRIX: bool>(());

impl<const DOT: bool, const MATRIX: bool> Neon<DOT, MATRIX> {
    /// # Safety
    /// The CPU has NEON and, if `DOT` or `MATRIX`, those extensions.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// Four `f16` in the low half of `bits`, widened exactly (`fcvtl` is baseline).
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn widen_f16(bits: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: registers only.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {bits:v}.4h",
            wide = lateout(vreg) wide,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

/// Pairs of `f` applied to both halves of eight lanes.
macro_rules! both {
    ($f:expr, $a:expr) => {
        [$f($a[0]), $f($a[1])]
    };
    ($f:expr, $a:expr, $b:expr) => {
        [$f($a[0], $b[0]), $f($a[1], $b[1])]
    };
}

// SAFETY: a value exists only where `Neon::new`'s promise was kept.
unsafe impl<const DOT: bool, const MATRIX: bool> Simd for Neon<DOT, MATRIX> {
    type F32 = [float32x4_t; 2];
    type I32 = [int32x4_t; 2];
    type Bytes = [uint8x16_t; 2];
    type TileF32 = [float32x4_t; 4];

    const ROWS_PER_BYTES: usize = 1;
    const HAS_WIDE_TILES: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { [vdupq_n_f32(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::F32 {
        // SAFETY: the caller promises eight values.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> Self::F32 {
        // SAFETY: the caller promises eight values.
        unsafe { [widen_f16(vld1_u16(from)), widen_f16(vld1_u16(from.add(4)))] }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F32 {
        // SAFETY: the caller promises eight values.
        unsafe {
            let bits = vld1q_u16(from);
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(bits))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(bits)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(self, value: Self::F32, to: *mut f32) {
        // SAFETY: the caller promises room for eight values.
        unsafe {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vaddq_f32, a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vsubq_f32, a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vmulq_f32, a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vdivq_f32, a, b) }
    }
    #[inline(always)]
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
    }
    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vmaxq_f32, a, b) }
    }
    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vminq_f32, a, b) }
    }
    #[inline(always)]
    fn round_to_i32(self, a: Self::F32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vcvtnq_s32_f32, a) }
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vcvtq_f32_s32, a) }
    }
    #[inline(always)]
    fn f32_bits(self, a: Self::F32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vreinterpretq_s32_f32, a) }
    }
    #[inline(always)]
    fn f32_from_bits(self, a: Self::I32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vreinterpretq_f32_s32, a) }
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { [vdupq_n_s32(value); 2] }
    }
    #[inline(always)]
    unsafe fn store_i32(self, value: Self::I32, to: *mut i32) {
        // SAFETY: the caller promises room for eight values.
        unsafe {
            vst1q_s32(to, value[0]);
            vst1q_s32(to.add(4), value[1]);
        }
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vaddq_s32, a, b) }
    }
    #[inline(always)]
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vsubq_s32, a, b) }
    }
    #[inline(always)]
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vandq_s32, a, b) }
    }
    #[inline(always)]
    fn or_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vorrq_s32, a, b) }
    }
    #[inline(always)]
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vmaxq_s32, a, b) }
    }
    #[inline(always)]
    fn shr_i32<const N: i32>(self, a: Self::I32) -> Self::I32 {
        self.shr_i32_by(a, N as u32)
    }
    #[inline(always)]
    fn shl_i32<const N: i32>(self, a: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let by = vdupq_n_s32(N);
            [vshlq_s32(a[0], by), vshlq_s32(a[1], by)]
        }
    }
    #[inline(always)]
    fn shr_i32_by(self, a: Self::I32, by: u32) -> Self::I32 {
        // SAFETY: `self` proves the instructions. A negative count shifts right.
        unsafe {
            let by = vdupq_n_s32(-(by as i32));
            let shift = |v| vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), by));
            [shift(a[0]), shift(a[1])]
        }
    }
    #[inline(always)]
    fn sign_extend_byte(self, a: Self::I32) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let extend = |v| vshrq_n_s32::<24>(vshlq_n_s32::<24>(v));
            [extend(a[0]), extend(a[1])]
        }
    }

    #[inline(always)]
    unsafe fn gather_u32(self, from: *const u8, stride: usize) -> Self::I32 {
        let mut lanes = [0_i32; LANES];
        for (r, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller promises eight reads, `stride` apart.
            *lane = unsafe { from.add(r * stride).cast::<i32>().read_unaligned() };
        }
        // SAFETY: eight values.
        unsafe { [vld1q_s32(lanes.as_ptr()), vld1q_s32(lanes.as_ptr().add(4))] }
    }
    #[inline(always)]
    fn f16_pairs_to_f32(self, a: Self::I32) -> [Self::F32; 2] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let [a, b] = both!(vreinterpretq_u16_s32, a);
            let (low, high) = (vuzp1q_u16(a, b), vuzp2q_u16(a, b));
            let widen = |v| [widen_f16(vget_low_u16(v)), widen_f16(vget_high_u16(v))];
            [widen(low), widen(high)]
        }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { [vld1q_u8(from), vld1q_u8(from.add(16))] }
    }
    #[inline(always)]
    unsafe fn load_nibbles(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe {
            let packed = vld1q_u8(from);
            [vandq_u8(packed, vdupq_n_u8(15)), vshrq_n_u8::<4>(packed)]
        }
    }
    #[inline(always)]
    unsafe fn load_bits_as_16(self, from: *const u8, _pair_stride: usize) -> Self::Bytes {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe {
            let bit = vcombine_u8(
                vcreate_u8(0x8040_2010_0804_0201),
                vcreate_u8(0x8040_2010_0804_0201),
            );
            let spread = |at: usize| {
                let bytes = vcombine_u8(
                    vdup_n_u8(from.add(at).read()),
                    vdup_n_u8(from.add(at + 1).read()),
                );
                vandq_u8(vtstq_u8(bytes, bit), vdupq_n_u8(16))
            };
            [spread(0), spread(2)]
        }
    }
    #[inline(always)]
    fn and_bytes(self, a: Self::Bytes, mask: u8) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let mask = vdupq_n_u8(mask);
            [vandq_u8(a[0], mask), vandq_u8(a[1], mask)]
        }
    }
    #[inline(always)]
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { both!(vorrq_u8, a, b) }
    }
    #[inline(always)]
    fn lookup_bytes(self, a: Self::Bytes, values: &[i8; 16]) -> Self::Bytes {
        // SAFETY: `self` proves the instructions; sixteen bytes are read.
        unsafe {
            let table = vld1q_u8(values.as_ptr().cast());
            [vqtbl1q_u8(table, a[0]), vqtbl1q_u8(table, a[1])]
        }
    }
    #[inline(always)]
    fn shr_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions. A negative count shifts right.
        unsafe {
            let by = vdupq_n_s16(-(N as i16));
            let shift = |v| vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(v), by));
            [shift(a[0]), shift(a[1])]
        }
    }
    #[inline(always)]
    fn shl_bytes<const N: i32>(self, a: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let by = vdupq_n_s16(N as i16);
            let shift = |v| vreinterpretq_u8_u16(vshlq_u16(vreinterpretq_u16_u8(v), by));
            [shift(a[0]), shift(a[1])]
        }
    }
    #[inline(always)]
    fn zero_bytes(self) -> Self::Bytes {
        // SAFETY: `self` proves the instructions.
        unsafe { [vdupq_n_u8(0); 2] }
    }

    #[inline(always)]
    fn dot_rows(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        _sums: &BlockSums,
    ) -> Self::I32 {
        // SAFETY: `self` proves the instructions.
        unsafe { products::dot_rows::<DOT, MATRIX, 2>(form.kind, rows, x, [0, 1]) }
    }
    #[inline(always)]
    fn dot_row_halves(
        self,
        form: WeightForm,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        _sums: &BlockSums,
    ) -> [Self::I32; 2] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            [
                products::dot_rows::<DOT, MATRIX, 1>(form.kind, rows, x, [0]),
                products::dot_rows::<DOT, MATRIX, 1>(form.kind, rows, x, [1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store_block(self, values: [Self::I32; 4], to: *mut ActivationBlock) {
        // SAFETY: `self` proves the instructions; the caller the write.
        unsafe { products::store_block::<DOT, MATRIX>(values, to) }
    }

    #[inline(always)]
    fn tile_splat(self, value: f32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn tile_load(self, from: *const f32) -> Self::TileF32 {
        // SAFETY: the caller promises sixteen values.
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn tile_store(self, value: Self::TileF32, to: *mut f32) {
        for (i, v) in value.into_iter().enumerate() {
            // SAFETY: the caller promises room for sixteen values.
            unsafe { vst1q_f32(to.add(4 * i), v) };
        }
    }
    #[inline(always)]
    fn tile_halves(self, [a, b, c, d]: Self::TileF32) -> [Self::F32; 2] {
        [[a, b], [c, d]]
    }
    #[inline(always)]
    fn tile_of(self, [[a, b], [c, d]]: [Self::F32; 2]) -> Self::TileF32 {
        [a, b, c, d]
    }
    #[inline(always)]
    fn tile_mul(self, a: Self::TileF32, b: Self::TileF32) -> Self::TileF32 {
        let mut out = a;
        for i in 0..4 {
            // SAFETY: `self` proves the instructions.
            out[i] = unsafe { vmulq_f32(a[i], b[i]) };
        }
        out
    }
    #[inline(always)]
    fn tile_fma(self, a: Self::TileF32, b: Self::TileF32, c: Self::TileF32) -> Self::TileF32 {
        let mut out = a;
        for i in 0..4 {
            // SAFETY: `self` proves the instructions.
            out[i] = unsafe { vfmaq_f32(c[i], a[i], b[i]) };
        }
        out
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch of any address is only a hint.
        unsafe {
            asm!(
                "prfm pldl1keep, [{at}]",
                at = in(reg) at,
                options(nostack, preserves_flags, readonly),
            );
        }
    }
}
