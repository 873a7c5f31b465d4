//! Helpers that fail in the middle of an answer: no token is lost, and none is another.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use potluck_tests::circle::{Answer, Circle, Program, Recovery};
use potluck_tests::model_path;

use crate::{Model, SAMPLED, STEADY_TOKENS, alone, asked, nodes, question};

const PLACEMENT: &str = "self:0..3,kitchen:3..10,tablet:10..16,*";

/// What happens to a helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// It is gone at once: its connections break.
    Killed,
    /// It stands still and says nothing, until the answer is there.
    Frozen,
    /// It stands still for so many milliseconds.
    Paused(u64),
    /// It stands still again and again, and computes a little in between.
    Slowed,
}

impl Failure {
    fn any(rng: &mut Rng) -> Self {
        match rng.u8(0..10) {
            0..4 => Self::Killed,
            4..6 => Self::Frozen,
            6..8 => Self::Paused(rng.u64(200..3_000)),
            _ => Self::Slowed,
        }
    }
}

/// Four nodes, of which the one that asks may use 20 MB: too little for all layers, so that others
/// have to take those of a helper that fails. One of them has none at first.
fn four() -> Circle<'static> {
    let mut nodes = nodes(
        &["laptop", "kitchen", "tablet", "phone"],
        &Model::steady().path,
    );
    let laptop = nodes.remove(0).with(&["--memory", "20M"]);
    nodes.insert(0, laptop);
    Circle::start(nodes)
}

/// Lets a helper fail while an answer is computed, and has it back afterwards.
fn fail(circle: &mut Circle<'_>, victim: &str, failure: Failure, mut run: Program) -> Answer {
    match failure {
        Failure::Killed => circle.node_mut(victim).kill(),
        Failure::Frozen => circle.node(victim).program().signal("STOP"),
        Failure::Paused(ms) => {
            let program = circle.node(victim).program();
            program.signal("STOP");
            thread::sleep(Duration::from_millis(ms));
            program.signal("CONT");
        }
        Failure::Slowed => {
            let program = circle.node(victim).program();
            while run.runs() {
                program.signal("STOP");
                thread::sleep(Duration::from_millis(60));
                program.signal("CONT");
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
    let answer = Answer::of(run.end());
    match failure {
        Failure::Killed => circle.node_mut(victim).up(),
        Failure::Frozen => circle.node(victim).program().signal("CONT"),
        Failure::Paused(_) | Failure::Slowed => {}
    }
    circle.await_connected();
    answer
}

/// What answers have lost in time.
#[derive(Default)]
struct Stalls(Vec<f64>);

impl Stalls {
    fn note(&mut self, recoveries: &[Recovery]) {
        self.0.extend(recoveries.iter().map(|r| r.stall_ms));
    }

    fn print(mut self, what: &str) {
        self.0.sort_by(f64::total_cmp);
        let at = |part: f64| self.0[((self.0.len() - 1) as f64 * part) as usize];
        if !self.0.is_empty() {
            println!(
                "{what}: {} stalls, median {:.0} ms, nine tenths up to {:.0} ms, longest {:.0} ms",
                self.0.len(),
                at(0.5),
                at(0.9),
                at(1.0)
            );
        }
    }
}

/// How many runs with random failures: 10, or as many as `POTLUCK_FAILURES` says.
fn runs() -> u64 {
    let wished = env::var("POTLUCK_FAILURES").ok();
    wished.map_or(10, |runs| runs.parse().expect("a number of runs"))
}

#[test]
fn whatever_fails_at_whatever_moment_the_tokens_are_the_same() {
    let question = Model::steady().question(STEADY_TOKENS, &SAMPLED);
    let expected = alone(&question).tokens;
    let mut circle = four();
    let asked = asked(&question, &["--placement", PLACEMENT]);
    let start = Instant::now();
    assert_eq!(circle.node("laptop").answer(&asked).tokens, expected);
    let undisturbed = start.elapsed();
    println!("undisturbed: {undisturbed:.1?}");
    let mut stalls = Stalls::default();
    for seed in 0..runs() {
        let mut rng = Rng::with_seed(seed);
        let failure = Failure::any(&mut rng);
        let victim = ["kitchen", "tablet"][rng.usize(0..2)];
        let moment = undisturbed.mul_f64(0.7 * rng.f64());
        let mut run = circle.node("laptop").ask(&asked);
        let _ = run.told("predicted");
        thread::sleep(moment);
        let answer = fail(&mut circle, victim, failure, run);
        println!(
            "seed {seed}: {victim} {failure:?} at {moment:.1?}: {:?}, then {:?}",
            answer.recoveries,
            answer.stages()
        );
        assert_eq!(answer.tokens, expected, "seed {seed}");
        stalls.note(&answer.recoveries);
    }
    stalls.print("random failures");
}

/// Twenty kills at a context of a thousand tokens, of which the stalls are printed:
/// `cargo test --release --workspace --test together -- --ignored --nocapture a_kill_at`
#[test]
#[ignore = "takes minutes: for measuring"]
fn a_kill_at_a_thousand_tokens_of_context_costs_a_stall() {
    let path = model_path("smollm2:135m");
    let mut circle = Circle::start(nodes(&["laptop", "kitchen", "tablet", "phone"], &path));
    let long = "The road went on. ".repeat(200);
    let mut question = question(&path, 150, &SAMPLED);
    question.push("--system".to_owned());
    question.push(long);
    let expected = alone(&question);
    let read = expected.json["prompt_token_ids"].as_array().map(Vec::len);
    println!("{read:?} tokens of prompt");
    let asked = asked(
        &question,
        &["--placement", "self:0..8,kitchen:8..20,tablet:20..30"],
    );
    let start = Instant::now();
    let undisturbed = circle.node("laptop").answer(&asked);
    let took = start.elapsed();
    assert_eq!(undisturbed.tokens, expected.tokens);
    let decode = undisturbed.json["decode_tokens_per_s"]
        .as_f64()
        .expect("a rate");
    let decoding = Duration::from_secs_f64(150.0 / decode);
    let mut stalls = Stalls::default();
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let victim = ["kitchen", "tablet"][rng.usize(0..2)];
        let moment = took - decoding.mul_f64(0.2 + 0.6 * rng.f64());
        let run = circle.node("laptop").ask(&asked);
        thread::sleep(moment);
        let answer = fail(&mut circle, victim, Failure::Killed, run);
        println!(
            "seed {seed}: {victim} at {moment:.1?}: {:?}, then {:?}",
            answer.recoveries,
            answer.stages()
        );
        assert_eq!(answer.tokens, expected.tokens, "seed {seed}");
        stalls.note(&answer.recoveries);
    }
    stalls.print("kills at a thousand tokens");
}
