//! The sixteen values of types whose weights are numbers of a table.

/// Of IQ4_NL and IQ4_XS.
pub(super) const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Of MXFP4: twice those of a float with two bits of exponent and one of mantissa.
pub(super) const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Of IQ2_XXS, IQ2_XS and IQ2_S: a level in two bits, and in the fourth bit the sign.
pub(super) const IQ2: [i8; 16] = with_signs([8, 25, 43, 0, 0, 0, 0, 0]);

/// Of IQ3_XXS, and of IQ3_S: a level in three bits, and in the fourth the sign.
pub(super) const IQ3_XXS: [i8; 16] = with_signs([4, 12, 20, 28, 36, 44, 52, 62]);
pub(super) const IQ3_S: [i8; 16] = with_signs([1, 3, 5, 7, 9, 11, 13, 15]);

/// Of TQ1_0 and TQ2_0, two bits.
pub(super) const TERNARY: [i8; 16] = [-1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const fn with_signs(levels: [i8; 8]) -> [i8; 16] {
    let mut values = [0; 16];
    let mut i = 0;
    while i < 8 {
        (values[i], values[i + 8]) = (levels[i], -levels[i]);
        i += 1;
    }
    values
}

/// Half of two to the power of `exponent − 127`, the scale of an MXFP4 block: exact, below
/// 2⁻¹²⁶ a subnormal number.
pub(super) const fn half_of_power(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => (exponent as u32 - 1) << 23,
    })
}
