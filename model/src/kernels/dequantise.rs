//! Stored weights as `f32`, by each format's definition: for embedding rows, and as the reference
//! that the kernels are tested against. Every value is exact or rounded once.

use half::{bf16, f16};

use super::grids::{Grid, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs, Tq1, Tq2};
use super::simd::WORD;
use super::values::{self, half_of_power};
use crate::TensorType;

/// Decodes one row.
///
/// # Panics
/// If `bytes` is not the row of `out.len()` elements.
pub(crate) fn dequantise_row(tensor_type: TensorType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(tensor_type.row_bytes(out.len()), Some(bytes.len()));
    let blocks = bytes
        .chunks_exact(tensor_type.block_bytes())
        .zip(out.chunks_exact_mut(tensor_type.block_elements()));
    let decode: fn(&[u8], &mut [f32]) = match tensor_type {
        TensorType::F32 => |b, y| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        TensorType::F16 => |b, y| y[0] = half(b),
        TensorType::BF16 => |b, y| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        TensorType::Q4_0 => |b, y| nibbles(half(b), -8, None, &b[2..], None, y),
        TensorType::Q4_1 => |b, y| nibbles(half(b), 0, Some(half(&b[2..])), &b[4..], None, y),
        TensorType::Q5_0 => |b, y| nibbles(half(b), -16, None, &b[6..], Some(&b[2..6]), y),
        TensorType::Q5_1 => {
            |b, y| nibbles(half(b), 0, Some(half(&b[2..])), &b[8..], Some(&b[4..8]), y)
        }
        TensorType::Q8_0 => |b, y| {
            let d = half(b);
            for (y, &q) in y.iter_mut().zip(&b[2..]) {
                *y = d * f32::from(q as i8);
            }
        },
        TensorType::Q2_K => q2_k,
        TensorType::Q3_K => q3_k,
        TensorType::Q4_K => |b, y| q4_or_q5_k(b, &b[16..], None, y),
        TensorType::Q5_K => |b, y| q4_or_q5_k(b, &b[48..], Some(&b[16..48]), y),
        TensorType::Q6_K => q6_k,
        TensorType::IQ4_NL => |b, y| of_table(half(b), &values::IQ4, &b[2..], y),
        TensorType::IQ4_XS => iq4_xs,
        TensorType::MXFP4 => |b, y| of_table(half_of_power(b[0]), &values::FP4, &b[1..], y),
        TensorType::IQ3_S => grid::<Iq3S>,
        TensorType::IQ3_XXS => grid::<Iq3Xxs>,
        TensorType::IQ2_S => grid::<Iq2S>,
        TensorType::IQ2_XS => grid::<Iq2Xs>,
        TensorType::IQ2_XXS => grid::<Iq2Xxs>,
        TensorType::TQ2_0 => grid::<Tq2>,
        TensorType::TQ1_0 => grid::<Tq1>,
    };
    for (block, out) in blocks {
        decode(block, out);
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// 32 elements: the low nibbles of 16 bytes, then the high ones, with a fifth bit each from `high`.
fn nibbles(
    d: f32,
    offset: i32,
    minimum: Option<f32>,
    q: &[u8],
    high: Option<&[u8]>,
    y: &mut [f32],
) {
    for (i, y) in y.iter_mut().enumerate() {
        let low = i32::from((q[i % 16] >> (4 * (i / 16))) & 15);
        let fifth = high.map_or(0, |h| i32::from((h[i / 8] >> (i % 8)) & 1) << 4);
        let product = d * (low + fifth + offset) as f32;
        // Adding 0 would make a zero of −0.
        *y = minimum.map_or(product, |minimum| product + minimum);
    }
}

/// 256 elements in eight sub-blocks with 6-bit scales and minimums.
fn q4_or_q5_k(block: &[u8], q: &[u8], high: Option<&[u8]>, y: &mut [f32]) {
    let (d, dmin) = (half(block), half(&block[2..]));
    let packed = &block[4..16];
    for (j, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = if j < 4 {
            (packed[j] & 63, packed[j + 4] & 63)
        } else {
            (
                (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4),
                (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4),
            )
        };
        let (d, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (i, y) in y.iter_mut().enumerate() {
            let low = (q[32 * (j / 2) + i] >> (4 * (j % 2))) & 15;
            let fifth = high.map_or(0, |h| ((h[i] >> j) & 1) << 4);
            *y = d * f32::from(low | fifth) - minimum;
        }
    }
}

/// 256 elements with a signed scale for each 16.
fn q6_k(block: &[u8], y: &mut [f32]) {
    let d = half(&block[208..]);
    for (i, y) in y.iter_mut().enumerate() {
        let (n, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let low = (block[64 * n + 32 * (quarter % 2) + l] >> (4 * (quarter / 2))) & 15;
        let high = (block[128 + 32 * n + l] >> (2 * quarter)) & 3;
        let scale = block[192 + i / 16] as i8;
        let q = i32::from(low | (high << 4)) - 32;
        *y = d * f32::from(scale) * q as f32;
    }
}

/// 256 elements of two bits with a 4-bit scale and minimum for each 16.
fn q2_k(block: &[u8], y: &mut [f32]) {
    let (d, dmin) = (half(&block[80..]), half(&block[82..]));
    for (i, y) in y.iter_mut().enumerate() {
        let both = block[i / 16];
        let (scale, minimum) = (d * f32::from(both & 15), dmin * f32::from(both >> 4));
        *y = scale * f32::from(two_bits(&block[16..80], i)) - minimum;
    }
}

/// 256 elements of three bits with a signed 6-bit scale for each 16.
fn q3_k(block: &[u8], y: &mut [f32]) {
    let d = half(&block[108..]);
    for (i, y) in y.iter_mut().enumerate() {
        let third = block[i % 32] >> (i / 32) & 1;
        let q = two_bits(&block[32..96], i) | third << 2;
        *y = d * f32::from(q3_k_scale(block, i / 16)) * (f32::from(q) - 4.0);
    }
}

/// Scale `index` of sixteen of a Q3_K block: the low four bits of 8 are in the low halves of bytes, of
/// the next 8 in the high ones; then come the high two bits, of every fourth in a byte.
pub(super) fn q3_k_scale(block: &[u8], index: usize) -> i8 {
    let packed = &block[96..108];
    let low = packed[index % 8] >> (4 * (index / 8)) & 15;
    let high = packed[8 + index % 4] >> (2 * (index / 4)) & 3;
    (low | high << 4) as i8 - 32
}

/// Element `i` of 256 of two bits.
fn two_bits(q: &[u8], i: usize) -> u8 {
    q[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3
}

/// 32 elements: numbers of a table in the low nibbles of 16 bytes, then in the high ones.
fn of_table(d: f32, values: &[i8; 16], q: &[u8], y: &mut [f32]) {
    for (i, y) in y.iter_mut().enumerate() {
        let code = (q[i % 16] >> (4 * (i / 16))) & 15;
        *y = d * f32::from(values[usize::from(code)]);
    }
}

/// 256 elements of a table with a signed 6-bit scale for each 32.
fn iq4_xs(block: &[u8], y: &mut [f32]) {
    let d = half(block);
    for (sub, y) in y.chunks_exact_mut(32).enumerate() {
        let d = d * f32::from(iq4_xs_scale(block, sub));
        of_table(d, &values::IQ4, &block[8 + 16 * sub..], y);
    }
}

/// The scale of sub-block `sub` of an IQ4_XS block.
pub(super) fn iq4_xs_scale(block: &[u8], sub: usize) -> i8 {
    let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * sub) & 3;
    let low = block[4 + sub / 2] >> (4 * (sub % 2)) & 15;
    (low | (high as u8) << 4) as i8 - 32
}

/// 256 elements of a grid.
fn grid<G: Grid>(block: &[u8], y: &mut [f32]) {
    let unit = G::UNIT * half(&block[G::D..]);
    for (sub, y) in y.chunks_exact_mut(32).enumerate() {
        let found = G::sub_block(block, sub);
        for (i, y) in y.iter_mut().enumerate() {
            let code = found.codes[i / WORD].to_le_bytes()[i % WORD];
            let scale = f32::from(found.scales[i / 16]);
            *y = unit * scale * f32::from(G::VALUES[usize::from(code)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn bytes(hex: &Value) -> Vec<u8> {
        let text = hex.as_str().expect("hexadecimal digits");
        let pairs = text.as_bytes().chunks_exact(2);
        let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16);
        pairs.map(|pair| byte(pair).expect("a byte")).collect()
    }

    /// `tests/compare/weights.py` wrote what is expected, odd scales included.
    #[test]
    fn weights_are_those_of_gguf_py_to_the_bit() {
        let golden = include_str!("../../../tests/golden/weights.json");
        let golden: Value = serde_json::from_str(golden).expect("JSON");
        for t in TensorType::ALL.into_iter().filter(|t| !t.is_float()) {
            let of_type = &golden[t.name()];
            let blocks = bytes(&of_type["blocks"]);
            let elements = t.block_elements();
            let mut weights = vec![0.0; blocks.len() / t.block_bytes() * elements];
            dequantise_row(t, &blocks, &mut weights);
            let stored: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
            let last = &stored[stored.len() - elements * 4..][..32];
            assert_eq!(last, bytes(&of_type["last_block"]), "{t}");
            let sum = u64::from(crc32fast::hash(&stored));
            assert_eq!(Some(sum), of_type["crc32"].as_u64(), "{t}");
        }
    }
}
