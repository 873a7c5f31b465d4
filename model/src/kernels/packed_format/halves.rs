//! Q2_K, Q3_K and Q6_K, with a scale for each half of a sub-block.

use super::super::dequantise::q3_k_scale;
use super::super::grids::two_bits;
use super::super::planes::{GROUP, Planes};
use super::super::simd::{WORD, WORDS, Words};
use super::{Format, Halves, HalvesWithMinimum, MinimumHead, Scales, minimum_head, put_half, word};
use crate::TensorType;

#[derive(Clone, Copy)]
pub(crate) struct Q2K;

impl Format for Q2K {
    const TYPE: TensorType = TensorType::Q2_K;
    const PLANES: Planes = Planes::Twos;
    const AT_ONCE: usize = 2;
    /// For each half the scales and, above them, the minimums, of four bits.
    const SCALES: usize = 2 * GROUP;

    type Terms = HalvesWithMinimum;
    minimum_head!(d at 80);

    #[inline(always)]
    unsafe fn scales<S: Words>(
        s: S,
        head: &MinimumHead<S>,
        sub: *const u8,
        first: usize,
    ) -> Scales<S> {
        // SAFETY: sixteen bytes for each half. The products are exact (11 + 4 bits).
        unsafe {
            let [da, ma] = s.floats_from_nibbles(sub.add(first));
            let [db, mb] = s.floats_from_nibbles(sub.add(GROUP + first));
            Scales {
                d: [s.floats_mul(head.d, da), s.floats_mul(head.d, db)],
                m: [
                    s.floats_mul(head.negative_dmin, ma),
                    s.floats_mul(head.negative_dmin, mb),
                ],
            }
        }
    }

    fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]) {
        [to[row], to[GROUP + row]] = [stored[2 * sub], stored[2 * sub + 1]];
    }
    fn codes(stored: &[u8], sub: usize) -> [u32; WORDS] {
        two_bits(&stored[16..80], sub)
    }
}

/// The scales of formats with a signed byte for each half of a sub-block, times the block's `f16 d`
/// at `$d`.
macro_rules! signed_halves {
    (d at $d:literal) => {
        const HEAD: usize = 2 * GROUP;
        const SCALES: usize = 2 * GROUP;

        type Terms = Halves;
        /// `d`.
        type Head<S: Words> = S::Floats;

        #[inline(always)]
        unsafe fn head<S: Words>(s: S, block: *const u8, first: usize) -> S::Floats {
            // SAFETY: sixteen `f16`.
            unsafe { s.floats_from_f16(block.add(2 * first)) }
        }
        #[inline(always)]
        unsafe fn scales<S: Words>(
            s: S,
            head: &S::Floats,
            sub: *const u8,
            first: usize,
        ) -> Scales<S> {
            // SAFETY: sixteen signed bytes for each half.
            unsafe { Scales::of_signed_halves(s, *head, sub, first) }
        }

        fn pack_head(stored: &[u8], row: usize, to: &mut [u8]) {
            put_half(stored, $d, row, to);
        }
    };
}
#[derive(Clone, Copy)]
pub(crate) struct Q3K;

impl Format for Q3K {
    const TYPE: TensorType = TensorType::Q3_K;
    const PLANES: Planes = Planes::TwosAndThirds;
    const OFFSET: i32 = 4;
    const AT_ONCE: usize = 2;
    signed_halves!(d at 108);

    fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]) {
        let scales = [2 * sub, 2 * sub + 1].map(|index| q3_k_scale(stored, index) as u8);
        [to[row], to[GROUP + row]] = scales;
    }
    fn codes(stored: &[u8], sub: usize) -> [u32; WORDS] {
        let mut codes = two_bits(&stored[32..96], sub);
        for (v, code) in codes.iter_mut().enumerate() {
            *code |= (word(stored, WORD * v) >> sub & 0x0101_0101) << 2;
        }
        codes
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Q6K;

impl Format for Q6K {
    const TYPE: TensorType = TensorType::Q6_K;
    const PLANES: Planes = Planes::NibblesAndSixths;
    const OFFSET: i32 = 32;
    signed_halves!(d at 208);

    fn pack_scales(stored: &[u8], sub: usize, row: usize, to: &mut [u8]) {
        [to[row], to[GROUP + row]] = [stored[192 + 2 * sub], stored[193 + 2 * sub]];
    }
    fn codes(stored: &[u8], sub: usize) -> [u32; WORDS] {
        let (n, quarter) = (sub / 4, sub % 4);
        std::array::from_fn(|v| {
            let low = word(stored, 64 * n + 32 * (quarter % 2) + WORD * v) >> (4 * (quarter / 2));
            let high = word(stored, 128 + 32 * n + WORD * v) >> (2 * quarter);
            low & 0x0F0F_0F0F | (high & 0x0303_0303) << 4
        })
    }
}
