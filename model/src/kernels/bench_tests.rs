use std::num::NonZeroUsize;
use std::time::Instant;
use super::Isa;
use super::linear::linear;
use super::rows::WeightRows;
use super::team::Team;
use crate::TensorType;
#[test]
#[ignore]
fn speed() {
    for isa in Isa::available() {
        if isa == Isa::SCALAR { continue; }
        for t in [TensorType::Q4_1, TensorType::Q8_0, TensorType::Q4_K, TensorType::Q6_K, TensorType::Q5_0, TensorType::F16] {
            for (rows, columns) in [(1536 * 64, 768usize)] {
                let bytes = vec![0x11_u8; rows * t.row_bytes(columns).unwrap()];
                let w = [WeightRows::new(t, rows, columns, &bytes)];
                for threads in [1, 2] {
                    let team = Team::new(NonZeroUsize::new(threads).unwrap());
                    let x = vec![0.7_f32; columns];
                    let mut best = f64::MAX;
                    let mut y = [vec![0.0; rows]];
                    for _ in 0..15 {
                        let start = Instant::now();
                        linear(isa, &team, &x, &w, &mut y);
                        best = best.min(start.elapsed().as_secs_f64());
                    }
                    let n = 96;
                    let x = vec![0.7_f32; n * columns];
                    let mut best2 = f64::MAX;
                    let mut y = [vec![0.0; n * rows / 16]];
                    let w2 = [WeightRows::new(t, rows / 16, columns, &bytes[..bytes.len() / 16])];
                    for _ in 0..5 {
                        let start = Instant::now();
                        linear(isa, &team, &x, &w2, &mut y);
                        best2 = best2.min(start.elapsed().as_secs_f64());
                    }
                    println!("{isa} {t} x{threads}: gemv {:.1} GB/s, gemm {:.1} GMAC/s", bytes.len() as f64 / best / 1e9, (rows/16 * columns * n) as f64 / best2 / 1e9);
                }
            }
        }
    }
}
