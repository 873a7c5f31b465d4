//! A draft head's rows for one text.

use std::sync::Arc;

use super::guesser::{Choice, Guesser};
use super::head::DraftHead;
use crate::kv_cache::KvCache;
use crate::sampler::{SamplerSettings, logprob_of};
use crate::tokenizer::TokenId;

/// Rows that are kept. Behind them it begins again with the last `CARRIED` hidden states: a head has
/// a short window, so older rows are of little use.
const KEPT: usize = 512;
const CARRIED: usize = 128;
/// The most rows computed at once.
const AT_ONCE: usize = 128;
/// The assumed time of a guess, as a share of the model's step with one row.
const SHARE: f64 = 0.1;

/// The hidden states of a text, and the head's rows after them.
///
/// Row `i` takes the hidden state at position `first + i` and the token at position
/// `first + i + 1`. The text before `first` is unknown to the head.
#[derive(Debug)]
pub(super) struct HeadRows {
    head: Arc<DraftHead>,
    /// Made when first needed. `None` also if there is no memory for it; then nothing is guessed.
    cache: Option<KvCache>,
    first: usize,
    /// The model's hidden states from position `first` on: `[positions, d_model]`.
    states: Vec<f32>,
    /// Of these, so many have a row in the cache.
    computed: usize,
    /// The tokens of the rows after those, which stand on guesses.
    chain: Vec<TokenId>,
    /// The head's state after the last row.
    state: Vec<f32>,
    choice: Choice,
    /// Buffer for logits of the whole vocabulary.
    logits: Vec<f32>,
}

impl HeadRows {
    pub(super) fn new(head: Arc<DraftHead>) -> Self {
        Self {
            head,
            cache: None,
            first: 0,
            states: Vec::new(),
            computed: 0,
            chain: Vec::new(),
            state: Vec::new(),
            choice: Choice::default(),
            logits: Vec::new(),
        }
    }

    /// The position after the last hidden state.
    fn end(&self) -> usize {
        self.first + self.states.len() / self.head.d_model()
    }

    fn restart(&mut self, first: usize) {
        self.first = first;
        self.states.clear();
        self.computed = 0;
        self.chain.clear();
    }

    /// Computes the rows of known tokens that are not computed yet.
    fn compute_known(&mut self, tokens: &[TokenId]) -> Option<()> {
        if self.cache.is_none() {
            self.cache = self.head.cache(KEPT).ok();
        }
        let cache = self.cache.as_mut()?;
        let d_model = self.head.d_model();
        let all = self.states.len() / d_model;
        if self.computed < all {
            self.chain.clear();
        }
        while self.computed < all {
            let count = (all - self.computed).min(AT_ONCE);
            let states = &self.states[self.computed * d_model..][..count * d_model];
            let tokens = &tokens[self.first + self.computed + 1..][..count];
            let out = self
                .head
                .forward(states.to_vec(), tokens, self.computed, cache);
            self.state = out[out.len() - d_model..].to_vec();
            self.computed += count;
        }
        Some(())
    }

    /// The token that the head's logits give at the position after `tokens`.
    fn choose(&mut self, tokens: &[TokenId]) -> Option<(TokenId, f32)> {
        let Self {
            head,
            state,
            choice,
            logits: all,
            ..
        } = self;
        all.clear();
        all.resize(head.vocabulary(), f32::NEG_INFINITY);
        head.logits(state, |logits| {
            for (&token, &logit) in head.tokens().iter().zip(logits) {
                all[token as usize] = logit;
            }
            let token = choice.token(tokens, all).ok()?;
            let at = head.tokens().binary_search(&token).ok()?;
            let probability = logprob_of(logits, at as TokenId).ok()?.exp();
            Some((token, probability))
        })
    }

    /// Whether the hidden state before the last of `known` tokens is there.
    fn hears(&self, known: usize) -> bool {
        known > 0 && self.end() + 1 == known && !self.states.is_empty()
    }
}

impl Guesser for HeadRows {
    fn share(&self) -> f64 {
        SHARE
    }

    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        self.choice = Choice::new(sampling, from);
    }

    fn listens(&self) -> bool {
        true
    }

    fn hear(&mut self, position: usize, state: &[f32]) {
        if state.len() != self.head.d_model() {
            return;
        }
        if position < self.end() {
            self.truncate(position);
        }
        if position != self.end() {
            self.restart(position);
        }
        self.states.extend_from_slice(state);
        if self.end() - self.first >= KEPT - super::MOST_GUESSES {
            let states = self
                .states
                .split_off(self.states.len() - CARRIED * state.len());
            self.restart(position + 1 - CARRIED);
            self.states = states;
        }
    }

    fn truncate(&mut self, len: usize) {
        self.chain.clear();
        if len <= self.first {
            return self.restart(len);
        }
        let kept = (len - self.first) * self.head.d_model();
        self.states.truncate(kept);
        // A row has the token after its position.
        self.computed = self.computed.min(len - self.first - 1);
    }

    fn catch_up(&mut self, known: &[TokenId]) -> bool {
        if !self.hears(known.len()) {
            return false;
        }
        let all = self.states.len() / self.head.d_model();
        // A few rows are computed with the guess.
        all - self.computed <= super::MOST_GUESSES + 1 || self.compute_known(known).is_some()
    }

    fn guess(&mut self, tokens: &[TokenId], known: usize) -> Option<(TokenId, f32)> {
        if !self.hears(known) {
            return None;
        }
        self.compute_known(tokens)?;
        let cache = self.cache.as_mut()?;
        let d_model = self.head.d_model();
        let all = self.states.len() / d_model;
        let guesses = &tokens[known..];
        if !guesses.starts_with(&self.chain) {
            // The state before them is gone: compute the last known row again.
            self.chain.clear();
            let last = &self.states[(all - 1) * d_model..];
            let token = &tokens[known - 1..known];
            self.state = self.head.forward(last.to_vec(), token, all - 1, cache);
        }
        for &guess in &guesses[self.chain.len()..] {
            let at = all + self.chain.len();
            if at >= KEPT {
                return None;
            }
            let state = std::mem::take(&mut self.state);
            self.state = self.head.forward(state, &[guess], at, cache);
            self.chain.push(guess);
        }
        self.choose(tokens)
    }
}
