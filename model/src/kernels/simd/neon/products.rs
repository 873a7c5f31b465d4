//! Products of weights and activations: whole 16-bit activations, or two signed bytes with dot
//! products or matrix products.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{ActivationBlock, LANES, WeightKind};

/// Dot products of eight rows with an activation block, over the `halves` of 16 elements.
///
/// # Safety
/// The CPU has NEON and, if `DOT` or `MATRIX`, those extensions; `halves` are 0 or 1.
#[inline(always)]
pub(super) unsafe fn dot_rows<const DOT: bool, const MATRIX: bool, const N: usize>(
    kind: WeightKind,
    rows: &[[uint8x16_t; 2]; LANES],
    x: &ActivationBlock,
    halves: [usize; N],
) -> [int32x4_t; 2] {
    // SAFETY: the caller promises the instructions; a block is 64 bytes.
    unsafe {
        if MATRIX {
            return dot_pairs_of_rows(rows, x, halves);
        }
        let mut sums = [vdupq_n_s32(0); LANES];
        for (sum, row) in sums.iter_mut().zip(rows) {
            if DOT {
                // Unsigned weights are at most 127, so signed products serve both kinds.
                let x: *const i8 = x.0.as_ptr().cast();
                let w = [vreinterpretq_s8_u8(row[0]), vreinterpretq_s8_u8(row[1])];
                for half in halves {
                    *sum = sdot(*sum, w[half], vld1q_s8(x.add(16 * half)));
                }
                *sum = vshlq_n_s32::<8>(*sum);
                for half in halves {
                    *sum = sdot(*sum, w[half], vld1q_s8(x.add(32 + 16 * half)));
                }
            } else {
                for half in halves {
                    let [low, high] = widen(kind, row[half]);
                    let x = x.0.as_ptr().add(16 * half);
                    let (a, b) = (vld1q_s16(x), vld1q_s16(x.add(8)));
                    *sum = vmlal_s16(*sum, vget_low_s16(low), vget_low_s16(a));
                    *sum = vmlal_high_s16(*sum, low, a);
                    *sum = vmlal_s16(*sum, vget_low_s16(high), vget_low_s16(b));
                    *sum = vmlal_high_s16(*sum, high, b);
                }
            }
        }
        reduce_rows(&sums)
    }
}

/// As [`dot_rows`], by matrix products of two rows. Unsigned weights are at most 127.
///
/// # Safety
/// The CPU has NEON and the matrix extension; `halves` are 0 or 1.
#[inline(always)]
unsafe fn dot_pairs_of_rows<const N: usize>(
    rows: &[[uint8x16_t; 2]; LANES],
    x: &ActivationBlock,
    halves: [usize; N],
) -> [int32x4_t; 2] {
    // SAFETY: the caller promises the instructions; a block is four times eight high bytes and the
    // eight low ones that belong to them.
    unsafe {
        let x: *const i8 = x.0.as_ptr().cast();
        let mut sums = [vdupq_n_s32(0); LANES / 2];
        for (sum, pair) in sums.iter_mut().zip(rows.chunks_exact(2)) {
            for half in halves {
                let (a, b) = (
                    vreinterpretq_s64_u8(pair[0][half]),
                    vreinterpretq_s64_u8(pair[1][half]),
                );
                let (first, second) = (vzip1q_s64(a, b), vzip2q_s64(a, b));
                let x = x.add(32 * half);
                *sum = smmla(*sum, vreinterpretq_s8_s64(first), vld1q_s8(x));
                *sum = smmla(*sum, vreinterpretq_s8_s64(second), vld1q_s8(x.add(16)));
            }
        }
        [
            high_and_low(sums[0], sums[1]),
            high_and_low(sums[2], sums[3]),
        ]
    }
}

/// The sums of four rows, `256·high + low`, of two matrix products of two rows each.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn high_and_low(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: registers only.
    unsafe { vaddq_s32(vshlq_n_s32::<8>(vuzp1q_s32(a, b)), vuzp2q_s32(a, b)) }
}

/// See [`Simd::store_block`](super::Simd::store_block).
///
/// # Safety
/// The CPU has NEON; `to` is valid for writing.
#[inline(always)]
pub(super) unsafe fn store_block<const DOT: bool, const MATRIX: bool>(
    values: [[int32x4_t; 2]; 4],
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
                let (high_at, low_at) = if MATRIX {
                    (16 * i, 16 * i + 8)
                } else {
                    (8 * i, 32 + 8 * i)
                };
                vst1_s8(to.add(high_at), vmovn_s16(high));
                vst1_s8(to.add(low_at), vmovn_s16(low));
            } else {
                vst1q_s16(to.cast::<i16>().add(8 * i), value);
            }
        }
    }
}

/// `sums + a · b`, four signed byte products a lane.
///
/// # Safety
/// The CPU has the dot-product extension.
#[inline(always)]
pub(super) unsafe fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
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

/// `sums + a · b`, four signed byte products a lane, all with four bytes of `b`, the `I`th.
///
/// # Safety
/// The CPU has the dot-product extension.
#[inline(always)]
pub(super) unsafe fn sdot_by<const I: usize>(
    mut sums: int32x4_t,
    a: int8x16_t,
    b: int8x16_t,
) -> int32x4_t {
    // SAFETY: the caller promises the extension; registers only.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{i}]",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            i = const I,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// `sums + a · bᵀ` of matrices of two rows of eight signed bytes, row after row.
///
/// # Safety
/// The CPU has the matrix extension.
#[inline(always)]
pub(super) unsafe fn smmla(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller promises the extension; registers only.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// 16 weight bytes as 16-bit values.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn widen(kind: WeightKind, bytes: uint8x16_t) -> [int16x8_t; 2] {
    // SAFETY: registers only.
    unsafe {
        match kind {
            WeightKind::Unsigned => [
                vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))),
                vreinterpretq_s16_u16(vmovl_high_u8(bytes)),
            ],
            WeightKind::Signed | WeightKind::LookedUp => {
                let bytes = vreinterpretq_s8_u8(bytes);
                [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)]
            }
        }
    }
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
