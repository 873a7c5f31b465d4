//! A sequence for which one engine runs all layers, with guesses of the next tokens.

use std::borrow::BorrowMut;
use std::time::Instant;

use super::{Engine, Part, Sequence, Session, Wants};
use crate::ModelError;
use crate::drafts::{Drafter, Drafts, Planned, StepCosts};
use crate::sampler::SamplerSettings;
use crate::tokenizer::TokenId;

/// A sequence for which one engine runs all layers.
///
/// With a [`Drafter`], a step that reads one token also reads guesses of the tokens after it, if that
/// pays. A read of a token that was guessed right then needs no step. By invariant I1 the logits are
/// the same as without guesses.
#[derive(Debug)]
pub struct LocalSequence<'a, S: BorrowMut<Session>> {
    engine: &'a Engine,
    /// Holds the tokens read, and after them the guesses of the last step.
    session: S,
    /// The number of tokens read.
    read: usize,
    guesses: Option<Guesses>,
    is_plain: bool,
}

/// The drafter, and the results of the last step after its first token.
#[derive(Debug, Default)]
struct Guesses {
    drafter: Drafter,
    costs: StepCosts,
    counts: Drafts,
    /// The position of the first result.
    first: usize,
    /// Logits `[guesses, vocabulary]`; those of a position that is not a number are NaN.
    logits: Vec<f32>,
    /// Final norms of the hidden states, `[guesses, d_model]`, if the drafter listens.
    states: Vec<f32>,
}

impl<'a, S: BorrowMut<Session>> LocalSequence<'a, S> {
    /// Wraps a session of this engine, owned or borrowed, without guesses.
    pub fn new(engine: &'a Engine, session: S) -> Self {
        let read = session.borrow().len();
        Self {
            engine,
            session,
            read,
            guesses: None,
            is_plain: true,
        }
    }

    /// Enables guesses where they pay. They do not change any logits.
    #[must_use]
    pub fn with_drafts(mut self) -> Self {
        self.guesses = Some(Guesses {
            drafter: self.engine.drafter(self.session.borrow().capacity()),
            ..Guesses::default()
        });
        self
    }

    /// Makes these guesses in place of the drafter's.
    #[cfg(test)]
    pub(super) fn with_script(
        mut self,
        script: impl FnMut(&[TokenId]) -> Vec<TokenId> + 'static,
    ) -> Self {
        let mut guesses = Guesses::default();
        guesses.drafter.script = Some(crate::drafts::Script(Box::new(script)));
        self.guesses = Some(guesses);
        self
    }

    /// Drops guesses that have not been read. They are few, so what was read is always in reach.
    fn drop_guesses(&mut self) {
        let left = self.session.borrow_mut().truncate(self.read);
        debug_assert_eq!(left, self.read);
    }

    /// Reads a token that the last step has already computed.
    fn read_guessed<T>(
        &mut self,
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        let guesses = self.guesses.as_mut().expect("it has guessed");
        let session = self.session.borrow();
        let (d_model, vocabulary) = (
            self.engine.config().d_model,
            self.engine.config().vocabulary,
        );
        let at = self.read - guesses.first;
        guesses.counts.right += 1;
        if let Some(state) = guesses.states.chunks_exact(d_model).nth(at) {
            guesses.drafter.hear(self.read, state);
        }
        self.read += 1;
        self.is_plain = false;
        if !progress(1) {
            return Ok(None);
        }
        let logits = &guesses.logits[at * vocabulary..][..vocabulary];
        match super::step::is_none(logits) {
            true => Err(super::step::no_logits(session)),
            false => Ok(Some(read(logits))),
        }
    }

    /// Reads a token without guesses.
    fn read_alone<T>(
        &mut self,
        token: TokenId,
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        let Guesses { drafter, costs, .. } = self.guesses.as_mut().expect("it may guess");
        let session = self.session.borrow_mut();
        let listens = drafter.listens();
        let began = Instant::now();
        let mut time = None;
        let value = self.engine.prefill_with(
            session,
            &[token],
            &mut |position, state| drafter.hear(position, state),
            listens,
            progress,
            |logits| {
                time = Some(began.elapsed());
                read(logits)
            },
        );
        if let Some(time) = time {
            costs.took(1, time);
        }
        self.is_plain = true;
        self.read = session.len();
        value
    }

    /// Reads a token and, in the same step, guesses of those after it.
    fn read_and_guess<T>(
        &mut self,
        token: TokenId,
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        let session = self.session.borrow_mut();
        // Checked before anything is guessed from it.
        self.engine.check(session, &[token])?;
        let Guesses {
            drafter,
            costs,
            counts,
            first,
            logits,
            states,
        } = self.guesses.as_mut().expect("it is to guess");
        let mut tokens = [session.tokens(), &[token]].concat();
        let mut planned = Planned::of(1);
        let guessed = drafter.propose(&tokens, session.free() - 1, &mut planned, costs);
        let position = tokens.len() - 1;
        tokens.extend_from_slice(&guessed);
        logits.clear();
        states.clear();
        let listens = drafter.listens();
        if guessed.is_empty() {
            return self.read_alone(token, progress, read);
        }
        self.is_plain = false;
        let began = Instant::now();
        let mut part = Part::with_logits(session, &tokens[position..]);
        part.wants = Wants::EachLogits;
        part.states = listens.then_some(states);
        let mut failed = None;
        let vocabulary = self.engine.config().vocabulary;
        self.engine.step(&mut [part], &mut |_part, row| match row {
            Ok(row) => logits.extend_from_slice(row),
            Err(error) => {
                failed.get_or_insert((logits.len() / vocabulary, error));
                logits.resize(logits.len() + vocabulary, f32::NAN);
            }
        })?;
        costs.took(1 + guessed.len(), began.elapsed());
        counts.sent += guessed.len() as u64;
        let d_model = self.engine.config().d_model;
        if let Some(state) = states.get(..d_model) {
            drafter.hear(position, state);
        }
        *first = position;
        self.read = position + 1;
        if !progress(1) {
            return Ok(None);
        }
        match failed {
            Some((0, error)) => Err(error),
            _ => Ok(Some(read(&logits[..vocabulary]))),
        }
    }
}

impl<S: BorrowMut<Session>> Drop for LocalSequence<'_, S> {
    /// A borrowed session keeps only the tokens that were read.
    fn drop(&mut self) {
        self.drop_guesses();
    }
}

impl<S: BorrowMut<Session>> Sequence for LocalSequence<'_, S> {
    type Error = ModelError;

    fn tokens(&self) -> &[TokenId] {
        &self.session.borrow().tokens()[..self.read]
    }

    fn capacity(&self) -> usize {
        self.session.borrow().capacity()
    }

    fn truncate(&mut self, len: usize) -> usize {
        if len < self.read {
            self.read = self.session.borrow_mut().truncate(len);
            if let Some(guesses) = &mut self.guesses {
                guesses.drafter.truncate(self.read);
            }
        }
        self.drop_guesses();
        self.read
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        if let [token] = *tokens {
            if self.session.borrow().tokens().get(self.read) == Some(&token) {
                return self.read_guessed(progress, read);
            }
            self.drop_guesses();
            if self.guesses.is_some() {
                return self.read_and_guess(token, progress, read);
            }
        }
        self.drop_guesses();
        self.is_plain = true;
        let session = self.session.borrow_mut();
        let value = match &mut self.guesses {
            Some(Guesses { drafter, .. }) => {
                let listens = drafter.listens();
                let hear = &mut |position: usize, state: &[f32]| drafter.hear(position, state);
                self.engine
                    .prefill_with(session, tokens, hear, listens, progress, read)
            }
            None => self.engine.prefill(session, tokens, progress, read),
        };
        self.read = session.len();
        value
    }

    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        if let Some(guesses) = &mut self.guesses {
            guesses.drafter.chosen_with(sampling, from);
        }
    }

    fn drafts(&self) -> Drafts {
        let counts = self.guesses.as_ref().map(|guesses| guesses.counts);
        counts.unwrap_or_default()
    }

    fn is_plain(&self) -> bool {
        self.is_plain
    }
}
