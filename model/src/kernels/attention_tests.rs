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

/// A cache of one head whose positions from `filled` on hold NaN, as rows do that nobody may read.
fn cache(shape: CacheShape, filled: usize) -> (Vec<f16>, Vec<f16>) {
    let mut keys = vec![f16::ZERO; shape.elements()];
    let mut values = vec![f16::ZERO; shape.elements()];
    for p in 0..shape.capacity {
        let row = |salt: usize| -> Vec<f32> {
            (0..shape.head_dim)
                .map(|i| match p < filled {
                    true => value(salt + p * shape.head_dim + i),
                    false => f32::NAN,
                })
                .collect()
        };
        // SAFETY: one thread.
        unsafe {
            let (keys, values) = (SharedSlice::new(&mut keys), SharedSlice::new(&mut values));
            append(
                shape,
                p,
                shape.head_dim,
                &row(3),
                &row(70_001),
                keys,
                values,
            );
        }
    }
    (keys, values)
}

#[test]
fn queries_that_go_together_have_the_bits_of_each_alone_on_every_isa() {
    // Widths of whole strips and tiles, of eight more, and of eight only; windows that begin within
    // a block, span a part of one, and end between two queries of four.
    let widths = [8, 16, 24, 40, 64, 72, 80, 128, 136];
    let windows = [None, Some(1), Some(3), Some(64), Some(70), Some(130)];
    // The first position, positions, and heads that share it: full and partial fours, within a block,
    // across its border, and behind some blocks.
    let steps = [
        (0, 1, 2),
        (0, 9, 1),
        (60, 7, 3),
        (63, 2, 1),
        (126, 5, 3),
        (150, 16, 4),
        (187, 3, 5),
    ];
    for (i, head_dim) in widths.into_iter().enumerate() {
        let shape = CacheShape {
            kv_heads: 1,
            head_dim,
            capacity: 192,
        };
        for (j, window) in windows.into_iter().enumerate() {
            let (first, positions, heads) = steps[(i + j) % steps.len()];
            let (keys, values) = cache(shape, first + positions);
            let query: Vec<f32> = (0..positions * heads * head_dim)
                .map(|i| 4.0 * value(11 + 17 * i))
                .collect();
            let queries: Vec<_> = query
                .chunks_exact(head_dim)
                .enumerate()
                .map(|(i, query)| (first + i / heads, query))
                .collect();
            let run = |isa, queries: &[(usize, &[f32])]| {
                let mut out = vec![0.0; queries.len() * head_dim];
                Attend {
                    shape,
                    kv_head: 0,
                    keys: &keys,
                    values: &values,
                    window,
                    scale: 0.3,
                    queries,
                }
                .run(isa, &mut out);
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let alone = queries.iter().flat_map(|query| run(Isa::SCALAR, &[*query]));
            let alone: Vec<_> = alone.collect();
            for isa in Isa::available() {
                let what = format!("{isa}, width {head_dim}, window {window:?}, from {first}");
                assert!(run(isa, &queries) == alone, "{what}");
            }
        }
    }
}
