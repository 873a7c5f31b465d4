#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

use proptest::prelude::*;

use super::numbers::exp;
use super::*;

/// Samples with a history without generated tokens.
fn sample(
    settings: &SamplerSettings,
    position: u64,
    history: &[TokenId],
    logits: &[f32],
) -> Result<TokenId, SamplerError> {
    let history = History {
        tokens: history,
        generated: &[],
    };
    super::sample(settings, position, history, logits)
}

/// No filter, temperature 1.
const PLAIN: SamplerSettings = SamplerSettings {
    repetition_penalty: 1.0,
    repetition_window: 0,
    frequency_penalty: 0.0,
    presence_penalty: 0.0,
    logit_bias: LogitBias::none(),
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    seed: 0,
};

/// The definition, step by step and without shortcuts: the remaining tokens, best first.
fn considered(
    settings: &SamplerSettings,
    history: &[TokenId],
    generated: usize,
    logits: &[f32],
) -> Vec<(f32, u32)> {
    let window = history.len().min(settings.repetition_window);
    let recent = &history[history.len() - window..];
    let generated = &history[history.len() - generated..];
    let mut left: Vec<(f32, u32)> = (0..)
        .zip(logits)
        .map(|(id, &l)| (l, id))
        .map(|(l, id)| {
            let repeated = recent.contains(&id) && settings.repetition_penalty != 1.0;
            match repeated {
                true if l > 0.0 => (l / settings.repetition_penalty, id),
                true => (l * settings.repetition_penalty, id),
                false => (l, id),
            }
        })
        .map(|(l, id)| {
            // OpenAI: mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence
            let count = generated.iter().filter(|&&token| token == id).count();
            let present = f32::from(count > 0);
            let lowered =
                l - count as f32 * settings.frequency_penalty - present * settings.presence_penalty;
            let bias = settings.logit_bias.as_slice().iter();
            let bias: f32 = bias.filter(|(token, _)| *token == id).map(|(_, b)| b).sum();
            (lowered + bias, id)
        })
        .filter(|(l, _)| *l > f32::NEG_INFINITY)
        .collect();
    left.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
    let best = left[0].0;
    if settings.temperature == 0.0 {
        left.truncate(1);
        return left;
    }
    let scale = 1.0 / settings.temperature;
    if settings.top_k > 0 {
        left.truncate(settings.top_k);
    }
    if settings.top_p < 1.0 {
        let weight = |l: f32| f64::from(exp((l - best) * scale));
        let total: f64 = left.iter().map(|(l, _)| weight(*l)).sum();
        let mut sum = 0.0;
        let enough = left.iter().position(|(l, _)| {
            sum += weight(*l);
            sum >= f64::from(settings.top_p) * total
        });
        left.truncate(enough.map_or(left.len(), |last| last + 1));
    }
    if settings.min_p > 0.0 {
        let least = best + libm::logf(settings.min_p) / scale;
        left.retain(|(l, _)| *l >= least);
    }
    left
}

fn defined(
    settings: &SamplerSettings,
    position: u64,
    history: &[TokenId],
    generated: usize,
    logits: &[f32],
) -> TokenId {
    let left = considered(settings, history, generated, logits);
    let best = left[0].0;
    let noise = Noise::new(settings.seed, position);
    let scores = left.iter().map(|&(l, id)| match settings.temperature {
        0.0 => (0.0, id),
        temperature => {
            let scaled = (l - best) * (1.0 / temperature);
            (f64::from(scaled) + noise.gumbel(id), id)
        }
    });
    scores
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .unwrap()
        .1
}

fn draw(settings: &SamplerSettings, position: u64, logits: &[f32]) -> TokenId {
    sample(settings, position, &[], logits).unwrap()
}

#[test]
fn greedy_is_the_first_of_the_greatest_logits() {
    let greedy = SamplerSettings::greedy();
    assert_eq!(draw(&greedy, 0, &[1.0, 3.0, 2.0, 3.0]), 1);
    assert_eq!(draw(&greedy, 9, &[-0.0, 0.0]), 0);
    assert_eq!(draw(&greedy, 0, &[f32::NEG_INFINITY, -1e30]), 1);
    // A temperature close to 0 acts like 0.
    let settings = SamplerSettings {
        temperature: 1e-40,
        ..greedy
    };
    assert_eq!(draw(&settings, 0, &[1.0, 3.0, 2.0, 3.0]), 1);
}

#[test]
fn repetition_makes_recent_tokens_less_likely() {
    let settings = SamplerSettings {
        repetition_penalty: 2.0,
        repetition_window: 2,
        ..SamplerSettings::greedy()
    };
    let choose = |history: &[TokenId], logits: &[f32]| sample(&settings, 0, history, logits);
    assert_eq!(choose(&[0], &[3.0, 2.0, 1.0]), Ok(1));
    assert_eq!(choose(&[0, 0], &[3.0, 1.0, 1.0]), Ok(0));
    assert_eq!(choose(&[0, 1, 2], &[3.0, 2.0, 1.0]), Ok(0));
    assert_eq!(choose(&[1], &[-3.0, -2.0, -5.0]), Ok(0));
    assert_eq!(choose(&[99, 1], &[1.0, 1.5]), Ok(0));
    assert_eq!(choose(&[], &[1.0, 1.5]), Ok(1));
}

#[test]
fn penalties_of_what_was_generated_and_biases_are_those_of_openai() {
    let choose = |settings: SamplerSettings, generated: &[TokenId], logits: &[f32]| {
        let mut counts = Counts::default();
        generated.iter().for_each(|&token| counts.add(token));
        let history = History {
            tokens: &[1; 9],
            generated: counts.as_slice(),
        };
        super::sample(&settings, 0, history, logits).unwrap()
    };
    let presence = |presence_penalty| SamplerSettings {
        presence_penalty,
        ..SamplerSettings::greedy()
    };
    let frequency = |frequency_penalty| SamplerSettings {
        frequency_penalty,
        ..SamplerSettings::greedy()
    };
    assert_eq!(choose(presence(1.5), &[0, 0, 0], &[3.0, 1.4]), 0);
    assert_eq!(choose(presence(1.5), &[0], &[3.0, 1.6]), 1);
    // Tokens of the prompt are not penalised.
    assert_eq!(choose(presence(2.0), &[], &[1.0, 1.1]), 1);
    assert_eq!(choose(frequency(1.0), &[0], &[3.0, 1.5]), 0);
    assert_eq!(choose(frequency(1.0), &[0, 2, 0], &[3.0, 1.5, 0.0]), 1);
    assert_eq!(choose(frequency(-1.0), &[1, 1], &[3.0, 1.5]), 1);
    let biased = |list: &[(TokenId, f32)]| SamplerSettings {
        logit_bias: LogitBias::new(list.iter().copied()).unwrap(),
        ..SamplerSettings::greedy()
    };
    assert_eq!(choose(biased(&[(1, 1.0)]), &[], &[3.0, 2.5]), 1);
    assert_eq!(choose(biased(&[(1, 1.0), (1, 0.0)]), &[], &[3.0, 2.5]), 0);
    assert_eq!(
        choose(biased(&[(0, -100.0), (9, 1.0)]), &[], &[3.0, 2.5]),
        1
    );
}

#[test]
fn tokens_come_as_often_as_softmax_says() {
    let logits = [1.0_f32, 0.0, -1.0, 2.5, f32::NEG_INFINITY, 2.4, -3.0, 0.5];
    for (temperature, seed) in [(1.0, 1), (0.5, 2), (2.0, 3), (1.0, u64::MAX)] {
        let settings = SamplerSettings {
            temperature,
            seed,
            ..PLAIN
        };
        let weights = logits.map(|l| (f64::from(l) / f64::from(temperature)).exp());
        let total: f64 = weights.iter().sum();
        let draws = 40_000;
        let mut counts = [0_u32; 8];
        for position in 0..draws {
            counts[draw(&settings, position, &logits) as usize] += 1;
        }
        assert_eq!(counts[4], 0);
        let chi_square: f64 = counts
            .iter()
            .zip(weights)
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(&count, weight)| {
                let expected = draws as f64 * weight / total;
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        // Six degrees of freedom: above 22.5 once in a thousand times. Seeds are fixed.
        assert!(chi_square < 22.5, "temperature {temperature}: {chi_square}");
    }
}

/// Every token that at least one of many seeds chooses.
fn chosen(settings: &SamplerSettings, logits: &[f32]) -> Vec<TokenId> {
    let mut chosen: Vec<TokenId> = (0..20_000).map(|at| draw(settings, at, logits)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[test]
fn filters_keep_exactly_the_right_tokens() {
    // Probabilities 0.4, 0.3, 0.15, 0.1, 0.05 in another order.
    let logits = [0.1_f32, 0.4, 0.05, 0.3, 0.15].map(f32::ln);
    let with = |change: &dyn Fn(&mut SamplerSettings)| {
        let mut settings = PLAIN;
        change(&mut settings);
        chosen(&settings, &logits)
    };
    assert_eq!(with(&|_| ()), [0, 1, 2, 3, 4]);
    assert_eq!(with(&|s| s.top_k = 1), [1]);
    assert_eq!(with(&|s| s.top_k = 3), [1, 3, 4]);
    assert_eq!(with(&|s| s.top_k = 9), [0, 1, 2, 3, 4]);
    assert_eq!(with(&|s| s.top_p = 0.01), [1]);
    assert_eq!(with(&|s| s.top_p = 0.69), [1, 3]);
    assert_eq!(with(&|s| s.top_p = 0.71), [1, 3, 4]);
    assert_eq!(with(&|s| s.min_p = 0.36), [1, 3, 4]);
    assert_eq!(with(&|s| s.min_p = 1.0), [1]);
    // Top-p applies to the rest of top-k: 0.4 of 0.7 is more than half.
    assert_eq!(with(&|s| (s.top_k, s.top_p) = (2, 0.56)), [1]);
    assert_eq!(with(&|s| (s.top_k, s.top_p) = (2, 0.58)), [1, 3]);
    // Of equal logits, the lower ids stay.
    let settings = SamplerSettings { top_k: 2, ..PLAIN };
    assert_eq!(chosen(&settings, &[0.0, 1.0, 1.0, 1.0]), [1, 2]);
}

#[test]
fn the_same_input_gives_the_same_token_on_every_machine() {
    let logits: Vec<f32> = (0..1000_u32)
        .map(|i| ((i * 7919) % 1000) as f32 * 0.01)
        .collect();
    let tokens = |settings| {
        (0..8)
            .map(|at| draw(&settings, at, &logits))
            .collect::<Vec<_>>()
    };
    expect_test::expect!["[866, 805, 211, 200, 27, 655, 570, 100]"]
        .assert_eq(&format!("{:?}", tokens(PLAIN)));
    expect_test::expect!["[321, 235, 951, 173, 284, 321, 914, 309]"]
        .assert_eq(&format!("{:?}", tokens(SamplerSettings::default())));
    let seeded = SamplerSettings {
        seed: 42,
        ..SamplerSettings::default()
    };
    expect_test::expect!["[173, 235, 247, 568, 272, 568, 778, 741]"]
        .assert_eq(&format!("{:?}", tokens(seeded)));
}

#[test]
fn what_cannot_be_is_refused() {
    let bad = |change: &dyn Fn(&mut SamplerSettings)| {
        let mut settings = PLAIN;
        change(&mut settings);
        sample(&settings, 0, &[], &[1.0]).unwrap_err().to_string()
    };
    assert_eq!(
        bad(&|s| s.temperature = -1.0),
        "temperature is -1: give a number from 0 to 1000"
    );
    assert_eq!(
        bad(&|s| s.top_p = 0.0),
        "top-p is 0: give a number above 0 and at most 1"
    );
    assert_eq!(
        bad(&|s| s.top_p = f32::NAN),
        "top-p is NaN: give a number above 0 and at most 1"
    );
    assert_eq!(
        bad(&|s| s.min_p = 1.5),
        "min-p is 1.5: give a number from 0 to 1"
    );
    assert_eq!(
        bad(&|s| s.repetition_penalty = 0.0),
        "repetition penalty is 0: give a number from 0.01 to 100"
    );
    assert_eq!(
        bad(&|s| s.presence_penalty = f32::NAN),
        "presence penalty is NaN: give a number from -2 to 2"
    );
    assert_eq!(
        bad(&|s| s.frequency_penalty = 2.5),
        "frequency penalty is 2.5: give a number from -2 to 2"
    );
    assert_eq!(
        LogitBias::new([(3, 100.5)]).unwrap_err().to_string(),
        "logit bias is 100.5: give a number from -100 to 100"
    );
    for settings in [PLAIN, SamplerSettings::greedy(), SamplerSettings::default()] {
        let on = |logits: &[f32]| sample(&settings, 0, &[], logits);
        assert_eq!(on(&[0.0, f32::NAN]), Err(SamplerError::NotANumber));
        assert_eq!(on(&[0.0, f32::INFINITY]), Err(SamplerError::NotANumber));
        assert_eq!(on(&[f32::NEG_INFINITY; 20]), Err(SamplerError::NoCandidate));
        assert_eq!(on(&[]), Err(SamplerError::NoCandidate));
        assert_eq!(on(&[f32::MAX, f32::MIN]), Ok(0));
    }
}

#[test]
fn log_probabilities_are_those_of_softmax() {
    let logits: Vec<f32> = (0..5000_u32)
        .map(|i| ((i * 7919) % 5000) as f32 * 0.004 - 9.0)
        .collect();
    let total = logits.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
    for token in [0, 1, 77, 4999] {
        let expected = f64::from(logits[token]) - total;
        let actual = logprob_of(&logits, token as TokenId).unwrap();
        assert!(
            (f64::from(actual) - expected).abs() < 1e-6,
            "{actual} {expected}"
        );
    }
    let top = top_logprobs(&logits, 3).unwrap();
    assert_eq!(
        top.iter().map(|top| top.0).collect::<Vec<_>>(),
        [2321, 4642, 1963]
    );
    assert_eq!(top[0].1, logprob_of(&logits, 2321).unwrap());
    assert_eq!(logprob_of(&logits, 5000), Ok(f32::NEG_INFINITY));
    assert_eq!(
        top_logprobs(&[0.0, 0.0, 0.0], 2)
            .unwrap()
            .iter()
            .map(|t| t.0)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(top_logprobs(&logits, 0), Ok(vec![]));
    assert_eq!(top_logprobs(&logits, usize::MAX).unwrap().len(), 5000);
    assert_eq!(logprob_of(&[f32::NAN], 0), Err(SamplerError::NotANumber));
    assert_eq!(top_logprobs(&[], 1), Err(SamplerError::NoCandidate));
}

fn any_bias() -> impl Strategy<Value = LogitBias> {
    let bias = prop_oneof![Just(-100.0_f32), -5.0_f32..5.0];
    let list = prop::collection::vec((0_u32..220, bias), 0..6);
    list.prop_map(|list| LogitBias::new(list).expect("in range"))
}

fn any_settings() -> impl Strategy<Value = SamplerSettings> {
    let lowered = || prop_oneof![Just(0.0_f32), -2.0_f32..=2.0];
    let penalties = (
        prop_oneof![Just(1.0_f32), 0.1_f32..4.0],
        0_usize..20,
        lowered(),
        lowered(),
        any_bias(),
    );
    let filters = (
        prop_oneof![Just(0.0_f32), 0.05_f32..3.0],
        0_usize..30,
        prop_oneof![Just(1.0_f32), 0.01_f32..1.0],
        prop_oneof![Just(0.0_f32), 0.0_f32..1.0],
        any::<u64>(),
    );
    (penalties, filters).prop_map(
        |(
            (
                repetition_penalty,
                repetition_window,
                frequency_penalty,
                presence_penalty,
                logit_bias,
            ),
            (temperature, top_k, top_p, min_p, seed),
        )| SamplerSettings {
            repetition_penalty,
            repetition_window,
            frequency_penalty,
            presence_penalty,
            logit_bias,
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
        },
    )
}

fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        8 => -30.0_f32..10.0,
        // Ties.
        2 => (-3_i8..4).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
    ];
    prop::collection::vec(logit, 0..200).prop_map(|mut logits| {
        logits.push(0.5);
        logits
    })
}

proptest! {
    #[test]
    fn sampling_is_what_its_definition_says(
        settings in any_settings(),
        logits in any_logits(),
        history in prop::collection::vec(0_u32..220, 0..40),
        generated in any::<prop::sample::Index>(),
        position: u64,
    ) {
        let generated = generated.index(history.len() + 1);
        let expected = defined(&settings, position, &history, generated, &logits);
        let mut counts = Counts::default();
        history[history.len() - generated..].iter().for_each(|&token| counts.add(token));
        let history = History { tokens: &history, generated: counts.as_slice() };
        prop_assert_eq!(super::sample(&settings, position, history, &logits), Ok(expected));
    }

    #[test]
    fn history_matters_to_the_penalty_only(
        mut settings in any_settings(),
        logits in any_logits(),
        history in prop::collection::vec(0_u32..220, 20..40),
        older in prop::collection::vec(0_u32..220, 0..40),
    ) {
        let longer = [&*older, &*history].concat();
        let sampled = sample(&settings, 7, &history, &logits);
        prop_assert_eq!(&sampled, &sample(&settings, 7, &longer, &logits));
        settings.repetition_penalty = 1.0;
        prop_assert_eq!(
            sample(&settings, 7, &history, &logits),
            sample(&settings, 7, &[], &logits)
        );
    }

    #[test]
    fn masked_tokens_never_come(
        settings in any_settings(),
        logits in any_logits(),
        position: u64,
    ) {
        let token = sample(&settings, position, &[], &logits).unwrap();
        prop_assert!(logits[token as usize] > f32::NEG_INFINITY);
    }
}
