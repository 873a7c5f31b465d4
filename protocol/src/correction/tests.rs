use proptest::prelude::*;

use super::*;
use crate::LayerRange;
use crate::placement::{LayerShape, Weights};
use crate::profile::Quantisation;
use crate::profile::tests::{profile, rate};

const LAYERS: u32 = 10;
const FORMAT: Quantisation = Quantisation(1);
const OF_HEAD: Quantisation = Quantisation(2);

/// Layers of one format and a head of another.
fn model() -> Arc<ModelShape> {
    let weights = |quantisation, bytes| {
        vec![Weights {
            quantisation,
            bytes,
        }]
    };
    let layer = LayerShape {
        weights: weights(FORMAT, 4_000_000),
        multiply_adds: 8_000_000,
        kv_bytes_per_position: 1_000,
        window: None,
        most_kv_positions: None,
    };
    Arc::new(ModelShape {
        layers: vec![layer; LAYERS as usize],
        d_model: 512,
        embedding_bytes: 20_000_000,
        embedding_row_bytes: 512,
        head: weights(OF_HEAD, 20_000_000),
        head_multiply_adds: 20_000_000,
        head_is_embedding: true,
    })
}

fn measured() -> Profile {
    profile(1 << 30, 10_000_000_000)
}

fn layers(start: u32, rows: u32) -> ComputedRows {
    ComputedRows {
        layers: LayerRange::new(0, LAYERS).expect("forwards"),
        head: false,
        start,
        rows,
    }
}

/// One row through all of the model.
fn whole(start: u32) -> ComputedRows {
    ComputedRows {
        head: true,
        ..layers(start, 1)
    }
}

fn claimed(profile: &Profile, computed: ComputedRows) -> f64 {
    let terms = claim(profile, &model(), &computed).expect("it has all rates");
    terms.values().map(|&time| time as f64).sum()
}

/// A device as it is: each rate so many times slower than it was measured.
fn real(decode: f64, head: f64, kv: f64, prefill: f64) -> Profile {
    let mut real = measured();
    let slower = |rate_: &mut Rate, times: f64| {
        *rate_ = rate((rate_.units_per_second() as f64 / times).round() as u64);
    };
    for (format, rate) in &mut real.decode {
        slower(
            &mut rate.value,
            if *format == OF_HEAD { head } else { decode },
        );
    }
    slower(&mut real.kv_read.value, kv);
    slower(&mut real.prefill.as_mut().expect("measured").value, prefill);
    real
}

fn step(real: &Profile, computed: ComputedRows, disturbed: f64) -> TimedRows {
    TimedRows {
        model: model(),
        computed,
        took: Duration::from_nanos((claimed(real, computed) * disturbed) as u64),
        first: false,
    }
}

/// An answer of so many tokens behind a prompt.
fn answer(correction: &mut Correction, real: &Profile, tokens: u32) {
    for position in 100..100 + tokens {
        correction.add(&measured(), &step(real, layers(position, 1), 1.0));
        let head = ComputedRows {
            layers: LayerRange::new(0, 0).expect("none"),
            ..whole(position)
        };
        correction.add(&measured(), &step(real, head, 1.0));
    }
    correction.finish();
}

/// How far off a prediction is, as the greater over the lesser.
fn off(correction: &Correction, real: &Profile, computed: ComputedRows) -> f64 {
    let predicted = claimed(&correction.corrected(&measured()), computed);
    let ratio = predicted / claimed(real, computed);
    ratio.max(1.0 / ratio)
}

#[test]
fn nothing_is_corrected_before_there_are_steps() {
    let mut correction = Correction::default();
    assert!(!correction.finish());
    assert_eq!(correction.corrected(&measured()), measured());
    assert_eq!(correction.steps(), 0);
}

#[test]
fn a_device_that_was_measured_while_busy_is_right_after_one_short_answer() {
    // Nothing of the KV cache or of prefill was seen: they follow.
    let real = real(0.25, 0.25, 0.25, 0.25);
    let mut correction = Correction::default();
    answer(&mut correction, &real, 8);
    for computed in [whole(100), whole(4_000), layers(0, 256)] {
        let off = off(&correction, &real, computed);
        assert!(off < 1.01, "{off} {computed:?}");
    }
    assert!(correction.steps() >= 14);
}

#[test]
fn who_becomes_slower_or_faster_is_followed_within_three_answers() {
    let mut correction = Correction::default();
    for times in [1.0, 4.0, 0.25, 1.0] {
        let real = real(times, times, times, times);
        (0..3).for_each(|_| answer(&mut correction, &real, 32));
        let off = off(&correction, &real, whole(110));
        assert!(off < 1.15, "{off} at {times}");
    }
}

#[test]
fn a_slow_step_alone_says_nothing() {
    let real = measured();
    let mut correction = Correction::default();
    for position in 0..100 {
        let disturbed = if position % 7 < 3 { 50.0 } else { 1.0 };
        correction.add(&measured(), &step(&real, layers(position, 1), disturbed));
    }
    let off = off(&correction, &real, layers(50, 1));
    assert!(off < 1.01, "{off}");
    // Nor do too few.
    let mut correction = Correction::default();
    correction.add(&measured(), &step(&real, layers(0, 1), 9.0));
    correction.add(&measured(), &step(&real, layers(1, 1), 9.0));
    assert!(!correction.finish());
    assert_eq!(correction.corrected(&measured()), measured());
}

#[test]
fn a_first_step_counts_only_if_it_is_faster_than_claimed() {
    for (times, counts) in [(20.0, false), (0.25, true)] {
        let mut correction = Correction::default();
        let first = TimedRows {
            first: true,
            ..step(&measured(), layers(0, 256), times)
        };
        let corrected = (0..3).any(|_| correction.add(&measured(), &first));
        assert_eq!(corrected, counts, "{times}");
    }
}

#[test]
fn rows_between_one_and_many_do_not_count() {
    let mut correction = Correction::default();
    for rows in 2..LEAST_ROWS {
        let slow = step(&measured(), layers(0, rows), 9.0);
        assert!(!correction.add(&measured(), &slow));
    }
    assert!(!correction.finish());
}

#[test]
fn each_rate_finds_its_own_factor() {
    // Layers as measured, head and cache not, prefill even more so.
    let real = real(1.0, 3.0, 2.0, 0.5);
    let mut correction = Correction::default();
    for _ in 0..8 {
        answer(&mut correction, &real, 32);
        for start in 0..32 {
            let deep = layers(40_000 + start, 1);
            correction.add(&measured(), &step(&real, deep, 1.0));
            correction.add(&measured(), &step(&real, layers(0, 256), 1.0));
        }
    }
    for computed in [layers(0, 1), whole(0), layers(40_000, 1), layers(0, 256)] {
        let off = off(&correction, &real, computed);
        assert!(off < 1.05, "{off} {computed:?}");
    }
}

#[test]
fn what_was_found_is_taken_up_again_unless_it_is_nonsense() {
    let mut correction = Correction::default();
    answer(&mut correction, &real(2.0, 3.0, 1.0, 1.0), 32);
    let parts = |c: &Correction| (c.common(), c.own().clone(), c.steps());
    let (common, own, steps) = parts(&correction);
    let again = Correction::from_parts(common, own.clone(), steps).expect("sound");
    assert_eq!(again, correction);
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e3] {
        let wrong = Found { factor, medians: 1 };
        assert_eq!(Correction::from_parts(wrong, own.clone(), 1), None);
        let wrong = BTreeMap::from([(RateKind::KvRead, wrong)]);
        assert_eq!(Correction::from_parts(common, wrong, 1), None);
    }
}

/// Any rows, of any duration.
fn any_step() -> impl Strategy<Value = TimedRows> {
    let rows = prop_oneof![Just(1_u32), 1..600_u32];
    let nanoseconds = prop_oneof![0..1_000_000_000_u64, any::<u64>()];
    let of = (
        rows,
        0..1_000_000_u32,
        nanoseconds,
        any::<bool>(),
        any::<bool>(),
    );
    of.prop_map(|(rows, start, nanoseconds, head, first)| TimedRows {
        model: model(),
        computed: ComputedRows {
            head,
            ..layers(start, rows)
        },
        took: Duration::from_nanos(nanoseconds),
        first,
    })
}

proptest! {
    #[test]
    fn whatever_steps_say_factors_stay_within_bounds(
        steps in proptest::collection::vec(any_step(), 0..200),
    ) {
        let mut correction = Correction::default();
        for step in &steps {
            correction.add(&measured(), step);
            prop_assert!(correction.waiting.values().all(|waiting| waiting.len() < WINDOW));
        }
        correction.finish();
        prop_assert!(correction.steps() <= steps.len() as u64);
        let sound = correction.own().values().all(Found::is_sound);
        prop_assert!(sound && correction.common().is_sound());
        // It can be kept.
        let own = correction.own().clone();
        let again = Correction::from_parts(correction.common(), own, correction.steps());
        prop_assert_eq!(again, Some(correction));
    }

    /// From any state: whatever was believed before, three answers are enough.
    #[test]
    fn three_answers_are_enough_whatever_was_claimed(
        before in 1.0 / 6.0..6.0_f64,
        layers in 1.0 / 6.0..6.0_f64,
        head in 1.0 / 6.0..6.0_f64,
        tokens in 24..100_u32,
    ) {
        let mut correction = Correction::default();
        answer(&mut correction, &real(before, before, before, before), 40);
        let real = real(layers, head, 1.0, 1.0);
        (0..3).for_each(|_| answer(&mut correction, &real, tokens));
        let off = off(&correction, &real, whole(100 + tokens / 2));
        prop_assert!(off < 1.15, "{}", off);
    }

    /// Fewer than half of a window's steps, however slow or fast, do not move a right prediction.
    #[test]
    fn few_disturbed_steps_change_nothing(
        disturbed in proptest::collection::vec((0.001..1_000.0_f64, 0..WINDOW), 3),
        windows in 1..10_u32,
    ) {
        let mut correction = Correction::default();
        for window in 0..windows {
            for at in 0..WINDOW {
                let times = disturbed.iter().find(|(_, of)| *of == at);
                let times = times.map_or(1.0, |(times, _)| *times);
                let position = window * 10 + at as u32;
                correction.add(&measured(), &step(&measured(), layers(position, 1), times));
            }
        }
        let off = off(&correction, &measured(), layers(0, 1));
        prop_assert!(off < 1.01, "{}", off);
    }
}
