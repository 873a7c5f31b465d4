//! The planes in which a packed sub-block's weights lie.

use super::simd::{WORD, WORDS, Words};

/// Rows of a group.
pub(crate) const GROUP: usize = 16;

/// How a row's 32 weights lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planes {
    Nibbles,
    NibblesAndFifths,
    NibblesAndSixths,
    Bytes,
}

/// Bytes of a vector of a plane: a word of each row.
const VECTOR: usize = GROUP * WORD;
/// Bytes of the plane of nibbles.
const NIBBLES: usize = 4 * VECTOR;

impl Planes {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Nibbles => NIBBLES,
            Self::NibblesAndFifths => NIBBLES + VECTOR,
            Self::NibblesAndSixths => NIBBLES + 2 * VECTOR,
            Self::Bytes => 8 * VECTOR,
        }
    }

    /// The weights of a sub-block for the rows from `first` on.
    ///
    /// # Safety
    /// `at` points at the planes of a sub-block; `first` is a multiple of [`Words::ROWS`] below
    /// [`GROUP`].
    #[inline(always)]
    pub(crate) unsafe fn read<S: Words>(
        self,
        s: S,
        at: *const u8,
        first: usize,
    ) -> [S::Word; WORDS] {
        // No closures: what is not inlined has none of the instructions.
        // SAFETY: the caller promises the planes, each as long as `bytes` says.
        unsafe {
            let at = at.add(first * WORD);
            let mut words = [s.word(at); WORDS];
            if self == Self::Bytes {
                for (v, word) in words.iter_mut().enumerate() {
                    *word = s.word(at.add(v * VECTOR));
                }
                return words;
            }
            for v in 0..WORDS / 2 {
                let packed = s.word(at.add(v * VECTOR));
                words[v] = s.word_and(packed, 0x0F);
                words[v + WORDS / 2] = s.word_and(s.word_shr::<4>(packed), 0x0F);
            }
            let (high, mask) = match self {
                Self::Nibbles | Self::Bytes => return words,
                Self::NibblesAndFifths => {
                    let h = s.word(at.add(NIBBLES));
                    let high = [
                        s.word_shl::<4>(h),
                        s.word_shl::<3>(h),
                        s.word_shl::<2>(h),
                        s.word_shl::<1>(h),
                        h,
                        s.word_shr::<1>(h),
                        s.word_shr::<2>(h),
                        s.word_shr::<3>(h),
                    ];
                    (high, 0x10)
                }
                Self::NibblesAndSixths => {
                    let [a, b] = [s.word(at.add(NIBBLES)), s.word(at.add(NIBBLES + VECTOR))];
                    let high = [
                        s.word_shl::<4>(a),
                        s.word_shl::<2>(a),
                        a,
                        s.word_shr::<2>(a),
                        s.word_shl::<4>(b),
                        s.word_shl::<2>(b),
                        b,
                        s.word_shr::<2>(b),
                    ];
                    (high, 0x30)
                }
            };
            for (word, high) in words.iter_mut().zip(high) {
                *word = s.word_or(*word, s.word_and(high, mask));
            }
            words
        }
    }

    /// Writes a row's 32 weights, four bytes a word, to the planes at `to`.
    pub(crate) fn write(self, codes: [u32; WORDS], row: usize, to: &mut [u8]) {
        let mut put = |vector: usize, word: u32| {
            let at = vector * VECTOR + row * WORD;
            to[at..at + WORD].copy_from_slice(&word.to_le_bytes());
        };
        if self == Self::Bytes {
            codes
                .into_iter()
                .enumerate()
                .for_each(|(v, word)| put(v, word));
            return;
        }
        let low = codes.map(|word| word & 0x0F0F_0F0F);
        for v in 0..4 {
            put(v, low[v] | low[v + 4] << 4);
        }
        match self {
            Self::Nibbles | Self::Bytes => {}
            Self::NibblesAndFifths => {
                let fifths = codes.map(|word| word >> 4 & 0x0101_0101);
                put(4, (0..WORDS).fold(0, |all, v| all | fifths[v] << v));
            }
            Self::NibblesAndSixths => {
                let sixths = codes.map(|word| word >> 4 & 0x0303_0303);
                put(4, (0..4).fold(0, |all, v| all | sixths[v] << (2 * v)));
                put(5, (0..4).fold(0, |all, v| all | sixths[v + 4] << (2 * v)));
            }
        }
    }
}
