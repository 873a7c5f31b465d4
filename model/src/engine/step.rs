//! Model passes: several sessions in one step, or one session with many tokens.

use burn::tensor::Tensor;

use super::{Engine, Session};
use crate::ModelError;
use crate::drafts::MOST_GUESSES;
use crate::kv_ring::ROLL_BACK;
use crate::sampler::SamplerError;
use crate::shard::SequenceStep;
use crate::tokenizer::TokenId;

/// Positions per prefill step. More would not be faster, and the memory for intermediate results
/// grows in proportion.
pub const PREFILL_CHUNK: usize = 256;

// A prefill step, or a step with guesses, can always be cut back.
const _: () = assert!(PREFILL_CHUNK <= ROLL_BACK && MOST_GUESSES < ROLL_BACK);

/// Positions per logits batch when all positions are evaluated.
const LOGITS_ROWS: usize = 16;

/// Minimum rows per logits batch, whatever the size of a row.
const LEAST_ROWS: usize = 16;
/// Maximum logits per batch when it has more than `LEAST_ROWS` rows: 32 MiB.
const LOGITS_AT_ONCE: usize = 1 << 23;

/// One session's part of a step.
#[derive(Debug)]
pub struct Part<'s> {
    /// The session.
    pub session: &'s mut Session,
    /// The tokens to read: at least one.
    pub tokens: &'s [TokenId],
    /// The requested result.
    pub wants: Wants,
    /// If set, receives the final norm of each token's hidden state: `[tokens, d_model]`, appended.
    pub states: Option<&'s mut Vec<f32>>,
}

/// The result that a part requests from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// No result: only read the tokens.
    Nothing,
    /// The logits after the last token: `[vocabulary]`, one call.
    Logits,
    /// The logits after each token: `[vocabulary]`, one call per token, in order.
    EachLogits,
    /// The final norm of each token's hidden state: `[d_model]`, one call per token, in order.
    States,
}

/// Receives the results of parts: the part's index, and its values or its error.
pub type ReadPart<'a> = dyn FnMut(usize, Result<&[f32], ModelError>) + 'a;

/// Receives a position's index and its logits.
pub type ReadLogits<'a> = dyn FnMut(usize, &[f32]) -> Result<(), ModelError> + 'a;

/// Receives the states of one part.
type ReadState<'a> = dyn FnMut(Result<&[f32], ModelError>) + 'a;

impl<'s> Part<'s> {
    /// A part that only reads its tokens.
    pub fn reading(session: &'s mut Session, tokens: &'s [TokenId]) -> Self {
        Self {
            session,
            tokens,
            wants: Wants::Nothing,
            states: None,
        }
    }

    /// A part that requests the logits of its last token.
    pub fn with_logits(session: &'s mut Session, tokens: &'s [TokenId]) -> Self {
        Self {
            session,
            tokens,
            wants: Wants::Logits,
            states: None,
        }
    }
}

impl Engine {
    /// Reads the tokens of all parts in one pass, which reads the weights once. Calls `read` with
    /// the requested results in the order of the parts, except that states come first.
    ///
    /// A session's results do not depend on the other sessions: they are bit-identical to a step
    /// alone. Numeric overflow fails only the affected part.
    ///
    /// # Errors
    /// A part has no tokens, an id beyond the vocabulary, or more tokens than its session has room
    /// for (all checked before any token is read); or the model's file has changed.
    pub fn step(&self, parts: &mut [Part<'_>], read: &mut ReadPart<'_>) -> Result<(), ModelError> {
        self.shard.check_file()?;
        for part in parts.iter() {
            self.check_tokens(part.session, part.tokens)?;
        }
        if parts.is_empty() {
            return Ok(());
        }
        let hidden = self.forward(parts)?;
        let mut wanted_rows = Vec::new();
        let mut row = 0;
        for (index, part) in parts.iter_mut().enumerate() {
            let rows = row..row + part.tokens.len();
            row = rows.end;
            if let Some(states) = &mut part.states {
                let hidden = hidden.clone().narrow(0, rows.start, rows.len());
                self.shard
                    .normed(hidden, |normed| states.extend_from_slice(normed))?;
            }
            match part.wants {
                Wants::Nothing => {}
                Wants::Logits => wanted_rows.push((index, rows.end - 1)),
                Wants::EachLogits => wanted_rows.extend(rows.map(|row| (index, row))),
                Wants::States => {
                    let hidden = hidden.clone().narrow(0, rows.start, rows.len());
                    self.read_states(hidden, part.session, &mut |state| read(index, state))?;
                }
            }
        }
        let rows = (LOGITS_AT_ONCE / self.config.vocabulary).max(LEAST_ROWS);
        for wanted in wanted_rows.chunks(rows) {
            let hidden = select(&hidden, wanted.iter().map(|&(_part, row)| row));
            self.shard.logits(hidden, |logits| {
                let rows = logits.chunks_exact(self.config.vocabulary);
                for (&(index, _row), logits) in wanted.iter().zip(rows) {
                    let failed = is_none(logits).then(|| no_logits(parts[index].session));
                    read(index, failed.map_or(Ok(logits), Err));
                }
            })?;
        }
        Ok(())
    }

    /// Reads `tokens` into the session and calls `read` with the logits of the last position.
    ///
    /// `progress` is called with the number of tokens read so far once they have passed all layers,
    /// before the head. If it returns false, reading stops (tokens already read stay in the session)
    /// and the result is `None`.
    ///
    /// # Errors
    /// `tokens` is empty, has an id beyond the vocabulary, or exceeds the session's free room (all
    /// checked before any token is read); or logits are not numbers.
    pub fn prefill<T>(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        self.prefill_with(session, tokens, &mut |_, _| (), false, progress, read)
    }

    /// Like [`Engine::prefill`], and if `listens`, calls `hear` with the positions of the last chunk
    /// and the final norms of their hidden states, `[d_model]`.
    pub(super) fn prefill_with<T>(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        hear: &mut dyn FnMut(usize, &[f32]),
        listens: bool,
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, ModelError> {
        self.check(session, tokens)?;
        let (mut done, mut last) = (0, None);
        for chunk in tokens.chunks(PREFILL_CHUNK) {
            // Its memory serves the next step.
            drop(last.take());
            self.shard.check_file()?;
            let hidden = self.forward(&mut [Part::reading(session, chunk)])?;
            last = Some((hidden, chunk.len() - 1));
            done += chunk.len();
            // Before the head, so that callers can time layers and head separately.
            if !progress(done) {
                return Ok(None);
            }
        }
        let (hidden, row) = last.expect("there is at least one token");
        if listens {
            let first = session.len() - row - 1;
            self.shard.normed(hidden.clone(), |states| {
                let states = states.chunks_exact(self.config.d_model);
                states
                    .enumerate()
                    .for_each(|(at, state)| hear(first + at, state));
            })?;
        }
        self.shard.logits(
            select(&hidden, std::iter::once(row)),
            |logits| match is_none(logits) {
                true => Err(no_logits(session)),
                false => Ok(Some(read(logits))),
            },
        )?
    }

    /// Reads `tokens` and calls `read` with the index of each position and its logits.
    ///
    /// # Errors
    /// Same as [`Engine::prefill`], and those of `read`.
    pub fn evaluate(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        read: &mut ReadLogits<'_>,
    ) -> Result<(), ModelError> {
        self.check(session, tokens)?;
        let mut at = 0;
        for chunk in tokens.chunks(PREFILL_CHUNK) {
            let hidden = self.forward(&mut [Part::reading(session, chunk)])?;
            for first in (0..chunk.len()).step_by(LOGITS_ROWS) {
                let rows = LOGITS_ROWS.min(chunk.len() - first);
                let hidden = hidden.clone().narrow(0, first, rows);
                self.shard.logits(hidden, |logits| {
                    for row in logits.chunks_exact(self.config.vocabulary) {
                        if is_none(row) {
                            return Err(no_logits(session));
                        }
                        read(at, row)?;
                        at += 1;
                    }
                    Ok::<_, ModelError>(())
                })??;
            }
        }
        Ok(())
    }

    fn read_states(
        &self,
        hidden: Tensor<2>,
        session: &Session,
        read: &mut ReadState<'_>,
    ) -> Result<(), ModelError> {
        self.shard.normed(hidden, |states| {
            for state in states.chunks_exact(self.config.d_model) {
                let finite = state.iter().all(|x| x.is_finite());
                read(if finite {
                    Ok(state)
                } else {
                    Err(no_logits(session))
                });
            }
        })
    }

    /// Hidden states of all parts' tokens, appended to the sessions: `[Σ tokens, d_model]`.
    fn forward(&self, parts: &mut [Part<'_>]) -> Result<Tensor<2>, ModelError> {
        let tokens = match parts {
            [part] => part.tokens,
            _ => &parts
                .iter()
                .flat_map(|part| part.tokens)
                .copied()
                .collect::<Vec<_>>(),
        };
        let hidden = self.shard.embed(tokens)?;
        let steps = parts.iter_mut().map(|part| SequenceStep {
            start: part.session.tokens.len(),
            count: part.tokens.len(),
            cache: &mut part.session.cache,
        });
        let hidden = self.shard.forward(hidden, &mut steps.collect::<Vec<_>>())?;
        for part in parts {
            part.session.tokens.extend_from_slice(part.tokens);
        }
        Ok(hidden)
    }

    pub(super) fn check(&self, session: &Session, tokens: &[TokenId]) -> Result<(), ModelError> {
        // The computation checks this too, but only when it is done.
        self.shard.check_file()?;
        self.check_tokens(session, tokens)
    }

    fn check_tokens(&self, session: &Session, tokens: &[TokenId]) -> Result<(), ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if tokens.len() > session.free() {
            return Err(ModelError::ContextFull {
                needed: tokens.len(),
                free: session.free(),
                capacity: session.capacity(),
            });
        }
        let vocabulary = self.config.vocabulary;
        match tokens.iter().find(|id| **id as usize >= vocabulary) {
            Some(&id) => Err(ModelError::UnknownToken { id, vocabulary }),
            None => Ok(()),
        }
    }
}

/// Selects rows of a matrix; returns the matrix itself if these are all rows in order.
fn select(hidden: &Tensor<2>, rows: impl ExactSizeIterator<Item = usize> + Clone) -> Tensor<2> {
    let [all, _d_model] = hidden.dims();
    if rows.len() == all && rows.clone().eq(0..all) {
        return hidden.clone();
    }
    let rows = rows.map(|row| hidden.clone().narrow(0, row, 1));
    Tensor::cat(rows.collect(), 0)
}

/// Whether a position's logits are not numbers. A single NaN or infinity in the hidden state makes
/// all logits NaN, because of the norm before the head.
pub(super) fn is_none(logits: &[f32]) -> bool {
    logits.first().is_some_and(|logit| logit.is_nan())
}

/// The error for logits that are not numbers.
pub(super) fn no_logits(session: &Session) -> ModelError {
    match session.cache.overflowed() {
        Some(layer) => ModelError::CacheOverflow { layer },
        None => SamplerError::NotANumber.into(),
    }
}
