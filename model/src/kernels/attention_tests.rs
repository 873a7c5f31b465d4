//! Attention against its formula, and its bits on every instruction set.

use super::*;
use crate::kernels::SharedSlice;
use crate::kernels::cache::append;

fn value(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 500.0 - 1.0
}

/// Attention by its formula in `f64`.
fn expected(
    shape: CacheShape,
    kv: &[(Vec<f32>, Vec<f32>)],
    head: usize,
    position: usize,
    query: &[f32],
    window: Option<usize>,
) -> Vec<f64> {
    let d = shape.head_dim;
    let narrow = |x: f32| f16::from_f32(x).to_f64();
    let first = window.map_or(0, |w| (position + 1).saturating_sub(w));
    let weights: Vec<f64> = (first..=position)
        .map(|p| {
            let key = &kv[p].0[head * d..][..d];
            let dot: f64 = (0..d).map(|i| f64::from(query[i]) * narrow(key[i])).sum();
            (dot / (d as f64).sqrt()).exp()
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    (0..d)
        .map(|i| {
            let all = weights.iter().enumerate();
            all.map(|(p, w)| w * narrow(kv[first + p].1[head * d + i]))
                .sum::<f64>()
                / sum
        })
        .collect()
}

#[test]
fn matches_the_formula_and_one_query_equals_many_on_every_isa() {
    for (head_dim, window) in [(64, None), (40, Some(70)), (8, Some(3)), (128, Some(64))] {
        let shape = CacheShape {
            kv_heads: 2,
            head_dim,
            capacity: 192,
        };
        let width = 2 * head_dim;
        let mut keys = vec![f16::ZERO; shape.elements()];
        let mut values = vec![f16::ZERO; shape.elements()];
        let kv: Vec<(Vec<f32>, Vec<f32>)> = (0..150)
            .map(|p| {
                let row = |salt| (0..width).map(|i| value(salt + p * width + i)).collect();
                (row(1), row(90_001))
            })
            .collect();
        for (p, (k, v)) in kv.iter().enumerate() {
            // SAFETY: one thread.
            unsafe {
                let (keys, values) = (SharedSlice::new(&mut keys), SharedSlice::new(&mut values));
                append(shape, p, shape.head_dim, k, v, keys, values);
            }
        }
        let query: Vec<Vec<f32>> = (0..150)
            .map(|p| (0..head_dim).map(|i| 3.0 * value(7 + 31 * p + i)).collect())
            .collect();
        let run = |isa, positions: Range<usize>| {
            let queries: Vec<_> = positions.map(|p| (p, query[p].as_slice())).collect();
            let mut out = vec![0.0; queries.len() * head_dim];
            Attend {
                shape,
                kv_head: 1,
                keys: &keys,
                values: &values,
                window,
                scale: 1.0 / (head_dim as f32).sqrt(),
                queries: &queries,
            }
            .run(isa, &mut out);
            out
        };
        let all = run(Isa::SCALAR, 0..150);
        for isa in Isa::available() {
            assert_eq!(run(isa, 0..150), all, "{isa}");
            for p in [0, 1, 63, 64, 65, 127, 128, 149] {
                assert_eq!(
                    run(isa, p..p + 1),
                    all[p * head_dim..][..head_dim],
                    "{isa} {p}"
                );
            }
        }
        for p in [0, 5, 64, 149] {
            let want = expected(shape, &kv, 1, p, &query[p], window);
            for (i, want) in want.into_iter().enumerate() {
                assert!((f64::from(all[p * head_dim + i]) - want).abs() < 1e-5);
            }
        }
    }
}
