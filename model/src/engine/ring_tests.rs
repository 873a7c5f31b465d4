//! Sessions of a model with sliding windows, whose caches keep only the last positions, against
//! sessions that keep all.

use std::num::NonZeroUsize;

use super::*;
use crate::Reach;
use crate::drafts::Drafts;
use crate::gguf::synth::SynthSpec;
use crate::tokenizer::TokenId;

const CONTEXT: usize = 2_048;
/// What is longer than rings of 640 positions, several times.
const LONG: usize = 1_500;

fn engine(threads: usize) -> Engine {
    let spec = SynthSpec::preset("tiny-gemma3").expect("a preset");
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = Compute::new(NonZeroUsize::new(threads)).expect("threads");
    Engine::from_gguf(&gguf, CONTEXT, compute).expect("it runs")
}

fn text(seed: usize, count: usize) -> Vec<TokenId> {
    let numbers = (0..count).map(|at| (at * 37 + at / 50 * seed + seed * 101 + 11) % 512);
    numbers.map(|number| number as TokenId).collect()
}

/// A session that holds all positions of every layer.
fn whole(engine: &Engine) -> Session {
    let layers = engine.config.layers;
    let (windows, compute) = (vec![None; layers].into(), engine.shard.compute());
    let sizes = (CONTEXT, 0);
    let cache = KvCache::with_windows(&engine.config, windows, 0..layers, sizes, compute);
    Session {
        tokens: Vec::new(),
        cache: cache.expect("memory"),
    }
}

/// The logits after each token, as bits.
fn read(engine: &Engine, session: &mut Session, tokens: &[TokenId], step: usize) -> Vec<Vec<u32>> {
    let mut bits = Vec::with_capacity(tokens.len());
    for tokens in tokens.chunks(step) {
        let mut part = Part::reading(session, tokens);
        part.wants = Wants::EachLogits;
        let read = &mut |_: usize, logits: Result<&[f32], ModelError>| {
            let logits = logits.expect("numbers");
            bits.push(logits.iter().map(|x| x.to_bits()).collect());
        };
        engine.step(&mut [part], read).expect("it steps");
    }
    bits
}

#[test]
fn logits_are_the_same_whatever_the_steps_of_a_long_text() {
    let text = text(1, LONG);
    let expected = {
        let engine = engine(1);
        read(&engine, &mut whole(&engine), &text, 256)
    };
    for (threads, step) in [(1, 700), (2, 513), (2, 512), (1, 256), (2, 65), (1, 17)] {
        let engine = engine(threads);
        let mut session = engine.new_session().expect("memory");
        assert!(session.kv_bytes() < whole(&engine).kv_bytes() / 2);
        let bits = read(&engine, &mut session, &text, step);
        assert!(bits == expected, "steps of {step}");
        // Two sessions that share steps, of which one is long.
        let mut other = engine.new_session().expect("memory");
        let mut parts = [
            Part::with_logits(&mut other, &text[..600]),
            Part::with_logits(&mut session, &text[..2]),
        ];
        let mut last = Vec::new();
        let hear = &mut |_: usize, logits: Result<&[f32], ModelError>| {
            last.push(logits.expect("numbers")[0].to_bits());
        };
        engine.step(&mut parts, hear).expect("it steps");
        assert_eq!(last[0], expected[599][0]);
    }
}

#[test]
fn a_session_cut_back_within_reach_goes_on_and_one_beyond_says_that_nothing_is_left() {
    let engine = engine(1);
    let (long, other) = (text(1, LONG), text(2, 40));
    let mut session = engine.new_session().expect("memory");
    let mut full = whole(&engine);
    let _ = read(&engine, &mut full, &long, 256);
    let _ = read(&engine, &mut session, &long, 256);
    for back in [1, 7, 64, 300, 512] {
        let held = session.len();
        let _ = read(&engine, &mut session, &long[held..], 100);
        let len = LONG - back;
        assert_eq!((session.reach(len), session.truncate(len)), (len, len));
        assert_eq!(full.truncate(len), len);
        let bits = read(&engine, &mut session, &other, 9);
        assert!(bits == read(&engine, &mut full, &other, 40), "{back} back");
        assert_eq!(session.truncate(len), len);
        assert_eq!(full.truncate(len), len);
        let bits = read(&engine, &mut session, &long[len..], 64);
        assert!(bits == read(&engine, &mut full, &long[len..], 256));
    }
    // An early message is changed: the rest is out of reach.
    for len in [40, 700] {
        let changed = [&long[..len], &other].concat();
        assert_eq!((session.reach(len), session.truncate(len)), (0, 0));
        assert!(session.is_empty());
        assert_eq!(full.truncate(len), len);
        let bits = read(&engine, &mut session, &changed, 256);
        assert!(bits[len..] == read(&engine, &mut full, &other, 40));
        full.truncate(0);
        let _ = read(&engine, &mut full, &long, 256);
        session.truncate(0);
        let _ = read(&engine, &mut session, &long, 256);
    }
}

#[test]
fn a_copy_goes_on_as_the_session_it_is_of_if_that_could() {
    let engine = engine(2);
    let (long, other) = (text(3, LONG), text(4, 300));
    let mut session = engine.new_session().expect("memory");
    let _ = read(&engine, &mut session, &long, 256);
    let short = {
        let mut short = engine.session(700).expect("memory");
        let _ = read(&engine, &mut short, &long[..500], 256);
        short
    };
    for (of, len, capacity) in [
        (&session, LONG, LONG + 300),
        (&session, LONG - 200, CONTEXT),
        (&session, LONG - 512, LONG),
        (&short, 500, CONTEXT),
        (&short, 90, 400),
    ] {
        let mut full = whole(&engine);
        let mut copy = of.copy_prefix(len, capacity).expect("memory");
        assert_eq!((copy.len(), copy.capacity()), (len, capacity));
        let _ = read(&engine, &mut full, &long[..len], 256);
        let bits = read(&engine, &mut copy, &other, 77);
        assert!(bits == read(&engine, &mut full, &other, 256), "{len}");
        // A copy reaches no further back than what it is of.
        assert!(copy.reach(10) <= of.reach(10));
    }
    let copy = session.copy_prefix(600, CONTEXT).expect("memory");
    assert_eq!((copy.len(), copy.capacity()), (0, CONTEXT));
}

#[test]
fn guesses_across_the_edge_of_the_ring_change_no_logits() {
    let engine = engine(1);
    let text = text(5, LONG);
    let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let script = {
        let text = text.clone();
        move |tokens: &[TokenId]| {
            let at = tokens.len();
            let mut guesses = text[at..(at + crate::MOST_GUESSES).min(LONG)].to_vec();
            // Of some, all are right; others have to be taken back.
            if let Some(guess) = guesses.get_mut(at % 9) {
                *guess = (*guess + 1) % 512;
            }
            guesses
        }
    };
    let mut plain = LocalSequence::new(&engine, whole(&engine));
    let session = engine.new_session().expect("memory");
    let mut guessing = LocalSequence::new(&engine, session).with_script(script);
    let mut both = |tokens: &[TokenId]| {
        let expected = plain.read(tokens, &mut |_| true, bits).expect("it reads");
        let found = guessing.read(tokens, &mut |_| true, bits);
        assert!(
            found.expect("it reads") == expected,
            "{}",
            plain.tokens().len()
        );
    };
    both(&text[..620]);
    text[620..900].iter().for_each(|token| both(&[*token]));
    both(&text[900..1_250]);
    text[1_250..1_300].iter().for_each(|token| both(&[*token]));
    let Drafts { sent, right } = guessing.drafts();
    assert!(right > 100 && sent > right, "{right} of {sent}");
    // Cut back as far as always works, and then further.
    assert_eq!((plain.truncate(800), guessing.truncate(800)), (800, 800));
    assert_eq!((plain.truncate(90), guessing.truncate(90)), (90, 0));
    assert!(guessing.tokens().is_empty());
}

#[test]
fn a_reach_says_what_a_session_says() {
    let engine = engine(1);
    let mut session = engine.new_session().expect("memory");
    let mut reach = Reach::new(&engine.config, CONTEXT);
    for (cut, add) in [(0, 700), (700, 300), (950, 400), (1_340, 160), (30, 80)] {
        session.truncate(cut);
        if reach.of(cut) == 0 {
            reach.restart();
        }
        let _ = read(&engine, &mut session, &text(6, add), 256);
        reach.sent(session.len());
        for len in 0..=session.len() {
            assert_eq!(reach.of(len), session.reach(len), "{len}");
        }
    }
}
