//! Prints how many tokens a second a model decodes for several sequences that are stepped together.
//!
//! `streams MODEL.gguf [THREADS]`: for each number of sequences the tokens a second of all of them,
//! the best of three runs, and how many times those of one sequence that is.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use potluck_model::{Engine, EngineOptions, ModelError, Part, Session};

/// Tokens of each sequence's prompt.
const PROMPT: usize = 64;
/// Steps that are timed together.
const STEPS: usize = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the path of a .gguf file")?;
    let threads = arguments.next().map(|count| count.parse::<NonZeroUsize>());
    let options = EngineOptions {
        threads: threads.transpose()?,
        ..EngineOptions::default()
    };
    let engine = Engine::open(Path::new(&path), &options)?;
    println!("{} threads, {}", engine.threads(), engine.isa());
    let mut alone = None;
    for count in [1, 2, 4, 8, 12, 16, 17, 24, 32, 48, 64] {
        let rates = (0..3).map(|_| rate(&engine, count));
        let rates = rates.collect::<Result<Vec<_>, _>>()?;
        let best = rates.into_iter().fold(0.0, f64::max);
        let alone = *alone.get_or_insert(best);
        println!(
            "{count:3} sequences: {best:7.1} tokens/s, {:5.2} times one",
            best / alone
        );
    }
    Ok(())
}

/// Tokens a second of so many sequences, all together.
fn rate(engine: &Engine, count: usize) -> Result<f64, ModelError> {
    let vocabulary = engine.config().vocabulary as u32;
    let tokens = |seed: usize| -> Vec<_> {
        let numbers = (0..PROMPT as u32).map(|at| (at * 37 + seed as u32 * 1013) % vocabulary);
        numbers.collect()
    };
    let mut sessions = Vec::new();
    for seed in 0..count {
        let mut session = engine.session(PROMPT + STEPS + 1)?;
        engine.prefill(&mut session, &tokens(seed), &mut |_| true, |_| ())?;
        sessions.push(session);
    }
    step(engine, &mut sessions)?;
    let began = Instant::now();
    for _ in 0..STEPS {
        step(engine, &mut sessions)?;
    }
    Ok((STEPS * count) as f64 / began.elapsed().as_secs_f64())
}

fn step(engine: &Engine, sessions: &mut [Session]) -> Result<(), ModelError> {
    let parts = sessions.iter_mut();
    let mut parts: Vec<_> = parts
        .map(|session| Part::with_logits(session, &[7]))
        .collect();
    let mut failed = None;
    engine.step(&mut parts, &mut |_part, logits| failed = logits.err())?;
    failed.map_or(Ok(()), Err)
}
