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
    Twos,
    TwosAndThirds,
}

/// Bytes of a vector of a plane: a word of each row.
const VECTOR: usize = GROUP * WORD;
/// Bytes of the plane of nibbles, and of the plane of twos.
const NIBBLES: usize = 4 * VECTOR;
const TWOS: usize = 2 * VECTOR;

impl Planes {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Nibbles => NIBBLES,
            Self::NibblesAndFifths => NIBBLES + VECTOR,
            Self::NibblesAndSixths => NIBBLES + 2 * VECTOR,
            Self::Bytes => 8 * VECTOR,
            Self::Twos => TWOS,
            Self::TwosAndThirds => TWOS + VECTOR,
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
            match self {
                Self::Bytes => {
                    let mut words = [s.word(at); WORDS];
                    for (v, word) in words.iter_mut().enumerate() {
                        *word = s.word(at.add(v * VECTOR));
                    }
                    words
                }
                Self::Nibbles => nibbles(s, at),
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
                    with_high(s, nibbles(s, at), high, 0x10)
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
                    with_high(s, nibbles(s, at), high, 0x30)
                }
                Self::Twos => twos(s, at),
                Self::TwosAndThirds => {
                    let h = s.word(at.add(TWOS));
                    let high = [
                        s.word_shl::<2>(h),
                        s.word_shl::<1>(h),
                        h,
                        s.word_shr::<1>(h),
                        s.word_shr::<2>(h),
                        s.word_shr::<3>(h),
                        s.word_shr::<4>(h),
                        s.word_shr::<5>(h),
                    ];
                    with_high(s, twos(s, at), high, 0x04)
                }
            }
        }
    }

    /// Writes a row's 32 weights, four bytes a word, to the planes at `to`.
    pub(crate) fn write(self, codes: [u32; WORDS], row: usize, to: &mut [u8]) {
        let mut put = |vector: usize, word: u32| {
            let at = vector * VECTOR + row * WORD;
            to[at..at + WORD].copy_from_slice(&word.to_le_bytes());
        };
        // Two bits of four words from `first` on.
        let pairs = |from: u32, first: usize| {
            (0..4).fold(0, |all, v| {
                all | (codes[first + v] >> from & 0x0303_0303) << (2 * v)
            })
        };
        // A bit of each word.
        let bits =
            |from: u32| (0..WORDS).fold(0, |all, v| all | (codes[v] >> from & 0x0101_0101) << v);
        if matches!(
            self,
            Self::Nibbles | Self::NibblesAndFifths | Self::NibblesAndSixths
        ) {
            let low = codes.map(|word| word & 0x0F0F_0F0F);
            for v in 0..4 {
                put(v, low[v] | low[v + 4] << 4);
            }
        }
        match self {
            Self::Nibbles => {}
            Self::NibblesAndFifths => put(4, bits(4)),
            Self::NibblesAndSixths => {
                put(4, pairs(4, 0));
                put(5, pairs(4, 4));
            }
            Self::Bytes => {
                for (v, word) in codes.into_iter().enumerate() {
                    put(v, word);
                }
            }
            Self::Twos | Self::TwosAndThirds => {
                put(0, pairs(0, 0));
                put(1, pairs(0, 4));
                if self == Self::TwosAndThirds {
                    put(2, bits(2));
                }
            }
        }
    }
}

/// The words of the plane of nibbles.
///
/// # Safety
/// As for [`Planes::read`], `at` its vectors' rows.
#[inline(always)]
unsafe fn nibbles<S: Words>(s: S, at: *const u8) -> [S::Word; WORDS] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut words = [s.word(at); WORDS];
        for v in 0..WORDS / 2 {
            let packed = s.word(at.add(v * VECTOR));
            words[v] = s.word_and(packed, 0x0F);
            words[v + WORDS / 2] = s.word_and(s.word_shr::<4>(packed), 0x0F);
        }
        words
    }
}

/// The words of the plane of twos.
///
/// # Safety
/// As for [`Planes::read`], `at` its vectors' rows.
#[inline(always)]
unsafe fn twos<S: Words>(s: S, at: *const u8) -> [S::Word; WORDS] {
    // SAFETY: the caller's promise.
    let [a, b] = unsafe { [s.word(at), s.word(at.add(VECTOR))] };
    let mut words = [
        a,
        s.word_shr::<2>(a),
        s.word_shr::<4>(a),
        s.word_shr::<6>(a),
        b,
        s.word_shr::<2>(b),
        s.word_shr::<4>(b),
        s.word_shr::<6>(b),
    ];
    for word in &mut words {
        *word = s.word_and(*word, 0x03);
    }
    words
}

/// Words with the bits `mask` of others.
#[inline(always)]
fn with_high<S: Words>(
    s: S,
    mut words: [S::Word; WORDS],
    high: [S::Word; WORDS],
    mask: u8,
) -> [S::Word; WORDS] {
    for (word, high) in words.iter_mut().zip(high) {
        *word = s.word_or(*word, s.word_and(high, mask));
    }
    words
}
