//! Guesses change no token: answers with guesses equal those without, whatever is guessed.

use std::num::NonZeroUsize;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::drafts::HeadFile;
use crate::drafts::head_tests::Parts;
use crate::gguf::synth::SynthSpec;
use crate::sampler::{LogitBias, Mask, MaskError, SamplerSettings};
use crate::tokenizer::TokenId;

fn engine(preset: &str) -> Engine {
    let spec = SynthSpec::preset(preset).expect("a preset");
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = Compute::new(NonZeroUsize::new(1)).expect("threads");
    Engine::from_gguf(&gguf, 256, compute).expect("it runs")
}

/// Allows every token but those of one residue, another one at each position, for a limited time.
struct Residue {
    seen: usize,
    length: usize,
}

impl Mask for Residue {
    fn apply(&mut self, logits: &mut [f32]) -> Result<(), MaskError> {
        let forbidden = self.seen % 3;
        for (id, logit) in logits.iter_mut().enumerate() {
            if id % 3 == forbidden {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), MaskError> {
        assert_ne!(token as usize % 3, self.seen % 3);
        self.seen += 1;
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.seen >= self.length
    }
}

/// A question of the property.
#[derive(Debug, Clone)]
struct Case {
    prompt: Vec<TokenId>,
    sampling: SamplerSettings,
    max_tokens: usize,
    capacity: usize,
    logprobs: Option<usize>,
    /// A mask that ends after so many tokens.
    mask: Option<usize>,
    /// Where the stop text is in the plain answer's text.
    stop: Option<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let sampling = (
        prop_oneof![Just(0.0_f32), 0.2_f32..1.5],
        prop_oneof![Just(1.0_f32), 0.5_f32..2.0],
        prop_oneof![Just(0.0_f32), -1.0_f32..1.0],
        0usize..30,
        any::<u32>(),
        vec((0u32..512, -5.0_f32..5.0), 0..4),
    );
    let sampling = sampling.prop_map(|(temperature, repetition, presence, top_k, seed, bias)| {
        SamplerSettings {
            temperature,
            repetition_penalty: repetition,
            presence_penalty: presence,
            frequency_penalty: presence / 2.0,
            top_k,
            seed: seed.into(),
            logit_bias: LogitBias::new(bias).expect("finite"),
            ..SamplerSettings::default()
        }
    });
    let case = (
        vec(0u32..512, 1..30),
        sampling,
        1usize..24,
        32usize..64,
        proptest::option::of(0usize..3),
        proptest::option::of(1usize..20),
        proptest::option::of(0usize..20),
    );
    case.prop_map(
        |(prompt, sampling, max_tokens, capacity, logprobs, mask, stop)| Case {
            prompt,
            sampling,
            max_tokens,
            capacity,
            logprobs,
            mask,
            stop,
        },
    )
}

/// The tokens of an answer with their texts and log-probabilities, the last of the text, why it
/// ended, and the tokens in the session.
type Told = (Vec<ChosenToken>, String, StopReason, Vec<TokenId>);

fn tell<S: Sequence<Error = ModelError>>(
    engine: &Engine,
    mut sequence: S,
    case: &Case,
    stop: &[String],
) -> Told {
    let options = GenerateOptions {
        sampling: case.sampling.clone(),
        max_tokens: case.max_tokens,
        stop: stop.to_vec(),
        logprobs: case.logprobs,
    };
    let mut generator = Generator::new(engine.tokenizer(), options, case.prompt.clone());
    if let Some(length) = case.mask {
        generator = generator.with_mask(Box::new(Residue { seen: 0, length }));
    }
    sequence.chosen_with(&case.sampling, case.prompt.len());
    let mut next = case.prompt.clone();
    let mut tokens = Vec::new();
    let reason = loop {
        if next.len() > sequence.free() {
            break StopReason::ContextFull;
        }
        let chosen = sequence.read(&next, &mut |_| true, |logits| generator.choose(logits));
        match chosen
            .expect("it reads")
            .expect("to the end")
            .expect("numbers")
        {
            Chosen::Token(token) => {
                next = vec![token.id];
                tokens.push(token);
            }
            Chosen::End(reason) => break reason,
        }
        if let Some(reason) = generator.ended() {
            break reason;
        }
    };
    let read = sequence.tokens().to_vec();
    (tokens, generator.finish(), reason, read)
}

/// Guesses of a known continuation: of `text`, so many at a time, some of them wrong.
fn script(
    text: Vec<TokenId>,
    lengths: Vec<usize>,
    wrong: u32,
) -> impl FnMut(&[TokenId]) -> Vec<TokenId> {
    let mut lengths = lengths.into_iter().cycle();
    move |tokens: &[TokenId]| {
        let length = lengths.next().unwrap_or(0);
        let rest = text.get(tokens.len()..).unwrap_or_default();
        let rest = rest.iter().copied().chain(std::iter::repeat(7));
        let places = (tokens.len()..).take(length);
        rest.zip(places)
            .map(|(token, at)| match (at as u32 * 37 + wrong) % 5 {
                0 => (token + 1) % 512,
                _ => token,
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_same_whatever_is_guessed(
        case in cases(),
        lengths in vec(0usize..8, 1..6),
        wrong in 0u32..5,
        preset in prop_oneof![Just("tiny"), Just("tiny-gemma3"), Just("tiny-qwen3")],
    ) {
        let engine = engine(preset);
        let session = || engine.session(case.capacity).expect("memory");
        let plain = |stop: &[String]| {
            tell(&engine, LocalSequence::new(&engine, session()), &case, stop)
        };
        let mut expected = plain(&[]);
        let mut stop = Vec::new();
        if let Some(text) = case.stop.and_then(|at| expected.0.get(at)).map(|token| token.text.clone())
            && !text.is_empty()
        {
            stop.push(text);
            expected = plain(&stop);
        }
        let text = expected.0.iter().map(|token| token.id);
        let text: Vec<_> = case.prompt.iter().copied().chain(text).collect();
        let scripted = LocalSequence::new(&engine, session());
        let scripted = scripted.with_script(script(text, lengths, wrong));
        prop_assert_eq!(&tell(&engine, scripted, &case, &stop), &expected);
        let drafted = LocalSequence::new(&engine, session()).with_drafts();
        prop_assert_eq!(&tell(&engine, drafted, &case, &stop), &expected);
        if preset == "tiny" {
            let mut engine = self::engine(preset);
            let head = HeadFile::parse(Parts::of(engine.config()).bytes()).expect("a head");
            engine.use_draft_head(&head).expect("of this model");
            let session = engine.session(case.capacity).expect("memory");
            let drafted = LocalSequence::new(&engine, session).with_drafts();
            prop_assert_eq!(&tell(&engine, drafted, &case, &stop), &expected);
            let other = drafting(|spec| spec.layers = 1);
            let drafted = LocalSequence::new(&other, other.session(case.capacity).expect("memory")).with_drafts();
            prop_assert_eq!(&tell(&other, drafted, &case, &stop), &expected);
        }
    }
}

/// The tiny model with a drafter: itself after this change.
fn drafting(change: impl FnOnce(&mut SynthSpec)) -> Engine {
    let mut engine = engine("tiny");
    let mut spec = SynthSpec::preset("tiny").expect("a preset");
    change(&mut spec);
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = engine.shard().compute().clone();
    let drafter = Engine::from_gguf(&gguf, 256, compute).expect("it runs");
    let model = DraftModel::new(drafter, &engine).expect("its tokens");
    engine.use_draft_model(model);
    engine
}

#[test]
fn a_model_guesses_all_of_its_own_tokens() {
    let engine = drafting(|_| ());
    let greedy = SamplerSettings::greedy();
    let sampled = SamplerSettings {
        temperature: 1.2,
        presence_penalty: 0.5,
        seed: 9,
        ..SamplerSettings::default()
    };
    for sampling in [greedy, sampled] {
        let options = GenerateOptions {
            sampling: sampling.clone(),
            max_tokens: 500,
            ..GenerateOptions::default()
        };
        // More than a drafter's first room.
        let capacity = 700;
        let prompt: Vec<TokenId> = (0..300).map(|at| 70 + at * 13 % 400).collect();
        let session = engine.session(capacity).expect("memory");
        let mut sequence = LocalSequence::new(&engine, session);
        let mut generator = Generator::new(engine.tokenizer(), options, prompt.clone());
        let model = engine.draft_model().expect("it has one");
        let mut source = model.source(capacity);
        source.chosen_with(&sampling, prompt.len());
        let mut next = prompt.clone();
        while generator.tokens().len() < capacity {
            let known = generator.tokens().to_vec();
            // A prompt is read in parts.
            while !source.catch_up(&known) {}
            let mut guess = |tokens: &[TokenId]| {
                let guess = source.guess(tokens, known.len());
                guess.map(|(token, _)| token)
            };
            let guessed = guess(&known);
            // Chains that are not used must not matter.
            let chain = [&known[..], &guessed.map_or(vec![], |token| vec![token])].concat();
            let _ = guess(&chain);
            let _ = guess(&[&known[..], &[5, 6]].concat());
            let choose = |logits: &[f32]| generator.choose(logits);
            let chosen = sequence.read(&next, &mut |_| true, choose);
            match chosen
                .expect("it reads")
                .expect("to the end")
                .expect("numbers")
            {
                Chosen::Token(token) => {
                    assert_eq!(guessed, Some(token.id), "at {}", known.len());
                    next = vec![token.id];
                }
                Chosen::End(_) => break,
            }
            if generator.ended().is_some() {
                break;
            }
        }
        assert!(generator.generated().len() > 10, "{:?}", generator.ended());
    }
}

#[test]
fn a_drafter_with_other_tokens_or_too_short_a_context_guesses_nothing() {
    let engine = engine("tiny");
    let spec = SynthSpec {
        vocabulary: 400,
        ..SynthSpec::preset("tiny").expect("a preset")
    };
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = engine.shard().compute().clone();
    let other = Engine::from_gguf(&gguf, 64, compute).expect("it runs");
    let error = DraftModel::new(other, &engine).expect_err("other tokens");
    let words = error.to_string();
    assert!(
        words.contains("its token") || words.contains("400 tokens"),
        "{words}"
    );
    let engine = drafting(|spec| spec.context = 256);
    let model = engine.draft_model().expect("it has one");
    assert!((model.share() - 1.0).abs() < 1e-9);
    let mut drafter = model.drafter(10_000);
    let text: Vec<TokenId> = (0..257).map(|at| 70 + at % 400).collect();
    assert!(drafter.guess(&text[..30], 30).is_some());
    assert_eq!(drafter.guess(&text, 257), None);
    assert!(model.kv_bytes(10_000) == model.kv_bytes(256) && model.kv_bytes(10) > 0);
}

#[test]
fn right_guesses_spare_steps_and_a_borrowed_session_keeps_only_what_was_read() {
    let engine = engine("tiny");
    let prompt: Vec<TokenId> = (0..20).map(|at| at * 13 % 512).collect();
    let mut session = engine.new_session().expect("memory");
    let greedy = GenerateOptions {
        sampling: SamplerSettings::greedy(),
        max_tokens: 40,
        ..GenerateOptions::default()
    };
    let mut go_on = |_: Event<'_>| std::ops::ControlFlow::Continue(());
    let plain = {
        let mut sequence = LocalSequence::new(&engine, &mut session);
        generate(
            &mut sequence,
            engine.tokenizer(),
            &prompt,
            &greedy,
            &mut go_on,
        )
    };
    let plain = plain.expect("it answers");
    let expected = session.tokens().to_vec();
    session.truncate(0);
    let text = [&prompt[..], &plain.token_ids].concat();
    let drafts = {
        let sequence = LocalSequence::new(&engine, &mut session);
        // Some guesses go beyond the end.
        let mut sequence = sequence.with_script(script(text, vec![4], 5));
        let same = generate(
            &mut sequence,
            engine.tokenizer(),
            &prompt,
            &greedy,
            &mut go_on,
        );
        assert_eq!(same.expect("it answers").token_ids, plain.token_ids);
        assert!(sequence.tokens() == expected);
        sequence.drafts()
    };
    assert!(
        drafts.right >= 20 && drafts.sent > drafts.right,
        "{drafts:?}"
    );
    assert_eq!(session.tokens(), expected);
}

#[test]
fn a_sequence_with_guesses_can_be_cut_and_go_on() {
    let engine = engine("tiny");
    let text: Vec<TokenId> = (0..60).map(|at| at * 7 % 90).collect();
    let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let session = || engine.new_session().expect("memory");
    let mut plain = LocalSequence::new(&engine, session());
    let sequence = LocalSequence::new(&engine, session());
    let mut guessing = sequence.with_script(script(text.clone(), vec![3, 0, 6], 2));
    let mut both = |tokens: &[TokenId], cut: Option<usize>| {
        if let Some(len) = cut {
            plain.truncate(len);
            guessing.truncate(len);
        }
        let expected = plain.read(tokens, &mut |_| true, bits).expect("it reads");
        let found = guessing
            .read(tokens, &mut |_| true, bits)
            .expect("it reads");
        assert!(expected == found && plain.tokens() == guessing.tokens());
    };
    both(&text[..10], None);
    text[10..30].iter().for_each(|token| both(&[*token], None));
    both(&[3], Some(12));
    both(&[4, 5], Some(11));
    text[13..40].iter().for_each(|token| both(&[*token], None));
    // In the middle of guesses that are already computed.
    both(&text[20..], Some(20));
    // A read that is cancelled keeps the token.
    let stopped = guessing.read(&[9], &mut |_| false, |_| ());
    assert!(stopped.expect("it reads").is_none());
    assert_eq!(guessing.tokens().len(), 61);
}
