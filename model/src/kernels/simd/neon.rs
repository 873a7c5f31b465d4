//! NEON, the aarch64 baseline, and NEON with the dot-product extension.
//!
//! Without dot products a weight and a 16-bit activation are multiplied whole (`smlal`); with them
//! the activations are two signed bytes (`x = 256·high + low`) and four products a lane are added
//! at once (`sdot`, as inline assembly: the intrinsic is not in stable Rust).

use std::arch::aarch64::*;
use std::arch::asm;

use super::{ActivationBlock, BlockOrder, Halves, LANES, OfTile, Simd, TILE_ROWS, WeightKind};

/// NEON; `DOT` adds the dot-product extension.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>(());

impl<const DOT: bool> Neon<DOT> {
    /// # Safety
    /// The CPU has NEON and, if `DOT`, the dot-product extension.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

/// `sums + a · b`, four signed byte products a lane.
///
/// # Safety
/// The CPU has the dot-product extension.
#[inline(always)]
unsafe fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller promises the extension; registers only.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
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

/// Adds each row's four partial sums: rows 0..8 in order.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn reduce_rows(v: &[int32x4_t; LANES]) -> [int32x4_t; 2] {
    // SAFETY: registers only.
    unsafe {
        [
            vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3])),
            vpaddq_s32(vpaddq_s32(v[4], v[5]), vpaddq_s32(v[6], v[7])),
        ]
    }
}

// SAFETY: a value exists only where `Neon::new`'s promise was kept.
unsafe impl<const DOT: bool> Simd for Neon<DOT> {
    type F32 = [float32x4_t; 2];
    type I32 = [int32x4_t; 2];
    type Bytes = [uint8x16_t; 2];
    type TileF32 = [float32x4_t; 4];
    type TileI32 = [int32x4_t; 4];

    const ROWS_PER_BYTES: usize = 1;

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
    unsafe fn gather_u16(self, from: *const u8, stride: usize) -> Self::I32 {
        let mut lanes = [0_i32; LANES];
        for (r, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller promises eight reads, `stride` apart.
            *lane = unsafe { i32::from(from.add(r * stride).cast::<u16>().read_unaligned()) };
        }
        // SAFETY: eight values.
        unsafe { [vld1q_s32(lanes.as_ptr()), vld1q_s32(lanes.as_ptr().add(4))] }
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
    fn f16_lanes_to_f32(self, a: Self::I32) -> Self::F32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let widen = |v| widen_f16(vmovn_u32(vreinterpretq_u32_s32(v)));
            [widen(a[0]), widen(a[1])]
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
        kind: WeightKind,
        rows: &[Self::Bytes; LANES],
        x: &ActivationBlock,
        _sums: &[i32; 2],
    ) -> [Self::I32; 2] {
        // SAFETY: `self` proves the instructions; a block is 64 bytes.
        unsafe {
            let mut halves = [[vdupq_n_s32(0); 2]; 2];
            for (half, out) in halves.iter_mut().enumerate() {
                let mut partial = [vdupq_n_s32(0); LANES];
                for r in 0..LANES {
                    partial[r] = if DOT {
                        // Unsigned weights are at most 127, so signed products serve both kinds.
                        let w = vreinterpretq_s8_u8(rows[r][half]);
                        let x: *const i8 = x.0.as_ptr().cast();
                        let high = sdot(vdupq_n_s32(0), w, vld1q_s8(x.add(16 * half)));
                        let low = vld1q_s8(x.add(32 + 16 * half));
                        sdot(vshlq_n_s32::<8>(high), w, low)
                    } else {
                        let [low, high] = widen(kind, rows[r][half]);
                        let x = x.0.as_ptr().add(16 * half);
                        let (a, b) = (vld1q_s16(x), vld1q_s16(x.add(8)));
                        let sum = vmull_s16(vget_low_s16(low), vget_low_s16(a));
                        let sum = vmlal_high_s16(sum, low, a);
                        let sum = vmlal_s16(sum, vget_low_s16(high), vget_low_s16(b));
                        vmlal_high_s16(sum, high, b)
                    };
                }
                *out = reduce_rows(&partial);
            }
            halves
        }
    }

    #[inline(always)]
    unsafe fn store_block(
        self,
        _order: BlockOrder,
        values: [Self::I32; 4],
        to: *mut ActivationBlock,
    ) {
        // SAFETY: the caller promises that `to` is writable.
        unsafe {
            for (i, v) in values.iter().enumerate() {
                let value = vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1]));
                if DOT {
                    // x = 256·high + low, both within a signed byte.
                    let high = vshrq_n_s16::<8>(vaddq_s16(value, vdupq_n_s16(128)));
                    let low = vsubq_s16(value, vshlq_n_s16::<8>(high));
                    let to: *mut i8 = to.cast();
                    vst1_s8(to.add(8 * i), vmovn_s16(high));
                    vst1_s8(to.add(32 + 8 * i), vmovn_s16(low));
                } else {
                    vst1q_s16(to.cast::<i16>().add(8 * i), value);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn pack_rows(
        self,
        kind: WeightKind,
        rows: &[Self::Bytes; LANES],
        offset: i32,
        group: usize,
        panel: *mut u8,
    ) {
        for (r, row) in rows.iter().enumerate() {
            let row_of_tile = group * LANES + r;
            for half in 0..2 {
                // SAFETY: with dot products four elements of sixteen rows take 64 bytes, eight
                // such groups 512; else an element of sixteen rows takes 32, 32 of them 1024.
                unsafe {
                    if DOT {
                        let offset = vdupq_n_s8(offset as i8);
                        let w = vsubq_s8(vreinterpretq_s8_u8(row[half]), offset);
                        let mut fours = [0_u32; 4];
                        vst1q_u32(fours.as_mut_ptr(), vreinterpretq_u32_s8(w));
                        for (k, four) in fours.into_iter().enumerate() {
                            let at = (4 * half + k) * TILE_ROWS + row_of_tile;
                            panel.cast::<u32>().add(at).write(four);
                        }
                    } else {
                        let offset = vdupq_n_s16(offset as i16);
                        let [low, high] = widen(kind, row[half]);
                        let mut values = [0_i16; 16];
                        vst1q_s16(values.as_mut_ptr(), vsubq_s16(low, offset));
                        vst1q_s16(values.as_mut_ptr().add(8), vsubq_s16(high, offset));
                        for (i, value) in values.into_iter().enumerate() {
                            let at = (16 * half + i) * TILE_ROWS + row_of_tile;
                            panel.cast::<i16>().add(at).write(value);
                        }
                    }
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn tile_dot<const N: usize>(
        self,
        panel: *const u8,
        halves: Halves,
        x: &[*const ActivationBlock; N],
    ) -> [Self::TileI32; N] {
        let elements = match halves {
            Halves::Both => 0..32,
            Halves::First => 0..16,
            Halves::Second => 16..32,
        };
        // SAFETY: the reads stay within a panel block as `pack_rows` wrote it, and within the
        // activation blocks.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; N];
            if DOT {
                let mut low_sums = sums;
                for k in elements.start / 4..elements.end / 4 {
                    let w: *const i8 = panel.add(k * 4 * TILE_ROWS).cast();
                    for n in 0..N {
                        let x: *const i32 = x[n].cast();
                        let high = vreinterpretq_s8_s32(vld1q_dup_s32(x.add(k)));
                        let low = vreinterpretq_s8_s32(vld1q_dup_s32(x.add(8 + k)));
                        for q in 0..4 {
                            let w = vld1q_s8(w.add(16 * q));
                            sums[n][q] = sdot(sums[n][q], w, high);
                            low_sums[n][q] = sdot(low_sums[n][q], w, low);
                        }
                    }
                }
                for n in 0..N {
                    for q in 0..4 {
                        sums[n][q] = vaddq_s32(vshlq_n_s32::<8>(sums[n][q]), low_sums[n][q]);
                    }
                }
            } else {
                for i in elements {
                    let w: *const i16 = panel.cast::<i16>().add(i * TILE_ROWS);
                    let (a, b) = (vld1q_s16(w), vld1q_s16(w.add(8)));
                    for n in 0..N {
                        let x = (*x[n]).0[i];
                        sums[n][0] = vmlal_n_s16(sums[n][0], vget_low_s16(a), x);
                        sums[n][1] = vmlal_high_n_s16(sums[n][1], a, x);
                        sums[n][2] = vmlal_n_s16(sums[n][2], vget_low_s16(b), x);
                        sums[n][3] = vmlal_high_n_s16(sums[n][3], b, x);
                    }
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn with_tile_positions<T: OfTile<Self>>(self, of: T) {
        if DOT {
            of.call::<2>(self)
        } else {
            of.call::<4>(self)
        }
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
    fn tile_to_f32(self, a: Self::TileI32) -> Self::TileF32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            [
                vcvtq_f32_s32(a[0]),
                vcvtq_f32_s32(a[1]),
                vcvtq_f32_s32(a[2]),
                vcvtq_f32_s32(a[3]),
            ]
        }
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

/// 16 weight bytes as 16-bit values.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn widen(kind: WeightKind, bytes: uint8x16_t) -> [int16x8_t; 2] {
    // SAFETY: registers only.
    unsafe {
        match kind {
            WeightKind::Unsigned => [
                vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))),
                vreinterpretq_s16_u16(vmovl_high_u8(bytes)),
            ],
            WeightKind::Signed => {
                let bytes = vreinterpretq_s8_u8(bytes);
                [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)]
            }
        }
    }
}
