//! A drafter: a smaller model with the same vocabulary that guesses a model's next tokens.
//!
//! The drafter reads the same tokens in a session of its own and chooses from its logits as the
//! model's tokens are chosen, with the same noise. Wrong guesses are dropped from its session.

use std::sync::Arc;

use super::{Engine, Part, Session, Wants};
use crate::ModelError;
use crate::drafts::{Choice, Drafter, Guesser, MOST_GUESSES};
use crate::sampler::{SamplerSettings, logprob_of};
use crate::tokenizer::{OtherVocabulary, TokenId};

/// Positions of a new session, before it grows.
const ROOM: usize = 512;
/// Tokens of a prompt that are read at once, between two steps of the model.
const AT_ONCE: usize = 128;

/// A model that guesses the tokens of another one.
#[derive(Debug, Clone)]
pub struct DraftModel {
    engine: Arc<Engine>,
    /// The number of tokens that the model knows.
    vocabulary: usize,
    /// Weights read for a token, as a share of the model's.
    share: f64,
}

impl DraftModel {
    /// Uses `drafter` to guess the tokens of `model`. It should compute on the threads that `model`
    /// computes on.
    ///
    /// # Errors
    /// The drafter's tokens are not the model's.
    pub fn new(drafter: Engine, model: &Engine) -> Result<Self, OtherVocabulary> {
        model.tokenizer().check_same(drafter.tokenizer())?;
        let bytes = |of: &Engine| of.weight_bytes_per_token() as f64;
        Ok(Self {
            share: bytes(&drafter) / bytes(model).max(1.0),
            engine: Arc::new(drafter),
            vocabulary: model.tokenizer().vocabulary_size(),
        })
    }

    /// The weights that it reads for a token, as a share of the model's. Guesses of a drafter that
    /// reads as much or more pay at best where the model's layers are on other devices.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The drafter's engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A drafter for one text of at most `capacity` positions.
    pub fn drafter(&self, capacity: usize) -> Drafter {
        Drafter::by(self.source(capacity))
    }

    /// The guesses of a drafter for one text, without those that are looked up.
    pub(super) fn source(&self, capacity: usize) -> Box<dyn Guesser> {
        let capacity = capacity.min(self.engine.config().context);
        Box::new(Rows::new(self.clone(), capacity))
    }

    /// Bytes of keys and values for one text of at most `capacity` positions.
    pub fn kv_bytes(&self, capacity: usize) -> u64 {
        let config = self.engine.config();
        config.kv_bytes(0..config.layers, capacity.min(config.context))
    }
}

/// What a drafter has read of one text.
#[derive(Debug)]
struct Rows {
    model: DraftModel,
    /// Made when first needed. `None` also if there is no memory for it; then nothing is guessed.
    session: Option<Session>,
    capacity: usize,
    choice: Choice,
    /// The logits after the last token of the session; empty if they are not known.
    logits: Vec<f32>,
}

impl Rows {
    fn new(model: DraftModel, capacity: usize) -> Self {
        Self {
            model,
            session: None,
            capacity,
            choice: Choice::default(),
            logits: Vec::new(),
        }
    }

    /// The session with room for `len` positions, if it can have it.
    fn with_room(&mut self, len: usize) -> Option<()> {
        if len > self.capacity {
            return None;
        }
        let room = |had: usize| (2 * had).max(len + ROOM).min(self.capacity);
        match &self.session {
            Some(session) if session.capacity() >= len => {}
            Some(session) => {
                let grown = session.copy_prefix(session.len(), room(session.capacity()));
                self.session = Some(grown.ok()?);
            }
            None => self.session = Some(self.model.engine.session(room(0)).ok()?),
        }
        Some(())
    }

    /// Cuts the session to what it has in common with `tokens`. At least the last token is left to
    /// read, unless the logits after it are known. Returns the number of tokens read.
    fn cut(&mut self, tokens: &[TokenId]) -> usize {
        let Some(session) = &mut self.session else {
            return 0;
        };
        let pairs = session.tokens().iter().zip(tokens);
        let same = pairs.take_while(|(a, b)| a == b).count();
        if same == session.len() && (same < tokens.len() || !self.logits.is_empty()) {
            return same;
        }
        self.logits.clear();
        session.truncate(same.min(tokens.len().saturating_sub(1)));
        session.len()
    }

    /// Reads these tokens, and the logits after them if `wanted`.
    fn read(&mut self, tokens: &[TokenId], wanted: bool) -> Result<(), ModelError> {
        self.logits.clear();
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let engine = &self.model.engine;
        let mut part = Part::reading(session, tokens);
        if wanted {
            part.wants = Wants::Logits;
        }
        let logits = &mut self.logits;
        engine.step(&mut [part], &mut |_, row| {
            // Numbers that overflow give no guess.
            logits.extend_from_slice(row.unwrap_or_default());
        })
    }
}

impl Guesser for Rows {
    fn share(&self) -> f64 {
        self.model.share
    }

    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        self.choice = Choice::new(sampling, from);
    }

    fn listens(&self) -> bool {
        false
    }

    fn hear(&mut self, _position: usize, _state: &[f32]) {}

    fn truncate(&mut self, len: usize) {
        if let Some(session) = &mut self.session
            && len < session.len()
        {
            self.logits.clear();
            session.truncate(len);
        }
    }

    fn catch_up(&mut self, known: &[TokenId]) -> bool {
        if self.with_room(known.len()).is_none() {
            return false;
        }
        let read = self.cut(known);
        // The rest is read with the guess.
        let behind = known.len().saturating_sub(read + MOST_GUESSES + 1);
        if behind == 0 {
            return true;
        }
        let count = behind.min(AT_ONCE);
        self.read(&known[read..read + count], false).is_ok() && count == behind
    }

    fn guess(&mut self, tokens: &[TokenId], _known: usize) -> Option<(TokenId, f32)> {
        self.with_room(tokens.len())?;
        let read = self.cut(tokens);
        if read < tokens.len() {
            self.read(&tokens[read..], true).ok()?;
        }
        let token = self.choice.token(tokens, &self.logits).ok()?;
        if token as usize >= self.model.vocabulary {
            return None;
        }
        let probability = logprob_of(&self.logits, token).ok()?.exp();
        Some((token, probability))
    }
}
