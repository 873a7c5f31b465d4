//! A step's attention has the same bits however threads and instruction sets divide it.

use std::num::NonZeroUsize;

use super::*;

fn team(threads: usize) -> Team {
    Team::equal(NonZeroUsize::new(threads).expect("not zero"))
}

fn value(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 500.0 - 1.0
}

fn values(count: usize, salt: usize) -> Vec<f32> {
    (salt..salt + count).map(value).collect()
}

/// Heads, key and value heads, coordinates of a head.
fn plan(
    [heads, kv_heads, head_dim]: [usize; 3],
    start: usize,
    rows: usize,
    window: Option<usize>,
) -> AttentionPlan {
    AttentionPlan {
        rows: 1..1 + rows,
        start,
        heads,
        head_dim,
        cache: CacheShape {
            kv_heads,
            head_dim: CacheShape::padded(head_dim),
            capacity: (start + rows).next_multiple_of(BLOCK),
        },
        rope_pairs: RopePairs::Halves,
        window,
        scale: 0.2,
    }
}

/// The bits of the queries after a step of some of `plans`, whose matrices have a row behind theirs.
fn bits_of(plans: &[AttentionPlan], some: Range<usize>, isa: Isa, team: &Team) -> Vec<u32> {
    let plan = &plans[0];
    let rows = plans.last().map_or(0, |last| last.rows.end) + 1;
    let kv_width = plan.cache.kv_heads * plan.head_dim;
    let angles = plan.head_dim / 2;
    let mut q = values(rows * plan.heads * plan.head_dim, 5);
    let [k, v] = [70_001, 90_001].map(|salt| values(rows * kv_width, salt));
    let [cos, sin] = [300_001, 400_001].map(|salt| values(rows * angles, salt));
    let mut caches: Vec<_> = (0..plans.len())
        .map(|at| {
            [11, 500_009].map(|salt| -> Vec<f16> {
                let numbers = values(plans[at].cache.elements(), salt + 7919 * at);
                numbers.into_iter().map(f16::from_f32).collect()
            })
        })
        .collect();
    let mut numbers = vec![f32::NAN; scratch(&plans[some.clone()], team.threads())];
    let sequences = plans[some.clone()].iter().zip(&mut caches[some]);
    AttentionStep {
        q: &mut q,
        k: &k,
        v: &v,
        cos: &cos,
        sin: &sin,
        sequences: sequences
            .map(|(plan, [keys, values])| Sequence { plan, keys, values })
            .collect(),
    }
    .run(isa, team, &mut numbers);
    q.into_iter().map(f32::to_bits).collect()
}

/// As [`bits_of`], of a step of one.
fn bits(plan: &AttentionPlan, isa: Isa, team: &Team) -> Vec<u32> {
    bits_of(std::slice::from_ref(plan), 0..1, isa, team)
}

#[test]
fn sequences_have_the_same_bits_together_and_alone() {
    let shape = [9, 3, 64];
    let mut plans: Vec<_> = [(700, 1), (0, 37), (63, 1), (500, 3), (0, 1), (129, 2)]
        .map(|(start, rows)| plan(shape, start, rows, None))
        .into();
    // Between two of them lies a row of nobody.
    let mut first = 1;
    for plan in &mut plans {
        let rows = plan.rows.len();
        plan.rows = first..first + rows;
        first += rows + usize::from(plan.start == 63);
    }
    let alone = Team::equal(NonZeroUsize::MIN);
    let width = shape[0] * shape[2];
    let mut expected = bits_of(&plans, 0..0, Isa::SCALAR, &alone);
    for (at, plan) in plans.iter().enumerate() {
        let own = plan.rows.start * width..plan.rows.end * width;
        let bits = bits_of(&plans, at..at + 1, Isa::SCALAR, &alone);
        expected[own.clone()].copy_from_slice(&bits[own]);
    }
    for isa in Isa::available() {
        for threads in 1..5 {
            let team = team(threads);
            let got = bits_of(&plans, 0..plans.len(), isa, &team);
            assert!(got == expected, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn a_step_has_the_same_bits_on_any_number_of_threads_and_every_isa() {
    let shapes = [[9, 3, 64], [4, 1, 256], [10, 2, 36], [6, 1, 8], [16, 8, 32]];
    let steps = [
        (0, 1, None),
        (5, 3, None),
        (383, 1, None),
        (500, 1, Some(130)),
        (700, 1, None),
        (640, 1, Some(512)),
        (62, 4, Some(3)),
        (190, 8, None),
        (40, 37, Some(64)),
    ];
    let teams: Vec<_> = (1..5).map(team).collect();
    for (i, shape) in shapes.into_iter().enumerate() {
        for (j, (start, rows, window)) in steps.into_iter().enumerate() {
            let plan = plan(shape, start, rows, window);
            let expected = bits(&plan, Isa::SCALAR, &teams[0]);
            for isa in Isa::available() {
                // Every number of threads with some shape and step, and two with all.
                for team in [&teams[1], &teams[(i + j) % teams.len()]] {
                    let threads = team.threads();
                    let what = format!("{isa}, {threads} threads, {shape:?} at {start}, {rows}");
                    assert!(bits(&plan, isa, team) == expected, "{what}");
                }
            }
        }
    }
}

#[test]
fn one_position_is_divided_further_where_heads_leave_threads_idle() {
    let scores = |shape, start, threads| plan(shape, start, 1, None).scratch(threads);
    // Three heads, or one, for two threads: blocks and coordinates are items.
    assert_eq!(scores([9, 3, 64], 1500, 2), 9 * 24 * BLOCK);
    assert_eq!(scores([4, 1, 256], 400, 2), 4 * 7 * BLOCK);
    // As many for each thread, one thread, and few positions: heads are items.
    assert_eq!(scores([16, 8, 64], 1500, 2), 0);
    assert_eq!(scores([9, 3, 64], 1500, 3), 0);
    assert_eq!(scores([9, 3, 64], 1500, 1), 0);
    assert_eq!(scores([9, 3, 64], 100, 2), 0);
    // Several positions: these are divided.
    let several = plan([9, 3, 64], 1500, 4, None);
    assert_eq!((several.scratch(2), several.strips(2)), (0, 2));
}
