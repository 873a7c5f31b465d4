//! Products of weights and activations: whole 16-bit activations, or two signed bytes with dot
//! products.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{ActivationBlock, Halves, LANES, TILE_ROWS, WeightKind};

/// Dot products of eight rows with an activation block, over the `halves` of 16 elements.
///
/// # Safety
/// The CPU has NEON and, if `DOT`, the dot-product extension; `halves` are 0 or 1.
#[inline(always)]
pub(super) unsafe fn dot_rows<const DOT: bool, const N: usize>(
    kind: WeightKind,
    rows: &[[uint8x16_t; 2]; LANES],
    x: &ActivationBlock,
    halves: [usize; N],
) -> [int32x4_t; 2] {
    // SAFETY: the caller promises the instructions; a block is 64 bytes.
    unsafe {
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

/// See [`Simd::store_block`](super::Simd::store_block).
///
/// # Safety
/// The CPU has NEON; `to` is valid for writing.
#[inline(always)]
pub(super) unsafe fn store_block<const DOT: bool>(
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
                vst1_s8(to.add(8 * i), vmovn_s16(high));
                vst1_s8(to.add(32 + 8 * i), vmovn_s16(low));
            } else {
                vst1q_s16(to.cast::<i16>().add(8 * i), value);
            }
        }
    }
}

/// See [`Simd::pack_rows`](super::Simd::pack_rows).
///
/// # Safety
/// The CPU has NEON; `panel` is valid for writing a panel block.
#[inline(always)]
pub(super) unsafe fn pack_rows<const DOT: bool>(
    kind: WeightKind,
    rows: &[[uint8x16_t; 2]; LANES],
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

/// See [`Simd::tile_dot`](super::Simd::tile_dot).
///
/// # Safety
/// The CPU has NEON and, if `DOT`, the dot-product extension; `panel` holds a packed block, `x` is
/// valid for reading `N` blocks.
#[inline(always)]
pub(super) unsafe fn tile_dot<const DOT: bool, const N: usize>(
    panel: *const u8,
    halves: Halves,
    x: *const i32,
) -> [[int32x4_t; 4]; N] {
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
                    let high = vreinterpretq_s8_s32(vld1q_dup_s32(x.add(k * N + n)));
                    let low = vreinterpretq_s8_s32(vld1q_dup_s32(x.add((8 + k) * N + n)));
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
                    let x = x.cast::<i16>().add((i / 2 * N + n) * 2 + i % 2).read();
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
