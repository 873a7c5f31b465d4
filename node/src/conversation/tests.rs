//! Conversations with a small random model.

use std::num::NonZeroUsize;

use potluck_model::TensorType;
use potluck_model::gguf::synth::{SynthSpec, TypeMix};

use super::*;
use crate::engine::{Compute, Gguf, LocalSequence, SamplerSettings, Session};

const CONTEXT: usize = 768;

fn engine() -> Engine {
    engine_of("tiny", 1, CONTEXT)
}

fn engine_of(preset: &str, layers: u32, context: usize) -> Engine {
    let mut spec = SynthSpec {
        layers,
        d_model: 32,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        d_ff: 64,
        context: 4096,
        types: TypeMix::uniform(TensorType::F32),
        ..SynthSpec::preset(preset).expect("a preset")
    };
    spec.vocabulary = spec.minimum_vocabulary();
    let gguf = Gguf::parse(spec.to_bytes().expect("a small model")).expect("a model");
    let compute = Compute::new(NonZeroUsize::new(1)).expect("a thread");
    Engine::from_gguf(&gguf, context, compute).expect("it runs")
}

type Talk<'a> = Conversation<LocalSequence<'a, Session>>;

fn talk(engine: &Engine) -> Talk<'_> {
    let session = engine.new_session().expect("memory");
    let sequence = LocalSequence::new(engine, session);
    let system = Some("Always answer in English.".to_owned());
    Conversation::new(engine, sequence, system, PromptOptions::default())
        .expect("it has a template")
}

fn options(seed: u64) -> GenerateOptions {
    let sampling = SamplerSettings {
        seed,
        ..SamplerSettings::default()
    };
    GenerateOptions {
        sampling,
        max_tokens: 20,
        ..GenerateOptions::default()
    }
}

fn say(talk: &mut Talk<'_>, engine: &Engine, text: &str) -> Reply {
    let said = talk.say(engine, text, &options(1), &Cancel::new(), &mut |_| ());
    said.expect("it answers")
}

/// What a turn's prompt was, what of it was held, and how many turns were left out.
fn turn(talk: &mut Talk<'_>, engine: &Engine, number: usize) -> (Vec<TokenId>, usize, usize) {
    let Reply { answer, left_out } = say(talk, engine, &format!("Tell me fact number {number}."));
    let read = answer.prompt_token_ids.len() - answer.reused_tokens;
    (answer.prompt_token_ids.into_inner(), read, left_out)
}

#[test]
fn a_full_context_is_read_again_once_in_several_turns_and_before_the_next_message() {
    let engine = engine();
    let mut talk = talk(&engine);
    let (mut cuts, mut again) = (0, 0);
    let _ = turn(&mut talk, &engine, 0);
    for number in 1..30 {
        let caught_up = talk.catch_up(&engine, &mut || true).expect("it reads");
        let (prompt, read, left_out) = turn(&mut talk, &engine, number);
        assert!(prompt.len() <= CONTEXT - CONTEXT / 4, "turn {number}");
        // Its message, what stands around it, and what was too little to read before.
        assert!(read < 128, "turn {number}: {read} of {}", prompt.len());
        if left_out > 0 {
            assert!(caught_up > 128, "turn {number}: {caught_up}");
            cuts += 1;
            again += caught_up;
        }
    }
    assert!((2..=12).contains(&cuts), "{cuts} in 29 turns");
    assert!(again <= cuts * CONTEXT / 2, "{again} in {cuts} cuts");
}

#[test]
fn no_answer_depends_on_what_was_read_before_its_message() {
    let engine = engine();
    let mut talks = [talk(&engine), talk(&engine), talk(&engine)];
    let mut cuts = 0;
    for number in 0..20 {
        // Nothing, what comes before the first look, and all.
        let mut looks = 0;
        let [_, some, all] = &mut talks;
        let some = some.catch_up(&engine, &mut || {
            looks += 1;
            looks < 2
        });
        let all = all.catch_up(&engine, &mut || true).expect("it reads");
        assert!(some.expect("it reads") <= all);
        let replies = talks.each_mut().map(|talk| {
            let reply = say(talk, &engine, &format!("And number {number}?"));
            cuts += reply.left_out;
            let Answer {
                prompt_token_ids,
                token_ids,
                ..
            } = reply.answer;
            (prompt_token_ids.into_inner(), token_ids.into_inner())
        });
        assert_eq!(replies[0], replies[1], "turn {number}");
        assert_eq!(replies[0], replies[2], "turn {number}");
    }
    assert!(cuts > 0);
}

#[test]
fn an_answer_is_tried_again_after_the_same_turns() {
    let engine = engine();
    let mut talk = talk(&engine);
    let mut prompts = Vec::new();
    for number in 0..20 {
        prompts.push(turn(&mut talk, &engine, number).0);
        let _ = talk.catch_up(&engine, &mut || true).expect("it reads");
        let again = talk.retry(&engine, &options(1), &Cancel::new(), &mut |_| ());
        let again = again.expect("it answers").answer;
        let prompt = again.prompt_token_ids.into_inner();
        assert_eq!(Some(&prompt), prompts.last(), "{number}");
    }
}

#[test]
fn answers_are_those_of_their_prompts_when_early_messages_change_and_windows_are_short() {
    let engine = engine_of("tiny-gemma3", 6, 3_000);
    let mut talk = talk(&engine);
    let long = "A long story. ".repeat(120);
    let mut reused = Vec::new();
    let mut check = |reply: Reply| {
        let answer = reply.answer;
        let session = engine.new_session().expect("memory");
        let mut anew = LocalSequence::new(&engine, session);
        let ids = answer.prompt_token_ids.clone().into_inner();
        let alone = generate_from(
            &engine,
            &mut anew,
            &ids,
            &options(1),
            &Cancel::new(),
            &mut |_| (),
        );
        assert!(alone.expect("it answers").token_ids == answer.token_ids);
        reused.push((answer.reused_tokens, ids.len()));
    };
    check(say(&mut talk, &engine, &long));
    check(say(&mut talk, &engine, "What came next?"));
    let again = talk.retry(&engine, &options(1), &Cancel::new(), &mut |_| ());
    check(again.expect("it answers"));
    talk.set_system(Some("Always answer in French.".to_owned()));
    check(say(&mut talk, &engine, "And then?"));
    let held = talk.catch_up(&engine, &mut || true);
    assert_eq!(held.expect("it reads"), 0);
    check(say(&mut talk, &engine, "And in the end?"));
    let [first, next, retried, changed, last] = reused[..] else {
        panic!("{reused:?}");
    };
    assert!(first.0 == 0 && first.1 > 640);
    assert!(next.0 > 640 && retried.0 + 1 == retried.1, "{reused:?}");
    // The changed system message is read with all behind it, once.
    assert!(changed.0 == 0 && last.0 > 640, "{reused:?}");
}
