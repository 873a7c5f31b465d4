//! Every format, instruction set, number of positions and of threads against the definition.

use std::num::NonZeroUsize;

use half::f16;

use super::Isa;
use super::activations::Activations;
use super::dequantise::dequantise_row;
use super::linear::linear;
use super::packed;
use super::packed_format::{GROUP, group_bytes};
use super::rows::{Layout, WeightRows};
use super::team::Team;
use crate::TensorType;

/// A small deterministic generator (SplitMix64, Steele et al. 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Random stored rows with sane scales.
pub(super) fn random_rows(
    t: TensorType,
    rows: usize,
    columns: usize,
    random: &mut Random,
) -> Vec<u8> {
    let mut bytes = vec![0_u8; rows * t.row_bytes(columns).expect("whole blocks")];
    for block in bytes.chunks_exact_mut(t.block_bytes()) {
        for byte in block.iter_mut() {
            *byte = random.next() as u8;
        }
        let mut half_at = |at: usize, unit: f32| {
            let value = f16::from_f32(random.unit() * unit);
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        };
        match t {
            TensorType::F32 => {
                let value = random.unit();
                block.copy_from_slice(&value.to_le_bytes());
            }
            TensorType::F16 => half_at(0, 1.0),
            TensorType::BF16 => {
                let value = half::bf16::from_f32(random.unit());
                block.copy_from_slice(&value.to_le_bytes());
            }
            TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => half_at(0, 0.1),
            TensorType::Q4_1 | TensorType::Q5_1 => {
                half_at(0, 0.1);
                half_at(2, 0.5);
            }
            TensorType::Q4_K | TensorType::Q5_K => {
                half_at(0, 0.01);
                half_at(2, 0.01);
            }
            TensorType::Q2_K => {
                half_at(80, 0.01);
                half_at(82, 0.01);
            }
            TensorType::Q3_K => half_at(108, 0.01),
            TensorType::Q6_K => half_at(208, 0.01),
            TensorType::IQ4_NL
            | TensorType::IQ4_XS
            | TensorType::IQ3_S
            | TensorType::IQ3_XXS
            | TensorType::IQ2_S
            | TensorType::IQ2_XS
            | TensorType::IQ2_XXS => half_at(0, 0.01),
            TensorType::TQ2_0 => half_at(64, 0.1),
            TensorType::TQ1_0 => half_at(52, 0.1),
            TensorType::MXFP4 => block[0] = 120 + block[0] % 8,
        }
    }
    bytes
}

fn run(isa: Isa, threads: usize, x: &[f32], weights: &[WeightRows<'_>]) -> Vec<Vec<f32>> {
    let positions = x.len() / weights[0].columns();
    let mut y: Vec<_> = weights
        .iter()
        .map(|w| vec![0.0; positions * w.rows()])
        .collect();
    let team = Team::equal(NonZeroUsize::new(threads).expect("not zero"));
    linear(isa, &team, x, &mut Activations::default(), weights, &mut y);
    y
}

/// The packed bytes of a matrix.
pub(super) fn packed(w: &WeightRows<'_>) -> Vec<u8> {
    let mut packed =
        vec![0xAA; w.groups() * group_bytes(w.tensor_type(), w.columns()).expect("packed")];
    let each = packed.len() / w.groups();
    for (group, to) in packed.chunks_exact_mut(each).enumerate() {
        let rows = group * GROUP..w.rows().min((group + 1) * GROUP);
        packed::pack(w.tensor_type(), w.bytes(rows), w.row_bytes(), to);
    }
    packed
}

pub(super) fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

#[test]
fn every_isa_thread_count_and_batch_gives_the_same_bits() {
    let mut random = Random(1);
    for t in TensorType::ALL {
        let columns = if t.block_elements() == 256 { 768 } else { 544 };
        for rows in [1, 5, 8, 13, 16, 40, 67, 200] {
            let bytes = random_rows(t, rows, columns, &mut random);
            let w = [WeightRows::new(t, rows, columns, &bytes, Layout::Stored)];
            let x: Vec<f32> = (0..27 * columns).map(|_| 2.0 * random.unit()).collect();
            let expected: Vec<_> = x
                .chunks(columns)
                .map(|x| run(Isa::SCALAR, 1, x, &w).remove(0))
                .collect();
            let expected = expected.concat();
            let packed = (!t.is_float()).then(|| packed(&w[0]));
            let packed = packed
                .as_deref()
                .map(|bytes| [WeightRows::new(t, rows, columns, bytes, Layout::Packed)]);
            for (isa, w) in Isa::available().into_iter().flat_map(|isa| {
                [Some(w), packed]
                    .into_iter()
                    .flatten()
                    .map(move |w| (isa, w))
            }) {
                let layout = w[0].layout();
                for threads in [1, 2, 3] {
                    let y = run(isa, threads, &x, &w).remove(0);
                    assert_eq!(
                        bits(&y),
                        bits(&expected),
                        "{t} {isa} {layout:?} {rows} rows"
                    );
                }
                // The same positions alone, and a few at a time.
                for at_once in [1, 2, 3, 4, 5, 7, 8, 9, 17] {
                    let mut y = Vec::new();
                    for x in x.chunks(at_once * columns) {
                        y.append(&mut run(isa, 2, x, &w)[0]);
                    }
                    assert_eq!(
                        bits(&y),
                        bits(&expected),
                        "{t} {isa} {layout:?} {at_once} at once"
                    );
                }
            }
        }
    }
}

#[test]
fn products_are_those_of_the_decoded_weights() {
    let mut random = Random(2);
    for t in TensorType::ALL {
        let (rows, columns) = (24, 512);
        let bytes = random_rows(t, rows, columns, &mut random);
        let w = [WeightRows::new(t, rows, columns, &bytes, Layout::Stored)];
        let x: Vec<f32> = (0..9 * columns).map(|_| random.unit()).collect();
        let y = run(Isa::SCALAR, 1, &x, &w).remove(0);
        let mut decoded = vec![0.0; columns];
        for row in 0..rows {
            dequantise_row(t, w[0].row(row), &mut decoded);
            for (position, x) in x.chunks_exact(columns).enumerate() {
                let products = x
                    .iter()
                    .zip(&decoded)
                    .map(|(&x, &w)| f64::from(x) * f64::from(w));
                let want: f64 = products.clone().sum();
                let size: f64 = products.map(f64::abs).sum();
                let error = (f64::from(y[position * rows + row]) - want).abs();
                assert!(error < 1e-5 * size.max(1e-3), "{t}: {error} of {size}");
            }
        }
    }
}

#[test]
fn several_matrices_of_different_types_share_an_input() {
    let mut random = Random(3);
    let columns = 256;
    let stored: Vec<_> = [
        (TensorType::Q4_K, 24),
        (TensorType::F16, 9),
        (TensorType::Q8_0, 17),
    ]
    .map(|(t, rows)| (t, rows, random_rows(t, rows, columns, &mut random)))
    .into();
    let weights: Vec<_> = stored
        .iter()
        .map(|(t, rows, bytes)| WeightRows::new(*t, *rows, columns, bytes, Layout::Stored))
        .collect();
    let x: Vec<f32> = (0..6 * columns).map(|_| random.unit()).collect();
    for isa in Isa::available() {
        let together = run(isa, 3, &x, &weights);
        for (y, w) in together.iter().zip(&weights) {
            assert_eq!(bits(y), bits(&run(isa, 1, &x, &[*w])[0]));
        }
    }
}

#[test]
fn extreme_integers_do_not_overflow() {
    for t in [
        TensorType::Q8_0,
        TensorType::Q6_K,
        TensorType::Q5_1,
        TensorType::Q4_0,
        TensorType::Q2_K,
        TensorType::Q3_K,
        TensorType::IQ4_NL,
        TensorType::IQ4_XS,
    ] {
        let columns = 256;
        for fill in [0x00, 0x7F, 0x80, 0xFF] {
            let mut bytes = vec![fill; 8 * t.row_bytes(columns).expect("whole blocks")];
            for block in bytes.chunks_exact_mut(t.block_bytes()) {
                let one = f16::ONE.to_le_bytes();
                match t {
                    TensorType::Q6_K => block[208..].copy_from_slice(&one),
                    TensorType::Q3_K => block[108..].copy_from_slice(&one),
                    TensorType::Q2_K => {
                        block[80..82].copy_from_slice(&one);
                        block[82..].copy_from_slice(&one);
                    }
                    TensorType::Q5_1 => {
                        block[..2].copy_from_slice(&one);
                        block[2..4].copy_from_slice(&one);
                    }
                    _ => block[..2].copy_from_slice(&one),
                }
            }
            let w = [WeightRows::new(t, 8, columns, &bytes, Layout::Stored)];
            let packed = packed(&w[0]);
            let p = [WeightRows::new(t, 8, columns, &packed, Layout::Packed)];
            let mut decoded = vec![0.0; columns];
            dequantise_row(t, w[0].row(0), &mut decoded);
            for sign in [1.0_f32, -1.0] {
                let x: Vec<f32> = decoded.iter().map(|w| sign * w.signum()).collect();
                let want: f64 = x
                    .iter()
                    .zip(&decoded)
                    .map(|(&x, &w)| f64::from(x * w))
                    .sum();
                for (isa, w) in Isa::available()
                    .into_iter()
                    .flat_map(|isa| [(isa, w), (isa, p)])
                {
                    let y = run(isa, 1, &x.repeat(5), &w).remove(0);
                    assert!(
                        y.iter()
                            .all(|&y| (f64::from(y) - want).abs() <= 1e-4 * want.abs())
                    );
                    assert_eq!(bits(&y[..8]), bits(&run(isa, 1, &x, &w)[0]));
                }
            }
        }
    }
}
