//! Packed weights in plain arrays.

use half::f16;

use super::super::{OfTile, Part, Sum, WORD, WORDS, WeightKind, Words};
use super::{Portable, map, read, weight, zip};
use crate::kernels::values::half_of_power;

/// Rows of a vector.
const ROWS: usize = 16;

fn on_u16(word: [[u8; WORD]; ROWS], f: impl Fn(u16) -> u16) -> [[u8; WORD]; ROWS] {
    map(word, |[a, b, c, d]| {
        let [a, b] = f(u16::from_le_bytes([a, b])).to_le_bytes();
        let [c, d] = f(u16::from_le_bytes([c, d])).to_le_bytes();
        [a, b, c, d]
    })
}

// SAFETY: no instructions beyond the target's baseline are used.
unsafe impl Words for Portable {
    const ROWS: usize = ROWS;
    /// Code for more would take long to compile, and few processors run it.
    const AT_ONCE: usize = 2;
    const TILE: usize = 4;
    const TOGETHER: usize = 1;
    const SIGNED_OFFSET: i32 = 0;

    type Word = [[u8; WORD]; ROWS];
    type Table = [u8; 16];
    type Operand = [[i16; WORD]; ROWS];
    type Floats = [f32; ROWS];
    type Ints = [i32; ROWS];

    unsafe fn word(self, at: *const u8) -> Self::Word {
        // SAFETY: the caller's promise is this function's.
        unsafe { read(at.cast()) }
    }
    fn word_and(self, a: Self::Word, mask: u8) -> Self::Word {
        map(a, |word| map(word, |byte| byte & mask))
    }
    fn word_or(self, a: Self::Word, b: Self::Word) -> Self::Word {
        zip(a, b, |a, b| zip(a, b, |a, b| a | b))
    }
    fn word_shr<const N: i32>(self, a: Self::Word) -> Self::Word {
        on_u16(a, |unit| unit >> N)
    }
    fn word_shl<const N: i32>(self, a: Self::Word) -> Self::Word {
        on_u16(a, |unit| unit << N)
    }
    unsafe fn table(self, values: *const u8) -> Self::Table {
        // SAFETY: the caller's promise is this function's.
        unsafe { read(values) }
    }
    fn word_lookup(self, a: Self::Word, table: Self::Table) -> Self::Word {
        map(a, |word| map(word, |byte| table[usize::from(byte)]))
    }
    fn operands(self, kind: WeightKind, words: [Self::Word; WORDS]) -> [Self::Operand; WORDS] {
        map(words, |word| {
            map(word, |word| map(word, |w| weight(kind, w) as i16))
        })
    }

    unsafe fn dot<const N: usize, const STRIDE: usize>(
        self,
        part: Part,
        weights: &[Self::Operand; WORDS],
        x: &[*const i32; N],
    ) -> [Self::Ints; N] {
        x.map(|x| {
            let mut sums = [0; ROWS];
            for j in part.words() {
                // Word `j` belongs to the pairs `2 j` and `2 j + 1` of activations.
                // SAFETY: the caller promises sixteen pairs, `STRIDE` apart.
                let pairs = [0, 1].map(|i| unsafe { x.add((2 * j + i) * STRIDE).read() });
                let [a, b] = pairs.map(|pair| [i32::from(pair as i16), pair >> 16]);
                for (sum, word) in sums.iter_mut().zip(weights[j]) {
                    let products = word.into_iter().zip([a[0], a[1], b[0], b[1]]);
                    *sum += products.map(|(w, x)| i32::from(w) * x).sum::<i32>();
                }
            }
            sums
        })
    }
    fn with_tile<T: OfTile<Self>>(self, of: T) {
        of.call::<{ Self::TILE }>(self);
    }
    fn offset(self, value: i32) -> Self::Ints {
        [value; ROWS]
    }
    fn ints_minus(self, a: Self::Ints, offset: Self::Ints, sum: &Sum) -> Self::Ints {
        zip(a, offset, |a, offset| a - offset * sum.value)
    }

    fn floats(self, value: f32) -> Self::Floats {
        [value; ROWS]
    }
    unsafe fn floats_store(self, value: Self::Floats, to: *mut f32) {
        // SAFETY: the caller's promise is this function's.
        unsafe { to.cast::<Self::Floats>().write_unaligned(value) }
    }
    unsafe fn floats_from_f16(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller's promise is this function's.
        let halves: [[u8; 2]; ROWS] = unsafe { read(from.cast()) };
        map(halves, |bytes| f16::from_le_bytes(bytes).to_f32())
    }
    unsafe fn floats_from_u8(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller's promise is this function's.
        let bytes: [u8; ROWS] = unsafe { read(from) };
        map(bytes, f32::from)
    }
    unsafe fn floats_from_i8(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller's promise is this function's.
        let bytes: [i8; ROWS] = unsafe { read(from.cast()) };
        map(bytes, f32::from)
    }
    unsafe fn floats_from_nibbles(self, from: *const u8) -> [Self::Floats; 2] {
        // SAFETY: the caller's promise is this function's.
        let bytes: [u8; ROWS] = unsafe { read(from) };
        [
            map(bytes, |b| f32::from(b & 15)),
            map(bytes, |b| f32::from(b >> 4)),
        ]
    }
    unsafe fn floats_from_exponents(self, from: *const u8) -> Self::Floats {
        // SAFETY: the caller's promise is this function's.
        let bytes: [u8; ROWS] = unsafe { read(from) };
        map(bytes, half_of_power)
    }
    fn floats_from(self, a: Self::Ints) -> Self::Floats {
        map(a, |a| a as f32)
    }
    fn floats_mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, |a, b| a * b)
    }
    fn floats_fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
}
