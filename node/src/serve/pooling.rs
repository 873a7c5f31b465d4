//! Embedding requests: computes several texts of a request at a time.

use std::collections::VecDeque;

use super::client::{Client, Embedded};
use super::{Caller, RequestError};
use crate::engine::{Engine, MeanPool, ModelError, Part, Session, TokenId, Wants};
use crate::stages::Reservation;

/// The most texts of a request in one step.
const AT_ONCE: usize = 16;

/// A request to embed texts.
pub(super) struct Pooling {
    client: Client,
    waiting: VecDeque<(usize, Vec<TokenId>)>,
    active: Vec<Text>,
    vectors: Vec<Vec<f32>>,
    tokens: usize,
}

/// A text in progress.
pub(super) struct Text {
    index: usize,
    tokens: Vec<TokenId>,
    session: Session,
    _memory: Reservation,
    pub(super) pool: MeanPool,
    pub(super) failed: Option<ModelError>,
}

impl Pooling {
    /// Starts a request; no text has begun yet. `None` if the caller has fewer tokens left than the
    /// texts have, which others of its requests may have used since these were prepared: then the
    /// request has failed.
    pub(super) fn new(mut client: Client, texts: Vec<Vec<TokenId>>) -> Option<Self> {
        let tokens: usize = texts.iter().map(Vec::len).sum();
        if tokens as u64 > client.caller.left() {
            client.fail(RequestError::spent());
            return None;
        }
        let waited = client.arrived.elapsed();
        client.counters().started(tokens, 0, waited);
        client.caller.charge(tokens);
        client.loading = client.loading.min(waited);
        Some(Self {
            client,
            vectors: vec![Vec::new(); texts.len()],
            waiting: texts.into_iter().enumerate().collect(),
            active: Vec::new(),
            tokens,
        })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.client.is_gone()
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.client.caller
    }

    /// The length of the next text to begin. `None` if too many texts are in progress, or if those
    /// already have at least `tokens` unprocessed tokens.
    pub(super) fn next(&self, tokens: usize) -> Option<usize> {
        let unread: usize = self.active.iter().map(Text::unread).sum();
        let room = self.active.len() < AT_ONCE && unread < tokens;
        let next = self.waiting.front().filter(|_| room)?;
        Some(next.1.len())
    }

    /// Begins the next text.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn begin(&mut self, engine: &Engine, memory: Reservation) -> Result<(), ModelError> {
        let Some((index, tokens)) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.active.push(Text {
            index,
            session: engine.session(tokens.len())?,
            tokens,
            _memory: memory,
            pool: MeanPool::default(),
            failed: None,
        });
        Ok(())
    }

    /// Parts of a step with at most `tokens` tokens, each with the receiver of its hidden states.
    pub(super) fn parts<'s>(&'s mut self, mut tokens: usize) -> Vec<(Part<'s>, Heard<'s>)> {
        let mut parts = Vec::new();
        for text in &mut self.active {
            let at = text.session.len();
            let end = (at + tokens).min(text.tokens.len());
            tokens -= end - at;
            if end == at {
                continue;
            }
            let mut part = Part::reading(&mut text.session, &text.tokens[at..end]);
            part.wants = Wants::States;
            let heard = Heard {
                pool: &mut text.pool,
                failed: &mut text.failed,
            };
            parts.push((part, heard));
        }
        parts
    }

    /// Collects the vectors of finished texts. Returns the request until all of them are done.
    pub(super) fn after_step(mut self) -> Option<Self> {
        for at in (0..self.active.len()).rev() {
            if let Some(error) = self.active[at].failed.take() {
                self.fail(RequestError::Failed {
                    message: error.to_string(),
                });
                return None;
            }
            if self.active[at].unread() == 0 {
                let text = self.active.swap_remove(at);
                self.vectors[text.index] = text.pool.finish();
            }
        }
        if !self.active.is_empty() || !self.waiting.is_empty() {
            return Some(self);
        }
        tracing::info!(
            parent: &self.client.span,
            texts = self.vectors.len(),
            tokens = self.tokens,
            "texts were embedded"
        );
        self.client.embedded(Embedded {
            vectors: self.vectors,
            tokens: self.tokens,
        });
        None
    }

    pub(super) fn fail(self, error: RequestError) {
        self.client.fail(error);
    }

    pub(super) fn cancelled(self) {
        self.client.cancelled();
    }
}

/// The receiver of a text's hidden states.
pub(super) struct Heard<'s> {
    pool: &'s mut MeanPool,
    failed: &'s mut Option<ModelError>,
}

impl Heard<'_> {
    pub(super) fn hear(&mut self, state: Result<&[f32], ModelError>) {
        match state {
            Ok(state) => self.pool.add(state),
            Err(error) => *self.failed = Some(error),
        }
    }
}

impl Text {
    fn unread(&self) -> usize {
        self.tokens.len() - self.session.len()
    }
}
