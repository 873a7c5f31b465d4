//! Steps of several sessions, with a small random model.

use std::num::NonZeroUsize;

use super::*;
use crate::gguf::synth::SynthSpec;
use crate::tokenizer::TokenId;

fn engine(preset: &str, threads: usize) -> Engine {
    let spec = SynthSpec::preset(preset).expect("a preset");
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = Compute::new(NonZeroUsize::new(threads)).expect("threads");
    Engine::from_gguf(&gguf, 256, compute).expect("it runs")
}

/// Pseudorandom tokens.
fn tokens(seed: u32, count: usize) -> Vec<TokenId> {
    let numbers = (0..count as u32).map(|at| (at * 37 + seed * 101 + 11) % 512);
    numbers.collect()
}

fn logits_of(engine: &Engine, session: &mut Session, tokens: &[TokenId]) -> Vec<f32> {
    let logits = engine.prefill(session, tokens, &mut |_| true, <[f32]>::to_vec);
    logits.expect("it reads").expect("to the end")
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Results of a step, by part, as bits.
fn stepped(engine: &Engine, parts: &mut [Part<'_>]) -> Vec<Vec<u32>> {
    let mut given = vec![Vec::new(); parts.len()];
    let read = &mut |part: usize, values: Result<&[f32], ModelError>| {
        given[part].extend(bits(values.expect("numbers")));
    };
    engine.step(parts, read).expect("it steps");
    given
}

#[test]
fn a_step_of_many_sessions_gives_each_the_bits_of_a_step_alone() {
    for preset in ["tiny", "tiny-gemma3", "tiny-qwen3"] {
        let engine = engine(preset, 2);
        let prompts: Vec<_> = (0..20).map(|n| tokens(n, 1 + 7 * n as usize)).collect();
        let alone: Vec<_> = (prompts.iter())
            .map(|prompt| {
                let mut session = engine.new_session().expect("memory");
                let first = logits_of(&engine, &mut session, prompt);
                let second = logits_of(&engine, &mut session, &[9]);
                [bits(&first), bits(&second)]
            })
            .collect();
        let new = |_: &Vec<TokenId>| engine.new_session().expect("memory");
        let mut sessions: Vec<_> = prompts.iter().map(new).collect();
        let mut parts: Vec<_> = (sessions.iter_mut().zip(&prompts))
            .map(|(session, prompt)| Part::with_logits(session, prompt))
            .collect();
        let together = stepped(&engine, &mut parts);
        let mut parts: Vec<_> = (sessions.iter_mut())
            .map(|session| Part::with_logits(session, &[9]))
            .collect();
        let then = stepped(&engine, &mut parts);
        for (number, alone) in alone.iter().enumerate() {
            assert!(alone[0] == together[number], "{preset}, session {number}");
            assert!(alone[1] == then[number], "{preset}, session {number}, then");
        }
    }
}

#[test]
fn a_part_that_only_reads_gives_nothing_and_goes_on_as_if_alone() {
    let engine = engine("tiny", 1);
    let (long, short) = (tokens(1, 150), tokens(2, 5));
    let mut alone = engine.new_session().expect("memory");
    let expected = bits(&logits_of(&engine, &mut alone, &long));
    let mut reading = engine.new_session().expect("memory");
    let mut other = engine.new_session().expect("memory");
    for chunk in long[..149].chunks(50) {
        other.truncate(0);
        let mut parts = [
            Part::reading(&mut reading, chunk),
            Part::with_logits(&mut other, &short),
        ];
        let given = stepped(&engine, &mut parts);
        assert!(given[0].is_empty() && given[1].len() == 512);
    }
    assert!(bits(&logits_of(&engine, &mut reading, &long[149..])) == expected);
}

#[test]
fn a_copied_prefix_goes_on_as_the_session_it_is_of() {
    for preset in ["tiny", "tiny-gemma3"] {
        let engine = engine(preset, 1);
        let text = tokens(3, 200);
        let mut whole = engine.new_session().expect("memory");
        let _ = logits_of(&engine, &mut whole, &text);
        for (len, capacity) in [(0, 64), (1, 70), (64, 64 + 8), (130, 256), (200, 208)] {
            let mut copy = whole.copy_prefix(len, capacity).expect("memory");
            assert_eq!((copy.len(), copy.capacity()), (len, capacity));
            let rest = tokens(4, 8);
            let mut fresh = engine.session(capacity).expect("memory");
            let both = [&text[..len], &rest].concat();
            let expected = bits(&logits_of(&engine, &mut fresh, &both));
            assert!(
                bits(&logits_of(&engine, &mut copy, &rest)) == expected,
                "{len}"
            );
        }
        assert!(whole.copy_prefix(65, 64).is_err());
        assert_eq!(whole.len(), 200);
    }
}

#[test]
fn a_part_that_does_not_fit_is_refused_before_any_is_read() {
    let engine = engine("tiny", 1);
    let mut good = engine.session(64).expect("memory");
    let mut full = engine.session(64).expect("memory");
    let (few, many) = (tokens(1, 3), tokens(1, 65));
    for bad in [&many[..], &[], &[512]] {
        let mut parts = [
            Part::with_logits(&mut good, &few),
            Part::with_logits(&mut full, bad),
        ];
        assert!(
            engine
                .step(&mut parts, &mut |_, _| panic!("nothing is read"))
                .is_err()
        );
        assert!(good.is_empty() && full.is_empty());
    }
    assert!(engine.session(4096).is_err(), "the model was made for 2048");
}

#[test]
fn an_embedding_has_length_one_and_does_not_depend_on_how_it_is_read() {
    let engine = engine("tiny", 2);
    let text = tokens(5, 300);
    let whole = engine.embed(&text).expect("it reads");
    assert_eq!(whole.len(), engine.config().d_model);
    let squares: f64 = whole.iter().map(|&x| f64::from(x).powi(2)).sum();
    assert!((squares - 1.0).abs() < 1e-5, "{squares}");
    let mut session = engine.session(300).expect("memory");
    let mut other = engine.session(300).expect("memory");
    let mut pool = MeanPool::default();
    for chunk in text.chunks(77) {
        let mut parts = [
            Part::with_logits(&mut other, &text[..1]),
            Part::reading(&mut session, chunk),
        ];
        parts[1].wants = Wants::States;
        let read = &mut |part: usize, state: Result<&[f32], ModelError>| {
            if part == 1 {
                pool.add(state.expect("numbers"));
            }
        };
        engine.step(&mut parts, read).expect("it steps");
    }
    assert!(bits(&pool.finish()) == bits(&whole));
    assert!(engine.embed(&[]).is_err());
}

#[test]
fn progress_comes_between_the_layers_and_the_head() {
    let engine = engine("tiny", 1);
    let mut session = engine.new_session().expect("memory");
    let order = std::cell::RefCell::new(Vec::new());
    let prompt = tokens(3, 20);
    for read in [&prompt[..], &[7]] {
        let mut progress = |done| {
            order.borrow_mut().push(Some(done));
            true
        };
        let logits = engine.prefill(&mut session, read, &mut progress, |_logits| {
            order.borrow_mut().push(None);
        });
        assert!(logits.expect("it reads").is_some());
    }
    assert_eq!(order.take(), [Some(20), None, Some(1), None]);
    // One that stops there gets no logits, and keeps what was read.
    let stopped = engine.prefill(&mut session, &prompt, &mut |_| false, |_| ());
    assert!(stopped.expect("it reads").is_none());
    assert_eq!(session.len(), 41);
}
