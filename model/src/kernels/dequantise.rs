//! Stored weights as `f32`, by each format's definition: for embedding rows, and as the reference
//! that the kernels are tested against. Every value is exact or rounded once.

use half::{bf16, f16};

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
        TensorType::Q4_0 => |b, y| nibbles(half(b), -8, 0.0, &b[2..], None, y),
        TensorType::Q4_1 => |b, y| nibbles(half(b), 0, half(&b[2..]), &b[4..], None, y),
        TensorType::Q5_0 => |b, y| nibbles(half(b), -16, 0.0, &b[6..], Some(&b[2..6]), y),
        TensorType::Q5_1 => |b, y| nibbles(half(b), 0, half(&b[2..]), &b[8..], Some(&b[4..8]), y),
        TensorType::Q8_0 => |b, y| {
            let d = half(b);
            for (y, &q) in y.iter_mut().zip(&b[2..]) {
                *y = d * f32::from(q as i8);
            }
        },
        TensorType::Q4_K => |b, y| q4_or_q5_k(b, &b[16..], None, y),
        TensorType::Q5_K => |b, y| q4_or_q5_k(b, &b[48..], Some(&b[16..48]), y),
        TensorType::Q6_K => q6_k,
    };
    for (block, out) in blocks {
        decode(block, out);
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// 32 elements: the low nibbles of 16 bytes, then the high ones, with a fifth bit each from `high`.
fn nibbles(d: f32, offset: i32, minimum: f32, q: &[u8], high: Option<&[u8]>, y: &mut [f32]) {
    for (i, y) in y.iter_mut().enumerate() {
        let low = i32::from((q[i % 16] >> (4 * (i / 16))) & 15);
        let fifth = high.map_or(0, |h| i32::from((h[i / 8] >> (i % 8)) & 1) << 4);
        *y = d * (low + fifth + offset) as f32 + minimum;
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
