//! Random tensor data: every byte a pure function of (seed, tensor name, position).

use std::io::{self, Write};

use half::{bf16, f16};

use crate::TensorType;

/// Blocks are made in runs of about this many bytes, so that memory stays small.
const RUN_BYTES: usize = 64 * 1024;

/// How the numbers of a tensor are spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f32,
    pub(super) deviation: f32,
}

/// Writes a tensor's data: `bytes` bytes of whole blocks.
///
/// Numbers have about the given mean (which only float types honour) and standard deviation.
/// Quantised blocks have random quants, with every value that the bits can hold, and scales that
/// give the deviation.
pub(super) fn write_random(
    out: &mut dyn Write,
    stream: &mut Stream,
    tensor_type: TensorType,
    bytes: usize,
    spread: Spread,
) -> io::Result<()> {
    let block_bytes = tensor_type.block_bytes();
    let run = (RUN_BYTES / block_bytes) * block_bytes;
    let mut buffer = vec![0; run.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let run = &mut buffer[..run.min(left)];
        for block in run.chunks_exact_mut(block_bytes) {
            fill_block(tensor_type, block, stream, spread);
        }
        out.write_all(run)?;
        left -= run.len();
    }
    Ok(())
}

/// SplitMix64 (Steele, Lea, Flood 2014) over a counter that starts at a key of seed and name.
pub(super) struct Stream {
    state: u64,
}

impl Stream {
    /// The golden ratio's odd fraction of 2⁶⁴, SplitMix64's step.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    pub(super) fn new(seed: u64, name: &str) -> Self {
        // FNV-1a separates the names; mixing separates nearby hashes and seeds.
        let name_hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self {
            state: mix(mix(seed) ^ name_hash),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        mix(self.state)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            eight.copy_from_slice(&self.next().to_le_bytes()[..eight.len()]);
        }
    }

    /// A number of about normal distribution, mean 0 and variance 1: four uniform ones added.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|quarter| bits >> (16 * quarter) & 0xffff).sum();
        // Each of the four has mean 65535 / 2 and variance (65536² − 1) / 12.
        (sum as f32 - 2.0 * 65_535.0) / (65_536.0 * 0.577_350_26)
    }

    /// A factor from 0.75 to 1.25, so that no two blocks need have the same scale.
    fn jitter(&mut self) -> f32 {
        0.75 + (self.next() >> 48) as f32 / 131_072.0
    }

    fn sign(&mut self) -> f32 {
        if self.next() >> 63 == 0 { 1.0 } else { -1.0 }
    }
}

/// SplitMix64's finaliser.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The root mean square of the 64 values a 6-bit scale can have.
const SCALE_6_BITS: f32 = 36.66;
/// The same of 4 bits.
const SCALE_4_BITS: f32 = 8.803;

/// Fills one block. Layouts are those of `ggml-common.h`.
fn fill_block(tensor_type: TensorType, block: &mut [u8], stream: &mut Stream, spread: Spread) {
    let Spread { mean, deviation } = spread;
    // A scale whose quants have standard deviation (about their middle) `of_quants`.
    let scale = |stream: &mut Stream, of_quants: f32| deviation / of_quants * stream.jitter();
    match tensor_type {
        TensorType::F32 => {
            let number = mean + deviation * stream.normal();
            block.copy_from_slice(&number.to_le_bytes());
        }
        TensorType::F16 => put_f16(block, 0, mean + deviation * stream.normal()),
        TensorType::BF16 => {
            let number = bf16::from_f32(mean + deviation * stream.normal());
            block.copy_from_slice(&number.to_le_bytes());
        }
        // w = d · (q − 8), q of 4 bits; or the same with 16 and 5 bits, or q of 8 bits and sign.
        TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => {
            stream.fill(&mut block[2..]);
            let of_quants = match tensor_type {
                TensorType::Q4_0 => 4.61,
                TensorType::Q5_0 => 9.233,
                _ => 73.9,
            };
            // The middle of these quants is −½: signs at random keep the tensor's mean at 0, which
            // would else add up through the layers and drown everything.
            let d = scale(stream, of_quants) * stream.sign();
            put_f16(block, 0, d);
        }
        // w = d · q + m: the minimum puts the middle of the quants at zero.
        TensorType::Q4_1 | TensorType::Q5_1 => {
            stream.fill(&mut block[4..]);
            let (of_quants, middle) = match tensor_type {
                TensorType::Q4_1 => (4.61, 7.5),
                _ => (9.233, 15.5),
            };
            let d = scale(stream, of_quants);
            put_f16(block, 0, d);
            put_f16(block, 2, -middle * d);
        }
        TensorType::Q4_K => six_bits(block, stream, deviation, [4.61, 7.5]),
        TensorType::Q5_K => six_bits(block, stream, deviation, [9.233, 15.5]),
        TensorType::Q2_K => four_bits(block, stream, deviation),
        // w = d · scale · (q − 32), q of 6 bits, scales of 8 bits and sign for 16 sub-blocks.
        TensorType::Q6_K => {
            stream.fill(&mut block[..208]);
            let d = scale(stream, 18.47 * 73.9);
            put_f16(block, 208, d);
        }
        // w = d · scale · q: q of a few bits, or of a table or grid, whose middle is not quite at zero.
        TensorType::Q3_K => one_scale(block, 108, stream, deviation / 43.35),
        TensorType::IQ4_NL => one_scale(block, 0, stream, deviation / 67.44),
        TensorType::IQ4_XS => one_scale(block, 0, stream, deviation / 1246.0),
        TensorType::IQ3_S => one_scale(block, 0, stream, deviation / 139.9),
        TensorType::IQ3_XXS => one_scale(block, 0, stream, deviation / 142.3),
        TensorType::IQ2_S => one_scale(block, 0, stream, deviation / 56.3),
        TensorType::IQ2_XS => one_scale(block, 0, stream, deviation / 55.9),
        TensorType::IQ2_XXS => one_scale(block, 0, stream, deviation / 53.1),
        TensorType::TQ2_0 => one_scale(block, 64, stream, deviation / 1.2247),
        TensorType::TQ1_0 => one_scale(block, 52, stream, deviation / 0.8165),
        TensorType::MXFP4 => {
            stream.fill(&mut block[1..]);
            let d = scale(stream, 5.852);
            block[0] = power_of_2(stream, d);
        }
    }
}

/// Fills a Q4_K or Q5_K block: w = d · scale · q − dmin · minimum, with 6-bit scales and minimums of 8
/// sub-blocks. Minimums near their scale and dmin = d · middle put the middle of the quants at zero.
fn six_bits(block: &mut [u8], stream: &mut Stream, deviation: f32, [of_quants, middle]: [f32; 2]) {
    stream.fill(&mut block[16..]);
    let d = deviation / (of_quants * SCALE_6_BITS) * stream.jitter();
    put_f16(block, 0, d);
    put_f16(block, 2, middle * d);
    let packed = pack_scales(stream);
    block[4..16].copy_from_slice(&packed);
}

/// Fills a Q2_K block: w = d · scale · q − dmin · minimum, with 4-bit scales of 16 sub-blocks, and
/// minimums that are the same.
fn four_bits(block: &mut [u8], stream: &mut Stream, deviation: f32) {
    stream.fill(&mut block[..80]);
    for both in &mut block[..16] {
        *both = *both & 15 | *both << 4;
    }
    let d = deviation / (1.118 * SCALE_4_BITS) * stream.jitter();
    put_f16(block, 80, d);
    put_f16(block, 82, 1.5 * d);
}

/// Fills a block with random bits but for its scale, an f16 at `at`, about `scale`; with a sign at
/// random, since the middle of such types' quants is not zero.
fn one_scale(block: &mut [u8], at: usize, stream: &mut Stream, scale: f32) {
    stream.fill(block);
    let d = scale * stream.jitter() * stream.sign();
    put_f16(block, at, d);
}

/// The exponent, 128 more than it is, of a power of two near `scale`: the one below or above, by chances
/// that make the mean of their squares that of `scale`.
fn power_of_2(stream: &mut Stream, scale: f32) -> u8 {
    let below = scale.log2().floor();
    let share = ((scale / below.exp2()).powi(2) - 1.0) / 3.0;
    let is_above = (stream.next() >> 40) as f32 / (1 << 24) as f32 <= share;
    (below + 128.0 + f32::from(u8::from(is_above))) as u8
}

/// Eight random 6-bit scales, and minimums that differ from them by at most 3, in the 12 bytes of
/// `block_q4_K`: the low 6 bits of bytes 0..4 and 4..8 are scales and minimums 0..4; bytes 8..12
/// hold the low 4 bits of scales (low half) and minimums 4..8, whose high 2 bits are the high bits
/// of bytes 0..4 and 4..8.
fn pack_scales(stream: &mut Stream) -> [u8; 12] {
    let scale_bits = stream.next();
    let difference_bits = stream.next();
    let scales: [u8; 8] = std::array::from_fn(|i| (scale_bits >> (8 * i)) as u8 & 63);
    let minimums: [u8; 8] = std::array::from_fn(|i| {
        let difference = (difference_bits >> (8 * i)) as u8 % 7;
        (scales[i] + difference).saturating_sub(3).min(63)
    });
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = scales[i] | (scales[i + 4] >> 4) << 6;
        packed[i + 4] = minimums[i] | (minimums[i + 4] >> 4) << 6;
        packed[i + 8] = scales[i + 4] & 15 | minimums[i + 4] << 4;
    }
    packed
}

fn put_f16(block: &mut [u8], at: usize, number: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(number).to_le_bytes());
}
