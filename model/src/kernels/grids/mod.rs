//! The types of which a block chooses groups of weights from a grid, and those of three values: how
//! a sub-block of 32 weights is sixteen values and two scales, whatever the type.
//!
//! Layouts are those of ggml's `ggml-common.h`. A weight is `unit · d · scale · value`, which is
//! exact but for the last rounding.

mod numbers;

use super::simd::{WORD, WORDS};
use super::values;
use crate::TensorType;

/// A sub-block of a row.
pub(crate) struct SubBlock {
    /// Indices of [`Grid::VALUES`], four bytes a word.
    pub(crate) codes: [u32; WORDS],
    /// Of the first and the second sixteen weights.
    pub(crate) scales: [u8; 2],
}

/// One of these types.
pub(crate) trait Grid: Copy + Send + Sync {
    const TYPE: TensorType;
    const VALUES: &'static [i8; 16];
    /// A power of two.
    const UNIT: f32;
    /// Where a block's `f16 d` lies.
    const D: usize;

    /// Sub-block `sub`, of eight, of a block.
    fn sub_block(block: &[u8], sub: usize) -> SubBlock;
}

macro_rules! grid {
    (
        $(#[$doc:meta])* $name:ident: $type:ident, $values:ident, unit $unit:expr, d at $d:expr,
        |$block:ident, $sub:ident| $sub_block:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Grid for $name {
            const TYPE: TensorType = TensorType::$type;
            const VALUES: &'static [i8; 16] = &values::$values;
            const UNIT: f32 = $unit;
            const D: usize = $d;

            fn sub_block($block: &[u8], $sub: usize) -> SubBlock {
                $sub_block
            }
        }
    };
}

grid! {
    /// `f16 d`, then of each sub-block `u8 index[4]`, and a word of four times seven bits of signs
    /// and a scale.
    Iq2Xxs: IQ2_XXS, IQ2, unit 0.125, d at 0,
    |block, sub| {
        let block = &block[2 + 8 * sub..][..8];
        let signs = word(block, 4);
        let groups = std::array::from_fn(|g| {
            with_signs(eight(numbers::IQ2_XXS[usize::from(block[g])]), all_signs(signs, g))
        });
        SubBlock { codes: words(groups), scales: [odd((signs >> 28) as u8); 2] }
    }
}
grid! {
    /// `f16 d`, `u16` of nine bits of an index and seven of signs for each eight weights, a nibble
    /// of scale for each sixteen.
    Iq2Xs: IQ2_XS, IQ2, unit 0.125, d at 0,
    |block, sub| {
        let groups = std::array::from_fn(|g| {
            let at = 2 + 8 * sub + 2 * g;
            let number = u16::from_le_bytes([block[at], block[at + 1]]);
            let levels = eight(numbers::IQ2_XS[usize::from(number & 511)]);
            with_signs(levels, all_signs(u32::from(number >> 9), 0))
        });
        SubBlock { codes: words(groups), scales: two_scales(block[66 + sub]) }
    }
}
grid! {
    /// `f16 d`, for each eight weights eight bits of an index, then of signs, then the two bits of
    /// the index above, and a nibble of scale for each sixteen.
    Iq2S: IQ2_S, IQ2, unit 0.125, d at 0,
    |block, sub| {
        let groups = std::array::from_fn(|g| {
            let at = 2 + 4 * sub + g;
            let above = usize::from(block[66 + sub] >> (2 * g) & 3);
            let levels = eight(numbers::IQ2_S[usize::from(block[at]) | above << 8]);
            with_signs(levels, block[32 + at])
        });
        SubBlock { codes: words(groups), scales: two_scales(block[74 + sub]) }
    }
}
grid! {
    /// `f16 d`, an index for each four weights, then of each sub-block a word as of [`Iq2Xxs`].
    Iq3Xxs: IQ3_XXS, IQ3_XXS, unit 0.25, d at 0,
    |block, sub| {
        let signs = word(block, 66 + 4 * sub);
        let groups = std::array::from_fn(|g| {
            let number = |i| numbers::IQ3_XXS[usize::from(block[2 + 8 * sub + 2 * g + i])];
            with_signs(two_fours(number(0), number(1)), all_signs(signs, g))
        });
        SubBlock { codes: words(groups), scales: [odd((signs >> 28) as u8); 2] }
    }
}
grid! {
    /// `f16 d`, for each four weights eight bits of an index, then the bit above, then a bit of sign
    /// for each weight and a nibble of scale for each 32.
    Iq3S: IQ3_S, IQ3_S, unit 1.0, d at 0,
    |block, sub| {
        let above = usize::from(block[66 + sub]);
        let groups = std::array::from_fn(|g| {
            let number = |i| {
                let above = above >> (2 * g + i) & 1;
                numbers::IQ3_S[usize::from(block[2 + 8 * sub + 2 * g + i]) | above << 8]
            };
            with_signs(two_fours(number(0), number(1)), block[74 + 4 * sub + g])
        });
        let scale = block[106 + sub / 2] >> (4 * (sub % 2));
        SubBlock { codes: words(groups), scales: [odd(scale); 2] }
    }
}
grid! {
    /// `u8 q[64]`, two bits a weight as in Q2_K, `f16 d`.
    Tq2: TQ2_0, TERNARY, unit 1.0, d at 64,
    |block, sub| SubBlock { codes: two_bits(block, sub), scales: [1; 2] }
}
grid! {
    /// `u8 q[52]`, five weights a byte, and in the last four of them four; `f16 d`. The weights of a
    /// byte are the first digits, to the base of three, of the byte as a fraction.
    Tq1: TQ1_0, TERNARY, unit 1.0, d at 52,
    |block, sub| {
        let codes = std::array::from_fn(|v| {
            // Four weights of one digit of four bytes.
            let i = 32 * sub + WORD * v;
            let (at, digit) = match i {
                0..160 => (i % 32, i / 32),
                160..240 => (32 + i % 16, (i - 160) / 16),
                _ => (48, (i - 240) / 4),
            };
            let power = [1_u8, 3, 9, 27, 81][digit];
            let bytes = word(block, at).to_le_bytes();
            u32::from_le_bytes(bytes.map(|b| ((u16::from(b.wrapping_mul(power)) * 3) >> 8) as u8))
        });
        SubBlock { codes, scales: [1; 2] }
    }
}

/// Two bits of each weight of sub-block `sub`, of bytes that have one of each of four sub-blocks.
pub(super) fn two_bits(bytes: &[u8], sub: usize) -> [u32; WORDS] {
    let (at, shift) = (32 * (sub / 4), 2 * (sub % 4));
    std::array::from_fn(|v| word(bytes, at + WORD * v) >> shift & 0x0303_0303)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What the nibble stands for, in half a unit.
fn odd(nibble: u8) -> u8 {
    2 * (nibble & 15) + 1
}

fn two_scales(byte: u8) -> [u8; 2] {
    [odd(byte), odd(byte >> 4)]
}

/// Eight levels of two bits as bytes.
fn eight(levels: u16) -> u64 {
    let x = u64::from(levels);
    let x = (x | x << 24) & 0x0000_00FF_0000_00FF;
    let x = (x | x << 12) & 0x000F_000F_000F_000F;
    (x | x << 6) & 0x0303_0303_0303_0303
}

/// Two times four levels of four bits as bytes.
fn two_fours(first: u16, second: u16) -> u64 {
    let x = u64::from(first) | u64::from(second) << 32;
    let x = (x | x << 8) & 0x00FF_00FF_00FF_00FF;
    (x | x << 4) & 0x0F0F_0F0F_0F0F_0F0F
}

/// Group `g`'s seven bits of signs, and the eighth, which makes an even number of them.
fn all_signs(signs: u32, g: usize) -> u8 {
    let seven = (signs >> (7 * g) & 0x7F) as u8;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Levels with the signs in the fourth bits.
fn with_signs(levels: u64, signs: u8) -> u64 {
    // Each byte has the bit of its place, or nothing, which becomes the byte's highest bit.
    let bits = (u64::from(signs) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    let highest = (bits + 0x7F7F_7F7F_7F7F_7F7F) & 0x8080_8080_8080_8080;
    levels | highest >> 4
}

fn words(groups: [u64; 4]) -> [u32; WORDS] {
    std::array::from_fn(|v| (groups[v / 2] >> (32 * (v % 2))) as u32)
}
