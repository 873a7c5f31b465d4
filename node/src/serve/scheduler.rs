//! Batches the requests of one model.
//!
//! A round is one engine step. It computes the next token of every running answer and, alongside,
//! parts of the prompts still to be processed. Prompts take turns, and [`Pace`] limits their tokens
//! so that answers are not held up for long. Requests whose client has gone are dropped between
//! rounds. By invariant I1 a request's tokens do not depend on which other requests share a step.
//! While both the owner and guests are being served, each side has its own rounds ([`Courtesy`]).
//! In rounds without prompts, answers may add guesses of their next tokens, as many as pay at the
//! measured cost of a row; they change no token.
//!
//! | what | bound |
//! |---|---|
//! | requests answered concurrently | [`Settings::streams`](super::Settings::streams); guests' requests do not count against the owner's |
//! | memory | reserved when a request begins, for its prompt and all tokens it may get; if there is too little, the request waits when others will free some, and fails otherwise. A guest that runs beside others leaves enough for a long request of the owner |
//! | cached prefixes | [`Settings::kept_bytes`](super::Settings::kept_bytes); evicted first when memory is needed |

mod admission;

use std::time::{Duration, Instant};

use super::RequestError;
use super::caller::{Courtesy, Side};
use super::lane::{Lane, View, Wake};
use super::pace::Pace;
use super::pooling::{self, Pooling};
use super::prefix::{Prefixes, kv_bytes};
use super::running::{Listening, Running};
use super::shared::Shared;
use super::talk::{Heard, Talk};
use crate::engine::{Engine, ModelError, Planned, StepCosts};
use admission::Short;

/// How often a request that lacks memory checks again whether others have freed some.
const MOMENT: Duration = Duration::from_millis(20);

/// The running requests of one model, and the cached prefixes of earlier ones.
pub(super) struct Scheduler<'e> {
    engine: &'e Engine,
    lane: &'e Lane,
    shared: &'e Shared,
    weight_bytes: u64,
    running: Vec<Running<'e>>,
    poolings: Vec<Pooling>,
    prefixes: Prefixes,
    pace: Pace,
    costs: StepCosts,
    courtesy: Courtesy,
    next_id: u64,
    /// The id of the request whose prompt was processed last.
    turn: u64,
    /// The index of the request that guesses first.
    first_guess: usize,
}

/// The receiver of the results of one part of a step.
enum Listener<'s, 'e> {
    Answer(Listening<'s, 'e>),
    Text(pooling::Heard<'s>),
}

impl Listener<'_, '_> {
    fn hear(&mut self, values: Result<&[f32], ModelError>) {
        match self {
            Self::Answer(answer) => answer.hear(values),
            Self::Text(text) => text.hear(values),
        }
    }
}

impl<'e> Scheduler<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        lane: &'e Lane,
        shared: &'e Shared,
        weight_bytes: u64,
    ) -> Self {
        Self {
            engine,
            lane,
            shared,
            weight_bytes,
            running: Vec::new(),
            poolings: Vec::new(),
            prefixes: Prefixes::new(shared.settings.kept_bytes),
            pace: Pace::default(),
            costs: StepCosts::default(),
            courtesy: Courtesy::default(),
            next_id: 0,
            turn: 0,
            first_guess: 0,
        }
    }

    /// Answers requests until the model is to be unloaded.
    ///
    /// # Errors
    /// Why the engine can no longer be used. The running requests have already been failed with it.
    pub(super) fn run(mut self) -> Result<(), RequestError> {
        loop {
            self.drop_the_gone();
            let stop = self.lane.stop_at().is_some_and(|at| Instant::now() >= at);
            if stop {
                self.fail_all(&RequestError::Stopping);
            }
            let lacks_memory = self.admit();
            self.tell(lacks_memory);
            if self.is_computing() {
                self.round()?;
            } else if lacks_memory {
                self.lane.pause(MOMENT);
            } else if let Wake::Unload = self.lane.rest(self.shared.settings.idle, None) {
                return Ok(());
            }
        }
    }

    /// The numbers of running requests of the owner and of guests.
    fn answered(&self) -> (usize, usize) {
        let answers = self.running.iter().map(|running| running.talk.caller());
        let all = answers.chain(self.poolings.iter().map(Pooling::caller));
        let guests = all.filter(|caller| caller.is_guest()).count();
        let count = self.running.len() + self.poolings.len();
        (count - guests, guests)
    }

    fn is_computing(&self) -> bool {
        !self.running.is_empty() || !self.poolings.is_empty()
    }

    /// Drops requests whose client has gone. What they have processed stays cached.
    fn drop_the_gone(&mut self) {
        self.lane.forget_the_gone();
        for at in (0..self.running.len()).rev() {
            if self.running[at].talk.is_gone() {
                self.end(at).cancelled();
            }
        }
        for at in (0..self.poolings.len()).rev() {
            if self.poolings[at].is_gone() {
                self.poolings.remove(at).cancelled();
            }
        }
    }

    /// Removes a request and caches its session.
    fn end(&mut self, at: usize) -> Talk<'e> {
        let (talk, kept) = self.running.remove(at).end();
        self.prefixes.keep(kept, self.engine.config());
        talk
    }

    fn fail_all(&mut self, error: &RequestError) {
        for running in self.running.drain(..) {
            running.end().0.fail(error.clone());
        }
        for pooling in self.poolings.drain(..) {
            pooling.fail(error.clone());
        }
    }

    /// Reports the number of running requests and their memory to the lane.
    fn tell(&self, lacks_memory: bool) {
        let (_owner, guests) = self.answered();
        let view = View {
            guests,
            weight_bytes: self.weight_bytes,
            kv_bytes: self.running.iter().map(Running::kv_bytes).sum(),
            kept_bytes: self.prefixes.bytes(),
            kept_prefixes: self.prefixes.len(),
            split_kept: 0,
            context: self.engine.context(),
            is_starved: lacks_memory && !self.is_computing(),
        };
        let oldest = self.running.iter().map(|running| running.began).min();
        let running = self.running.len() + self.poolings.len();
        self.lane.runs(running, oldest, view);
    }

    /// How many tokens each request processes in the next step, and how many go to texts to embed.
    fn plan(&mut self, side: Side) -> (Vec<usize>, usize) {
        let is_in = |running: &Running<'_>| side.has(running.talk.caller());
        let is_answer = |running: &Running<'_>| running.unread() == 1;
        let tokens = |running: &Running<'_>| usize::from(is_in(running) && is_answer(running));
        let mut plan: Vec<_> = self.running.iter().map(tokens).collect();
        // The owner's answers also wait while a guest's prompt is processed.
        let waiting = plan
            .iter()
            .sum::<usize>()
            .max((side == Side::Guests).into());
        let budget = self.pace.prompt_tokens(waiting);
        let reads = |running: &Running<'_>| {
            is_in(running) && !is_answer(running) && running.follows.is_none()
        };
        let mut readers: Vec<_> = (0..plan.len())
            .filter(|&at| reads(&self.running[at]))
            .collect();
        let embeds = (self.poolings.iter()).any(|pooling| side.has(pooling.caller()));
        let texts = match (embeds, readers.is_empty()) {
            (false, _) => 0,
            (true, true) => budget,
            (true, false) => budget / 2,
        };
        let mut left = budget - texts;
        // Start behind the request that had the last turn.
        readers.sort_by_key(|&at| (self.running[at].id <= self.turn, self.running[at].id));
        for at in readers {
            if left == 0 {
                break;
            }
            plan[at] = self.running[at].unread().min(left);
            left -= plan[at];
            self.turn = self.running[at].id;
        }
        (plan, texts)
    }

    /// Runs one step for all running requests.
    fn round(&mut self) -> Result<(), RequestError> {
        self.catch_up();
        let (owner, guests) = self.answered();
        let side = self.courtesy.next(owner, guests);
        let (mut plan, texts) = self.plan(side);
        let answers = plan.iter().filter(|&&tokens| tokens == 1).count();
        let is_decode = texts == 0 && plan.iter().all(|&tokens| tokens <= 1);
        if is_decode {
            self.guess(&mut plan, answers);
        }
        for at in (0..plan.len()).rev() {
            if let Err(error) = self.running[at].grow(plan[at]) {
                plan.remove(at);
                let (talk, _session) = self.running.remove(at).end();
                talk.fail(memory_error(&error));
            }
        }
        self.begin_texts(texts, side);
        let began = Instant::now();
        let tokens = match self.step(&plan, texts, side) {
            Ok(tokens) => tokens,
            Err(error) => {
                let error = failed(&error);
                self.fail_all(&error);
                return Err(error);
            }
        };
        if tokens == 0 {
            // The other side may hold the memory that this side waits for.
            self.courtesy.took(side, MOMENT);
            self.lane.pause(MOMENT);
            return Ok(());
        }
        let took = began.elapsed();
        match is_decode {
            true => {
                self.pace.took(answers, 0, took);
                self.costs.took(tokens, took);
            }
            false => self.pace.took(answers, tokens - answers, took),
        }
        self.courtesy.took(side, took);
        self.after_step(&plan);
        Ok(())
    }

    /// Adds guesses to a step of so many answers, where they pay. Answers take turns in being first:
    /// the later ones find fewer rows worth their cost.
    fn guess(&mut self, plan: &mut [usize], answers: usize) {
        let mut planned = Planned::of(answers);
        let count = plan.len();
        self.first_guess = (self.first_guess + 1) % count.max(1);
        for at in (0..count).map(|at| (at + self.first_guess) % count) {
            if plan[at] == 1 {
                plan[at] += self.running[at].guess(&mut planned, &mut self.costs);
            }
        }
    }

    /// Runs the planned step; returns the number of tokens it processed.
    fn step(&mut self, plan: &[usize], texts: usize, side: Side) -> Result<usize, ModelError> {
        let (mut parts, mut listeners) = (Vec::new(), Vec::new());
        for (running, &tokens) in self.running.iter_mut().zip(plan) {
            if tokens == 0 {
                continue;
            }
            let (part, listening) = running.part(tokens);
            parts.push(part);
            listeners.push(Listener::Answer(listening));
        }
        let poolings = self.poolings.iter_mut();
        let mut poolings: Vec<_> = poolings.filter(|p| side.has(p.caller())).collect();
        let each = texts.div_ceil(poolings.len().max(1));
        for (part, text) in poolings.iter_mut().flat_map(|p| p.parts(each)) {
            parts.push(part);
            listeners.push(Listener::Text(text));
        }
        let tokens = parts.iter().map(|part| part.tokens.len()).sum();
        let read = &mut |part: usize, values: Result<&[f32], ModelError>| {
            listeners[part].hear(values);
        };
        self.engine.step(&mut parts, read)?;
        Ok(tokens)
    }

    /// Handles the results of a step.
    fn after_step(&mut self, plan: &[usize]) {
        for at in (0..self.running.len()).rev() {
            let running = &mut self.running[at];
            self.shared.counters.drafts(running.settle());
            if plan[at] > 1 {
                running.talk.has_read(running.session().len());
            }
            match running.talk.take_heard() {
                None => {}
                Some(Heard::Token(token)) => running.push(token),
                Some(Heard::End(reason)) => {
                    let took = self.end(at).done(reason);
                    self.lane.left(took);
                }
                Some(Heard::Failed(error)) => {
                    // Do not keep this session: its cache may contain NaN.
                    let (talk, _session) = self.running.remove(at).end();
                    talk.fail(failed(&error));
                }
            }
        }
        let poolings = std::mem::take(&mut self.poolings);
        self.poolings = poolings
            .into_iter()
            .filter_map(Pooling::after_step)
            .collect();
    }

    /// Starts as many texts to embed as the next step can process.
    fn begin_texts(&mut self, tokens: usize, side: Side) {
        for at in (0..self.poolings.len()).rev() {
            if !side.has(self.poolings[at].caller()) {
                continue;
            }
            while let Some(next) = self.poolings[at].next(tokens) {
                let bytes = kv_bytes(self.engine.config(), next);
                let of = self.poolings[at].caller().id();
                let error = match self.reserve(of, bytes) {
                    Ok(memory) => match self.poolings[at].begin(self.engine, memory) {
                        Ok(()) => continue,
                        Err(error) => memory_error(&error),
                    },
                    Err(Short::Now) => break,
                    Err(Short::Ever(error)) => error,
                };
                self.poolings.remove(at).fail(error);
                break;
            }
        }
    }
}

fn memory_error(error: &ModelError) -> RequestError {
    RequestError::NoMemory {
        message: crate::words::of(error),
    }
}

pub(super) fn failed(error: &ModelError) -> RequestError {
    let message = crate::words::of(error);
    match error {
        // The grammar of the request is too complex to follow: asking again would not help.
        ModelError::Mask(_) => RequestError::Invalid {
            field: None,
            message,
        },
        _ => RequestError::Failed { message },
    }
}
