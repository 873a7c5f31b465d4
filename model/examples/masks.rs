//! What masks cost: `masks MODEL.gguf [TOKENS]` prints how long it takes to order the vocabulary, the
//! first mask of several grammars, and the share that masks have of the time of decoding.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use potluck_model::grammar::{Grammar, Grammars};
use potluck_model::sampler::{Mask, MaskError, SamplerSettings};
use potluck_model::tokenizer::{SpecialTokens, TokenId};
use potluck_model::{Chosen, Engine, EngineOptions, GenerateOptions, Generator};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A mask that tells the time it takes, in nanoseconds: all, and the longest step.
struct Timed {
    mask: Box<dyn Mask>,
    spent: Arc<[AtomicU64; 2]>,
}

impl Timed {
    fn time<T>(&mut self, act: impl FnOnce(&mut dyn Mask) -> T) -> T {
        let start = Instant::now();
        let result = act(&mut *self.mask);
        let took = start.elapsed().as_nanos() as u64;
        self.spent[0].fetch_add(took, Relaxed);
        self.spent[1].fetch_max(took, Relaxed);
        result
    }
}

impl Mask for Timed {
    fn apply(&mut self, logits: &mut [f32]) -> Result<(), MaskError> {
        self.time(|mask| mask.apply(logits))
    }

    fn accept(&mut self, token: TokenId) -> Result<(), MaskError> {
        self.time(|mask| mask.accept(token))
    }

    fn is_finished(&self) -> bool {
        self.mask.is_finished()
    }
}

fn grammars() -> Vec<(&'static str, Grammar)> {
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "born": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
            "notes": {"type": "array", "items": {"type": "string"}, "minItems": 5},
        },
        "required": ["name", "age", "born", "tags", "notes"],
        "additionalProperties": false,
    });
    vec![
        ("json_object", Grammar::json_object()),
        ("json_schema", Grammar::json_schema(person)),
        ("regex", Grammar::regex("([A-Z][a-z]+ ){40}end")),
        (
            "lark",
            Grammar::lark("start: (word \" \")+ \".\"\nword: /[a-z]{1,12}/"),
        ),
    ]
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a model file")?;
    let tokens = arguments.next().map_or(Ok(128), |count| count.parse())?;
    let engine = Engine::open(Path::new(&path), &EngineOptions::default())?;

    let start = Instant::now();
    Grammars::new(engine.tokenizer())?;
    let vocabulary = engine.tokenizer().vocabulary_size();
    println!(
        "vocabulary of {vocabulary} ordered in {:.1?}",
        start.elapsed()
    );
    engine.grammars()?;

    // Warm.
    decode(&engine, tokens, None)?;
    let (count, took) = decode(&engine, tokens, None)?;
    println!("without a mask: {count} tokens, {:.2?} each", took / count);
    for (name, grammar) in grammars() {
        let start = Instant::now();
        let mut mask = engine.grammars()?.mask(&grammar)?;
        let read = start.elapsed();
        mask.apply(&mut vec![0.0; engine.config().vocabulary])?;
        let first = start.elapsed();

        let spent = Arc::<[AtomicU64; 2]>::default();
        let mask = Box::new(Timed {
            mask: engine.grammars()?.mask(&grammar)?,
            spent: spent.clone(),
        });
        let (count, took) = decode(&engine, tokens, Some(mask))?;
        let [all, longest] = [0, 1].map(|at| Duration::from_nanos(spent[at].load(Relaxed)));
        println!(
            "{name}: read in {read:.1?}, first mask after {first:.1?}; {count} tokens, {:.2?} each, of which \
             masks {:.1?} or {:.1} %, the longest {longest:.1?}",
            took / count,
            all / count,
            100.0 * all.as_secs_f64() / took.as_secs_f64(),
        );
    }
    Ok(())
}

/// Decodes, and returns the tokens and the time from the first on.
fn decode(engine: &Engine, tokens: usize, mask: Option<Box<dyn Mask>>) -> Outcome<(u32, Duration)> {
    let options = GenerateOptions {
        sampling: SamplerSettings::default(),
        max_tokens: tokens,
        ..GenerateOptions::default()
    };
    let prompt = "Describe a person, in as many words as it takes:";
    let prompt = engine.tokenizer().encode(prompt, SpecialTokens::AsText);
    let mut generator = Generator::new(engine.tokenizer(), options, prompt.clone());
    if let Some(mask) = mask {
        generator = generator.with_mask(mask);
    }
    let mut session = engine.new_session()?;
    let mut next = prompt;
    let mut start = None;
    let mut count = 0;
    while generator.ended().is_none() {
        let choose = |logits: &[f32]| generator.choose(logits);
        let chosen = engine.prefill(&mut session, &next, &mut |_| true, choose)?;
        let Some(Chosen::Token(token)) = chosen.transpose()? else {
            break;
        };
        match start {
            // The first comes out of the prefill.
            None => start = Some(Instant::now()),
            Some(_) => count += 1,
        }
        next = vec![token.id];
    }
    let took = start.map_or(Duration::ZERO, |start| start.elapsed());
    Ok((count.max(1), took))
}
