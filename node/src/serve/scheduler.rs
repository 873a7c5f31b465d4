//! Requests of one model, stepped together.
//!
//! A round is one step of the engine: the next token of every answer, and beside it parts of the prompts
//! that are still to be read, in turns, as many tokens as answers can wait for ([`Pace`]). Whoever has
//! gone away is dropped between rounds. By invariant I1 nobody's tokens depend on who shares a step.
//!
//! | what | bound |
//! |---|---|
//! | requests answered at once | [`Settings::streams`](super::Settings::streams) |
//! | memory | reserved when a request begins, for its prompt and all tokens it may get; else it waits, if others will free some, or fails |
//! | kept prefixes | [`Settings::kept_bytes`](super::Settings::kept_bytes); they go first where memory is wanted |

use std::time::{Duration, Instant};

use super::RequestError;
use super::client::Client;
use super::lane::{Lane, View, Wake};
use super::pace::Pace;
use super::pooling::{self, Pooling};
use super::prefix::{Kept, Prefixes, WORTH, common, kv_bytes};
use super::prepare::{Answer, Ready, Work};
use super::running::{Follows, Running};
use super::shared::Shared;
use super::talk::{Heard, Talk};
use crate::engine::{Engine, ModelError, Part, TokenId, Wants};
use crate::stages::Reservation;

/// How long one who lacks memory waits before looking again whether others have freed some.
const MOMENT: Duration = Duration::from_millis(20);

/// The requests of one model that are answered, and what is kept of earlier ones.
pub(super) struct Scheduler<'e> {
    engine: &'e Engine,
    lane: &'e Lane,
    shared: &'e Shared,
    weight_bytes: u64,
    running: Vec<Running<'e>>,
    poolings: Vec<Pooling>,
    prefixes: Prefixes,
    pace: Pace,
    next_id: u64,
    /// Whose prompt was read last.
    turn: u64,
}

/// There is no memory for a request.
enum Short {
    /// Others will free some.
    Now,
    /// Nobody will.
    Ever(RequestError),
}

/// Whoever is to hear what comes of a part of a step.
enum Listener<'s, 'e> {
    Talk(&'s mut Talk<'e>),
    Text(pooling::Heard<'s>),
}

impl Listener<'_, '_> {
    fn hear(&mut self, values: Result<&[f32], ModelError>) {
        match self {
            Self::Talk(talk) => talk.hear(values),
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
            next_id: 0,
            turn: 0,
        }
    }

    /// Answers requests until the model is to be unloaded.
    ///
    /// # Errors
    /// Why the engine can no longer be used; whoever was answered has been told.
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
            } else if let Wake::Unload = self.lane.rest(self.shared.settings.idle) {
                return Ok(());
            }
        }
    }

    fn is_computing(&self) -> bool {
        !self.running.is_empty() || !self.poolings.is_empty()
    }

    /// Drops requests that nobody waits for any more. What they read is kept.
    fn drop_the_gone(&mut self) {
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

    /// Takes a request out, and keeps its session.
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

    /// Says how much is answered and what it takes.
    fn tell(&self, lacks_memory: bool) {
        let view = View {
            weight_bytes: self.weight_bytes,
            kv_bytes: self.running.iter().map(Running::kv_bytes).sum(),
            kept_bytes: self.prefixes.bytes(),
            kept_prefixes: self.prefixes.len(),
            context: self.engine.context(),
            is_starved: lacks_memory && !self.is_computing(),
        };
        let oldest = self.running.iter().map(|running| running.began).min();
        let running = self.running.len() + self.poolings.len();
        self.lane.runs(running, oldest, view);
    }

    /// Begins with requests in their order, as many as may be answered at once; whether the next one
    /// waits for memory.
    fn admit(&mut self) -> bool {
        let mut begun = false;
        let mut lacks_memory = false;
        while self.running.len() + self.poolings.len() < self.shared.settings.streams {
            let Some(Ready { client, work }) = self.lane.next_ready() else {
                break;
            };
            if client.is_gone() {
                client.cancelled();
                continue;
            }
            match work {
                Work::Embed(texts) => self.poolings.push(Pooling::new(client, texts)),
                Work::Answer(answer) => {
                    if let Err(later) = self.begin(client, answer) {
                        self.lane.put_back(later);
                        lacks_memory = true;
                        break;
                    }
                }
            }
            begun = true;
        }
        if begun {
            self.lane.advanced();
        }
        lacks_memory
    }

    /// Begins an answer, or gives it back if there is no memory now.
    fn begin(&mut self, client: Client, answer: Box<Answer>) -> Result<(), Ready> {
        let prompt = answer.prompt.clone();
        let most = prompt.len() + answer.options.max_tokens.max(1) - 1;
        // The logits after the last token are not kept.
        let wanted = &prompt[..prompt.len() - 1];
        let ahead = self.ahead(wanted);
        let kept = match self.session_for(wanted, most, ahead) {
            Ok(kept) => kept,
            Err(Short::Now) => {
                return Err(Ready {
                    client,
                    work: Work::Answer(answer),
                });
            }
            Err(Short::Ever(error)) => {
                client.fail(error);
                return Ok(());
            }
        };
        self.next_id += 1;
        let cached = kept.session.len();
        let talk = Talk::new(self.engine, client, *answer);
        let mut running = Running::new(self.next_id, talk, kept, prompt, most);
        running.follows = ahead.filter(|ahead| ahead.same >= cached + WORTH);
        if running.follows.is_none() {
            running.talk.start(cached);
        }
        self.running.push(running);
        Ok(())
    }

    /// Who is answered now and has, or will have read, most of this.
    fn ahead(&self, wanted: &[TokenId]) -> Option<Follows> {
        let follow = |running: &Running<'_>| Follows {
            id: running.id,
            same: common(running.tokens(), wanted),
        };
        let read = |running: &Running<'_>| running.session().len();
        let all = self
            .running
            .iter()
            .map(|running| (follow(running), read(running)));
        let best = all.max_by_key(|(follows, read)| (follows.same, *read));
        best.map(|(follows, _read)| follows)
    }

    /// A session that holds as much of `wanted` as there is, with memory for `most` positions.
    fn session_for(
        &mut self,
        wanted: &[TokenId],
        most: usize,
        ahead: Option<Follows>,
    ) -> Result<Kept, Short> {
        let bytes = kv_bytes(self.engine.config(), most);
        let capacity = Running::first_capacity(wanted.len() + 1, most);
        let ahead = ahead.and_then(|Follows { id, same }| {
            let at = self.running.iter().position(|running| running.id == id)?;
            Some((at, same.min(self.running[at].session().len())))
        });
        let found = self.prefixes.find(wanted);
        if let Some((at, same)) = ahead
            && same >= WORTH
            && found.is_none_or(|(_at, kept)| kept < same)
        {
            let memory = self.reserve(bytes)?;
            let session = self.running[at].session().copy_prefix(same, capacity);
            let session = session.map_err(no_memory)?;
            return Ok(Kept { session, memory });
        }
        let Some((at, same)) = found else {
            let memory = self.reserve(bytes)?;
            let session = self.engine.session(capacity).map_err(no_memory)?;
            return Ok(Kept { session, memory });
        };
        let mut kept = self.prefixes.take(at);
        if !kept.is_little_beyond(same)
            && let Ok(memory) = self.reserve(bytes)
        {
            let session = kept.session.copy_prefix(same, capacity);
            self.prefixes.put(kept);
            let session = session.map_err(no_memory)?;
            return Ok(Kept { session, memory });
        }
        match self.reserve(bytes.saturating_sub(kept.memory.bytes())) {
            Ok(more) => kept.memory.join(more),
            Err(short) => {
                self.prefixes.put(kept);
                return Err(short);
            }
        }
        kept.session.truncate(same);
        Ok(kept)
    }

    /// Memory for a request, for which kept prefixes go.
    fn reserve(&mut self, bytes: u64) -> Result<Reservation, Short> {
        let memory = &self.shared.settings.memory;
        loop {
            let no_room = match memory.reserve(bytes) {
                Ok(reservation) => return Ok(reservation),
                Err(no_room) => no_room,
            };
            let could_have = no_room.available.saturating_add(self.prefixes.bytes());
            if could_have >= bytes && self.prefixes.free_some(self.engine.config()) {
                continue;
            }
            let fits = bytes <= no_room.limit.saturating_sub(self.weight_bytes);
            if fits && (self.is_computing() || self.shared.ask_for_room(self.lane)) {
                return Err(Short::Now);
            }
            return Err(Short::Ever(RequestError::NoMemory {
                message: format!("{no_room}: ask for fewer tokens, or for a smaller model"),
            }));
        }
    }

    /// Requests that waited for another one to read what they need, too, go on from there.
    fn catch_up(&mut self) {
        for at in 0..self.running.len() {
            let Some(Follows { id, same }) = self.running[at].follows else {
                continue;
            };
            let leader = self.running.iter().position(|running| running.id == id);
            let taken = match leader {
                Some(leader) if self.running[leader].session().len() < same => continue,
                Some(leader) => match self.running.get_disjoint_mut([at, leader]) {
                    Ok([running, leader]) => running.take_up(leader.session(), same),
                    Err(_) => Ok(()),
                },
                // It has ended before its time. What it read is kept.
                None => {
                    let running = &mut self.running[at];
                    let wanted = &running.tokens()[..running.tokens().len() - 1];
                    let found = self.prefixes.find(wanted);
                    match found.filter(|&(_at, same)| same > running.session().len()) {
                        Some((kept, same)) => running.take_up(self.prefixes.session(kept), same),
                        None => Ok(()),
                    }
                }
            };
            let running = &mut self.running[at];
            running.follows = None;
            // Without memory to copy it, it is read.
            drop(taken);
            let cached = running.session().len();
            running.talk.start(cached);
        }
    }

    /// How many tokens each request reads in the next step, and how many texts to embed may.
    fn plan(&mut self) -> (Vec<usize>, usize) {
        let is_answer = |running: &Running<'_>| running.unread() == 1;
        let tokens = |running: &Running<'_>| usize::from(is_answer(running));
        let mut plan: Vec<_> = self.running.iter().map(tokens).collect();
        let budget = self.pace.prompt_tokens(plan.iter().sum());
        let reads = |running: &Running<'_>| !is_answer(running) && running.follows.is_none();
        let mut readers: Vec<_> = (0..plan.len())
            .filter(|&at| reads(&self.running[at]))
            .collect();
        let texts = match (self.poolings.is_empty(), readers.is_empty()) {
            (true, _) => 0,
            (false, true) => budget,
            (false, false) => budget / 2,
        };
        let mut left = budget - texts;
        // After the one whose turn was last.
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

    /// One step for all.
    fn round(&mut self) -> Result<(), RequestError> {
        self.catch_up();
        let (mut plan, texts) = self.plan();
        for at in (0..plan.len()).rev() {
            if let Err(error) = self.running[at].grow(plan[at]) {
                plan.remove(at);
                let (talk, _session) = self.running.remove(at).end();
                talk.fail(memory_error(&error));
            }
        }
        self.begin_texts(texts);
        let began = Instant::now();
        let answers = plan.iter().filter(|&&tokens| tokens == 1).count();
        let tokens = match self.step(&plan, texts) {
            Ok(tokens) => tokens,
            Err(error) => {
                let error = failed(&error);
                self.fail_all(&error);
                return Err(error);
            }
        };
        if tokens == 0 {
            self.lane.pause(MOMENT);
            return Ok(());
        }
        self.pace.took(answers, tokens - answers, began.elapsed());
        self.after_step(&plan);
        Ok(())
    }

    /// Has the engine read what is planned; how many tokens that were.
    fn step(&mut self, plan: &[usize], texts: usize) -> Result<usize, ModelError> {
        let (mut parts, mut listeners) = (Vec::new(), Vec::new());
        for (running, &tokens) in self.running.iter_mut().zip(plan) {
            if tokens == 0 {
                continue;
            }
            let is_all = tokens == running.unread();
            let (session, tokens, talk) = running.part(tokens);
            let mut part = Part::reading(session, tokens);
            if is_all {
                part.wants = Wants::Logits;
            }
            parts.push(part);
            listeners.push(Listener::Talk(talk));
        }
        let each = texts.div_ceil(self.poolings.len().max(1));
        for (part, text) in self.poolings.iter_mut().flat_map(|p| p.parts(each)) {
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

    /// What came of a step.
    fn after_step(&mut self, plan: &[usize]) {
        for at in (0..self.running.len()).rev() {
            let running = &mut self.running[at];
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
                    // Its cache may hold what is no number.
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

    /// Begins texts to embed, as many as the next step reads.
    fn begin_texts(&mut self, tokens: usize) {
        for at in (0..self.poolings.len()).rev() {
            while let Some(next) = self.poolings[at].next(tokens) {
                let bytes = kv_bytes(self.engine.config(), next);
                let error = match self.reserve(bytes) {
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

fn no_memory(error: ModelError) -> Short {
    Short::Ever(memory_error(&error))
}

fn memory_error(error: &ModelError) -> RequestError {
    RequestError::NoMemory {
        message: crate::words::of(error),
    }
}

fn failed(error: &ModelError) -> RequestError {
    RequestError::Failed {
        message: crate::words::of(error),
    }
}
