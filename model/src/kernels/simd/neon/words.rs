//! Packed weights with half a group in two vectors.

use std::arch::aarch64::*;

use super::super::{OfTile, Part, Simd, WORDS, WeightKind, Words};
use super::products::{sdot, widen};
use super::{Neon, widen_f16};

// SAFETY: a value exists only where `Neon::new`'s promise was kept.
unsafe impl<const DOT: bool> Words for Neon<DOT> {
    const ROWS: usize = 8;
    const TILE: usize = 4;
    const SIGNED_OFFSET: i32 = 0;

    type Word = [uint8x16_t; 2];
    type Floats = [float32x4_t; 2];
    type Ints = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn word(self, at: *const u8) -> Self::Word {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { [vld1q_u8(at), vld1q_u8(at.add(16))] }
    }
    #[inline(always)]
    fn word_and(self, a: Self::Word, mask: u8) -> Self::Word {
        self.and_bytes(a, mask)
    }
    #[inline(always)]
    fn word_or(self, a: Self::Word, b: Self::Word) -> Self::Word {
        self.or_bytes(a, b)
    }
    #[inline(always)]
    fn word_shr<const N: i32>(self, a: Self::Word) -> Self::Word {
        self.shr_bytes::<N>(a)
    }
    #[inline(always)]
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word {
        self.shl_bytes::<N>(a)
    }
    #[inline(always)]
    fn signed(self, a: Self::Word) -> Self::Word {
        a
    }

    #[inline(always)]
    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        kind: WeightKind,
        part: Part,
        words: &[Self::Word; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N] {
        // SAFETY: `self` proves the instructions; the caller the reads.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 2]; N];
            if DOT {
                // A block is eight words of the activations' high bytes, then eight of the low
                // ones. Unsigned weights are at most 127, so signed products serve both kinds.
                let word = |x: *const i32, j: usize| {
                    vreinterpretq_s8_s32(vld1q_dup_s32(x.add(j * STRIDE)))
                };
                let mut low = sums;
                for j in part.words() {
                    let w = words[j].map(|w| vreinterpretq_s8_u8(w));
                    for n in 0..N {
                        let (h, l) = (word(x[n], j), word(x[n], WORDS + j));
                        for q in 0..2 {
                            sums[n][q] = sdot(sums[n][q], w[q], h);
                            low[n][q] = sdot(low[n][q], w[q], l);
                        }
                    }
                }
                for n in 0..N {
                    for q in 0..2 {
                        sums[n][q] = vaddq_s32(vshlq_n_s32::<8>(sums[n][q]), low[n][q]);
                    }
                }
                return sums;
            }
            // A block is sixteen pairs of activations in natural order. Products of a row's four
            // weights are two partial sums, added in the end.
            let mut halves = [[vdupq_n_s32(0); 4]; N];
            for j in part.words() {
                for n in 0..N {
                    let at = x[n].add(2 * j * STRIDE);
                    let four = vcreate_s16(
                        u64::from(at.read() as u32) | u64::from(at.add(STRIDE).read() as u32) << 32,
                    );
                    for q in 0..2 {
                        let [a, b] = widen(kind, words[j][q]);
                        let rows = [
                            vmull_s16(vget_low_s16(a), four),
                            vmull_s16(vget_high_s16(a), four),
                            vmull_s16(vget_low_s16(b), four),
                            vmull_s16(vget_high_s16(b), four),
                        ];
                        halves[n][2 * q] =
                            vaddq_s32(halves[n][2 * q], vpaddq_s32(rows[0], rows[1]));
                        halves[n][2 * q + 1] =
                            vaddq_s32(halves[n][2 * q + 1], vpaddq_s32(rows[2], rows[3]));
                    }
                }
            }
            for n in 0..N {
                for q in 0..2 {
                    sums[n][q] = vpaddq_s32(halves[n][2 * q], halves[n][2 * q + 1]);
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        of.call::<4>(self);
    }
    #[inline(always)]
    fn ints_minus(self, a: Self::Ints, value: i32) -> Self::Ints {
        self.sub_i32(a, self.splat_i32(value))
    }

    #[inline(always)]
    fn floats(self, value: f32) -> Self::Floats {
        self.splat(value)
    }
    #[inline(always)]
    unsafe fn floats_store(self, value: Self::Floats, to: *mut f32) {
        // SAFETY: the caller's promise is this function's.
        unsafe { self.store(value, to) }
    }
    #[inline(always)]
    unsafe fn floats_from_f16(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe {
            let bits = vreinterpretq_u16_u8(vld1q_u8(from));
            [
                widen_f16(vget_low_u16(bits)),
                widen_f16(vget_high_u16(bits)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises eight readable bytes.
        unsafe {
            let wide = vmovl_u8(vld1_u8(from));
            [
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))),
                vcvtq_f32_u32(vmovl_high_u16(wide)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller promises eight readable bytes.
        unsafe {
            let wide = vmovl_s8(vld1_s8(from.cast()));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))),
                vcvtq_f32_s32(vmovl_high_s16(wide)),
            ]
        }
    }
    #[inline(always)]
    fn floats_from(self, a: Self::Ints) -> Self::Floats {
        self.to_f32(a)
    }
    #[inline(always)]
    fn floats_mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        self.mul(a, b)
    }
    #[inline(always)]
    fn floats_fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        self.fma(a, b, c)
    }
}
