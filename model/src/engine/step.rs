//! One pass of several sessions through the model.

use burn::tensor::Tensor;

use super::{Engine, Session, is_none, no_logits};
use crate::ModelError;
use crate::shard::SequenceStep;
use crate::tokenizer::TokenId;

/// Rows whose logits are always computed at once, however many a row has.
const LEAST_ROWS: usize = 16;
/// Logits that are computed at once, if these are more rows: 32 MiB.
const LOGITS_AT_ONCE: usize = 1 << 23;

/// One session's part of a step.
#[derive(Debug)]
pub struct Part<'s> {
    /// Whose.
    pub session: &'s mut Session,
    /// What it reads: at least one token.
    pub tokens: &'s [TokenId],
    /// What is wanted of that.
    pub wants: Wants,
}

/// What a step gives for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Only that the tokens are read.
    Nothing,
    /// The logits after the last token: `[vocabulary]`, once.
    Logits,
    /// The final norm of each token's hidden state: `[d_model]`, once a token, in their order.
    States,
}

/// Receives what parts want: a part's index, and the values, or why this part has none.
pub type ReadPart<'a> = dyn FnMut(usize, Result<&[f32], ModelError>) + 'a;

/// The same of one part's states.
type ReadState<'a> = dyn FnMut(Result<&[f32], ModelError>) + 'a;

impl<'s> Part<'s> {
    /// Tokens that are only read.
    pub fn reading(session: &'s mut Session, tokens: &'s [TokenId]) -> Self {
        Self {
            session,
            tokens,
            wants: Wants::Nothing,
        }
    }

    /// Tokens of which the last one's logits are wanted.
    pub fn with_logits(session: &'s mut Session, tokens: &'s [TokenId]) -> Self {
        Self {
            session,
            tokens,
            wants: Wants::Logits,
        }
    }
}

impl Engine {
    /// Reads the tokens of all parts in one pass, which reads the weights once, and calls `read` with
    /// what the parts want, in their order but for states, which come first.
    ///
    /// What a session is given does not depend on the others: it has the very bits of a step alone.
    /// Numbers that overflow are the failure of their part.
    ///
    /// # Errors
    /// A part without tokens, with one beyond the vocabulary or with more than its session has room
    /// for: checked before any is read. The model's file has changed.
    pub fn step(&self, parts: &mut [Part<'_>], read: &mut ReadPart<'_>) -> Result<(), ModelError> {
        self.shard.check_file()?;
        for part in parts.iter() {
            self.check_tokens(part.session, part.tokens)?;
        }
        if parts.is_empty() {
            return Ok(());
        }
        let hidden = self.forward(parts)?;
        let mut last_rows = Vec::new();
        let mut row = 0;
        for (index, part) in parts.iter().enumerate() {
            let rows = row..row + part.tokens.len();
            row = rows.end;
            match part.wants {
                Wants::Nothing => {}
                Wants::Logits => last_rows.push((index, rows.end - 1)),
                Wants::States => {
                    let hidden = hidden.clone().narrow(0, rows.start, rows.len());
                    self.read_states(hidden, part.session, &mut |state| read(index, state))?;
                }
            }
        }
        let rows = (LOGITS_AT_ONCE / self.config.vocabulary).max(LEAST_ROWS);
        for wanted in last_rows.chunks(rows) {
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

    /// Hidden states of all parts' tokens, which join the sessions: `[Σ tokens, d_model]`.
    pub(super) fn forward(&self, parts: &mut [Part<'_>]) -> Result<Tensor<2>, ModelError> {
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
}

/// Some rows of a matrix; itself if these are all, in their order.
fn select(hidden: &Tensor<2>, rows: impl ExactSizeIterator<Item = usize> + Clone) -> Tensor<2> {
    let [all, _d_model] = hidden.dims();
    if rows.len() == all && rows.clone().eq(0..all) {
        return hidden.clone();
    }
    let rows = rows.map(|row| hidden.clone().narrow(0, row, 1));
    Tensor::cat(rows.collect(), 0)
}
