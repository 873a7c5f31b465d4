//! Guesses alone: answers of the real binary with guesses and without, and the built-in draft head
//! against the arithmetic it was trained with.

use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::time::Instant;

use potluck::Cancel;
use potluck::engine::{OpenOptions, open};
use potluck::home::Home;
use potluck::packed_store::{PackedStore, Packing};
use potluck_model::sampler::SamplerSettings;
use potluck_model::{
    Chosen, Drafter, Engine, EngineOptions, GenerateOptions, Generator, HeadFile, HeadOutput,
    LocalSequence, Part, Sequence, Session, Wants, generate,
};
use potluck_tests::{Device, PROMPTS, model_path, workspace};
use serde_json::Value;

const MODEL: &str = "smollm2:135m";

fn head() -> HeadFile {
    let path = workspace().join("model/heads/smollm2-135m-instruct.safetensors");
    HeadFile::parse(fs::read(path).expect("it is there")).expect("a head")
}

fn engine() -> Engine {
    let mut engine =
        Engine::open(&model_path(MODEL), &EngineOptions::default()).expect("the model opens");
    engine.use_draft_head(&head()).expect("of this model");
    engine
}

/// The engine with packed weights, as answers have it after a short while: for measuring.
fn packed_engine() -> (Engine, Packing) {
    let path = model_path(MODEL);
    let options = OpenOptions {
        drafts: true,
        context: NonZeroUsize::new(2048),
        ..OpenOptions::default()
    };
    let opened = open(&path, &options).expect("the model opens");
    let home = Home::at(path.ancestors().nth(2).expect("models/NAME"));
    let store = PackedStore::of(&home, None, |problem| println!("{problem}"));
    let packing = store.pack_file(opened.engine.shard(), opened.file);
    let packed = packing.wait(&Cancel::new());
    assert_eq!((packed.ready, packed.problem), (packed.parts, None));
    (opened.engine, packing)
}

/// The answers to some prompts, with guesses and without.
fn both(arguments: &[&str]) -> [Value; 2] {
    let device = Device::with_model(MODEL);
    let ask = |more: &[&str]| {
        let all = [&["run", "--json"], arguments, more].concat();
        device.potluck(all).success().json()
    };
    [ask(&[]), ask(&["--no-drafts"])]
}

#[test]
fn answers_with_guesses_have_the_tokens_of_those_without() {
    let list = "List: 1. apple 2. pear 3. plum 4. apple 5. pear 6. plum 7. apple 8. pear";
    for arguments in [
        &["--greedy", "-n", "60", "List ten facts about whales."][..],
        &["--seed", "7", "-n", "60", "Tell me of a journey."],
        &["--raw", "--greedy", "-n", "60", list],
        &[
            "--seed",
            "3",
            "--repetition-penalty",
            "1.3",
            "-n",
            "40",
            "Why is the sky blue?",
        ],
    ] {
        let [with, without] = both(arguments);
        assert_eq!(with["token_ids"], without["token_ids"], "{arguments:?}");
        assert_eq!(with["text"], without["text"]);
        assert_eq!(with["stop_reason"], without["stop_reason"]);
        assert_eq!(without["drafts"]["sent"], 0);
        println!("{arguments:?}: {}", with["drafts"]);
        assert!(with["drafts"]["right"].as_u64() <= with["drafts"]["sent"].as_u64());
    }
}

#[test]
fn statistics_tell_of_guesses() {
    let device = Device::with_model(MODEL);
    let list = "one two three one two three one two three one two";
    let arguments = ["run", "--raw", "--greedy", "-n", "20", "--stats", list];
    let told = device.potluck(arguments).success().stderr;
    assert!(told.contains("guesses right"), "{told}");
    let plain = device.potluck(arguments.into_iter().chain(["--no-drafts"]));
    assert!(!plain.success().stderr.contains("guesses"));
}

#[test]
fn a_head_for_another_model_is_named_and_the_answer_comes_without_it() {
    let device = Device::new();
    let model = device.folder().join("tiny.gguf");
    let synth = ["synth", model.to_str().expect("text"), "--quiet"];
    let _ = device.potluck(synth).success();
    fs::copy(
        workspace().join("model/heads/smollm2-135m-instruct.safetensors"),
        device.folder().join("tiny.draft.safetensors"),
    )
    .expect("copied");
    let arguments = ["run", "--raw", "--greedy", "-n", "5", "--model"];
    let ask = |more: &[&str]| {
        let all = [&arguments[..], &[model.to_str().expect("text"), "Hi"], more].concat();
        device.potluck(all).success()
    };
    let told = ask(&[]);
    let words = [
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "tiny.draft.safetensors",
        "warning",
    ];
    for word in words {
        assert!(told.stderr.contains(word), "{}", told.stderr);
    }
    let plain = ask(&["--no-drafts"]);
    assert_eq!(plain.stdout, told.stdout);
    assert!(!plain.stderr.contains("warning"), "{}", plain.stderr);
}

/// The arithmetic of the training script in NumPy, with the trained half floats in place of 8-bit
/// weights: norms of the states, the first numbers of the last state, the greatest logits.
#[test]
fn the_head_computes_what_it_was_trained_to() {
    const TOKENS: [u32; 6] = [1, 4093, 198, 504, 6330, 314];
    const NORMS: [f32; 6] = [43.7673, 45.6598, 46.0171, 42.1263, 39.4992, 40.5954];
    const LAST: [f32; 12] = [
        -0.5048, -0.6957, -0.1853, -0.7738, 1.015, -2.3624, -1.4375, 0.4895, -2.2327, -0.5289,
        0.9027, 1.849,
    ];
    const TOP: [(u32, f32); 5] = [
        (1566, 22.59),
        (92, 22.42),
        (5087, 22.196),
        (99, 22.025),
        (93, 21.532),
    ];
    let engine = engine();
    let head = engine.draft_head().expect("it has one");
    let d_model = engine.config().d_model;
    let hidden = (0..TOKENS.len() * d_model).map(|at| {
        let (i, j) = (at / d_model, at % d_model);
        (((i * 7919 + j * 104_729) % 2003) as f32 - 1001.0) / 512.0
    });
    let hidden: Vec<f32> = hidden.collect();
    let HeadOutput { states, logits } = head.evaluate(&hidden, &TOKENS).expect("memory");
    for (state, expected) in states.chunks(d_model).zip(NORMS) {
        let norm = state.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm / expected - 1.0).abs() < 0.01, "{norm}, {expected}");
    }
    let last = &states[states.len() - d_model..];
    for (found, expected) in last.iter().zip(LAST) {
        assert!((found - expected).abs() < 0.15, "{found}, {expected}");
    }
    for (token, expected) in TOP {
        let found = logits
            .iter()
            .find(|(id, _)| *id == token)
            .expect("it is one");
        assert!((found.1 - expected).abs() < 0.5, "{found:?}, {expected}");
    }
}

/// How many first guesses of a drafter are right in an answer, and how many it makes. It hears the
/// states of the prompt if `hears_prompt`, as it does alone, or only the last one, as in a ring.
fn first_guesses(
    engine: &Engine,
    drafter: &mut Drafter,
    prompt: &str,
    sampling: &SamplerSettings,
    hears_prompt: bool,
) -> (usize, usize) {
    let text = format!("{SYSTEM}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n");
    let special = potluck_model::tokenizer::SpecialTokens::Parse;
    let ids = engine.tokenizer().encode(&text, special);
    let options = GenerateOptions {
        sampling: sampling.clone(),
        max_tokens: 100,
        ..GenerateOptions::default()
    };
    let mut sequence = LocalSequence::new(engine, engine.new_session().expect("memory"));
    let mut go_on = |_: potluck_model::Event<'_>| ControlFlow::Continue(());
    let answer = generate(
        &mut sequence,
        engine.tokenizer(),
        &ids,
        &options,
        &mut go_on,
    );
    let answer = answer.expect("it answers").token_ids;
    let all = [&ids[..], &answer].concat();
    let mut session = engine.new_session().expect("memory");
    let mut states = Vec::new();
    let mut part = Part::reading(&mut session, &all);
    part.states = Some(&mut states);
    engine.step(&mut [part], &mut |_, _| ()).expect("it reads");
    drafter.chosen_with(sampling, ids.len());
    let (mut right, mut made) = (0, 0);
    for (at, state) in states.chunks(engine.config().d_model).enumerate() {
        if hears_prompt || at + 1 >= ids.len() {
            drafter.hear(at, state);
        }
        let known = at + 2;
        if known > ids.len() && known < all.len() {
            made += 1;
            right += usize::from(drafter.guess(&all[..known], known) == Some(all[known]));
        }
    }
    (right, made)
}

#[test]
fn the_head_guesses_most_tokens_of_an_answer_right() {
    let engine = engine();
    let sampled = SamplerSettings {
        seed: 7,
        ..SamplerSettings::default()
    };
    let prompts = ["Why is the sky blue?", "List ten facts about whales."];
    for (sampling, least) in [(SamplerSettings::greedy(), 0.3), (sampled, 0.25)] {
        for hears_prompt in [true, false] {
            let (mut right, mut made) = (0, 0);
            for prompt in prompts {
                let mut drafter = engine.drafter(2048);
                let counts = first_guesses(&engine, &mut drafter, prompt, &sampling, hears_prompt);
                (right, made) = (right + counts.0, made + counts.1);
            }
            let share = right as f64 / made as f64;
            println!(
                "{}, {hears_prompt}: {share:.3} of {made}",
                sampling.temperature
            );
            assert!(share > least, "{share} of {made}");
        }
    }
}

/// Of all prompts of the measurements in the ring: the share of first guesses that are right, with
/// the head and with lookup alone.
/// `cargo test --release --workspace --test guesses -- --ignored --nocapture acceptance`
#[test]
#[ignore = "for measuring"]
fn acceptance_over_nine_prompts() {
    let (engine, _packing) = packed_engine();
    for temperature in [0.0, 0.7] {
        let sampling = SamplerSettings {
            temperature,
            seed: 7,
            ..SamplerSettings::default()
        };
        for (name, with_head, hears) in [
            ("lookup", false, false),
            ("head, alone", true, true),
            ("head, in a ring", true, false),
        ] {
            let (mut right, mut made) = (0, 0);
            for prompt in PROMPTS {
                let mut drafter = match with_head {
                    true => engine.drafter(2048),
                    false => Drafter::default(),
                };
                let counts = first_guesses(&engine, &mut drafter, prompt, &sampling, hears);
                (right, made) = (right + counts.0, made + counts.1);
            }
            let share = right as f64 / made as f64;
            println!("temperature {temperature}, {name}: {share:.3} of {made}");
        }
    }
}

/// What a step of several rows and a guess of the head cost, next to a step of one row.
/// `cargo test --release --workspace --test guesses -- --ignored --nocapture costs`
#[test]
#[ignore = "for measuring"]
fn costs_of_steps_and_of_guesses() {
    let (engine, _packing) = packed_engine();
    let mut drafter = engine.drafter(2048);
    let mut session = engine.new_session().expect("memory");
    let text: Vec<u32> = (0..200).map(|at| 1000 + at * 7919 % 40_000).collect();
    let mut states = Vec::new();
    let mut part = Part::reading(&mut session, &text);
    part.states = Some(&mut states);
    engine.step(&mut [part], &mut |_, _| ()).expect("it reads");
    let (mut steps, mut guesses) = (vec![Vec::new(); 8], Vec::new());
    let mut states = states.chunks(engine.config().d_model).enumerate().cycle();
    for _round in 0..40 {
        for rows in 1..=8 {
            session.truncate(200);
            let mut part = Part::reading(&mut session, &text[..rows]);
            part.wants = Wants::EachLogits;
            let began = Instant::now();
            engine.step(&mut [part], &mut |_, _| ()).expect("it reads");
            steps[rows - 1].push(began.elapsed().as_secs_f64() * 1e3);
        }
        let (at, state) = states.next().expect("it repeats");
        if at + 2 < text.len() {
            drafter.hear(at, state);
            let began = Instant::now();
            let _ = drafter.guess(&text[..at + 2], at + 2);
            guesses.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let steps: Vec<_> = steps.iter_mut().map(median).collect();
    for (rows, took) in (1..).zip(&steps) {
        println!(
            "{rows} rows: {took:.2} ms, {:.2} times one",
            took / steps[0]
        );
    }
    let guess = median(&mut guesses);
    println!("a guess: {guess:.2} ms, {:.2} of a step", guess / steps[0]);
}

/// One side of a comparison: an answer, and the time that its tokens took.
struct Side<'e> {
    sequence: LocalSequence<'e, Session>,
    generator: Generator<'e>,
    next: Vec<u32>,
    seconds: f64,
}

impl<'e> Side<'e> {
    fn new(engine: &'e Engine, ids: &[u32], sampling: &SamplerSettings, drafts: bool) -> Self {
        let session = engine.new_session().expect("memory");
        let sequence = LocalSequence::new(engine, session);
        let mut sequence = match drafts {
            true => sequence.with_drafts(),
            false => sequence,
        };
        sequence.chosen_with(sampling, ids.len());
        let options = GenerateOptions {
            sampling: sampling.clone(),
            max_tokens: 200,
            ..GenerateOptions::default()
        };
        Self {
            sequence,
            generator: Generator::new(engine.tokenizer(), options, ids.to_vec()),
            next: ids.to_vec(),
            seconds: 0.0,
        }
    }

    /// Answers up to so many tokens; false at the end of the answer. The prompt takes no time.
    fn until(&mut self, tokens: usize) -> bool {
        while self.generator.generated().len() < tokens {
            let began = Instant::now();
            let choose = |logits: &[f32]| self.generator.choose(logits);
            let chosen = self.sequence.read(&self.next, &mut |_| true, choose);
            let chosen = chosen
                .expect("it reads")
                .expect("to the end")
                .expect("numbers");
            if self.next.len() == 1 {
                self.seconds += began.elapsed().as_secs_f64();
            }
            match chosen {
                Chosen::Token(token) => self.next = vec![token.id],
                Chosen::End(_) => return false,
            }
            if self.generator.ended().is_some() {
                return false;
            }
        }
        true
    }
}

/// What guesses gain alone: the time of an answer without them, divided by that with them. Both take
/// turns of a few tokens, so that a busy machine disturbs both alike.
/// `cargo test --release --workspace --test guesses -- --ignored --nocapture rates`
#[test]
#[ignore = "for measuring"]
fn rates_over_nine_prompts() {
    let (engine, _packing) = packed_engine();
    let special = potluck_model::tokenizer::SpecialTokens::Parse;
    let measure = |name: &str, text: &str, sampling: &SamplerSettings| {
        let ids = engine.tokenizer().encode(text, special);
        let mut plain = Side::new(&engine, &ids, sampling, false);
        let mut guessing = Side::new(&engine, &ids, sampling, true);
        let more = |tokens: &usize| plain.until(*tokens) & guessing.until(*tokens);
        let _ = (8..=200).step_by(8).take_while(more).count();
        let count = plain.generator.generated().len();
        assert_eq!(plain.generator.generated(), guessing.generator.generated());
        let gain = plain.seconds / guessing.seconds;
        let rate = count as f64 / plain.seconds;
        println!(
            "{name}: {gain:.2} times {rate:.0} tokens/s, {:?} of {count}",
            guessing.sequence.drafts()
        );
        gain
    };
    let greedy = SamplerSettings::greedy();
    let sampled = SamplerSettings {
        seed: 7,
        ..SamplerSettings::default()
    };
    for sampling in [&greedy, &sampled] {
        let of_prompt = |prompt: &&str| {
            let text =
                format!("{SYSTEM}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n");
            measure(prompt, &text, sampling)
        };
        let mut gains: Vec<_> = PROMPTS.iter().map(of_prompt).collect();
        gains.sort_by(f64::total_cmp);
        println!(
            "temperature {}: median {:.2}",
            sampling.temperature, gains[4]
        );
    }
    measure("repetition", TABLE, &greedy);
    let wild = SamplerSettings {
        temperature: 2.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ..sampled
    };
    measure("cannot be guessed", "Tell me of a journey.", &wild);
}

const TABLE: &str = "[{\"name\": \"apple\", \"colour\": \"red\", \"price\": 1}, {\"name\": \"pear\", \
                     \"colour\": \"green\", \"price\": 2}, {\"name\": \"plum\", \"colour\": \"blue\", \
                     \"price\": 3}, {\"name\": \"cherry\", \"colour\": \"red\", \"price\": 4}, {\"name\": \
                     \"lime\", ";

/// What the model's chat template begins with.
const SYSTEM: &str = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by \
                      Hugging Face<|im_end|>\n";
