//! A draft head's rows for one text.

use std::sync::Arc;

use super::head::DraftHead;
use crate::kv_cache::KvCache;
use crate::sampler::{Counts, History, SamplerSettings, logprob_of, sample};
use crate::tokenizer::TokenId;

/// Rows that are kept. Behind them it begins again with the last `CARRIED` hidden states: a head has
/// a short window, so older rows are of little use.
const KEPT: usize = 512;
const CARRIED: usize = 128;
/// The most rows computed at once.
const AT_ONCE: usize = 128;

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
    sampling: SamplerSettings,
    /// The first position that was or will be chosen, not given.
    chosen_from: usize,
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
            sampling: SamplerSettings::greedy(),
            chosen_from: 0,
            logits: Vec::new(),
        }
    }

    pub(super) fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        self.sampling = sampling.clone();
        self.chosen_from = from;
    }

    /// The position after the last hidden state.
    fn end(&self) -> usize {
        self.first + self.states.len() / self.head.d_model()
    }

    pub(super) fn hear(&mut self, position: usize, state: &[f32]) {
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

    /// Drops the hidden states from position `len` on, and the rows with tokens from there on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.chain.clear();
        if len <= self.first {
            return self.restart(len);
        }
        let kept = (len - self.first) * self.head.d_model();
        self.states.truncate(kept);
        // A row has the token after its position.
        self.computed = self.computed.min(len - self.first - 1);
    }

    fn restart(&mut self, first: usize) {
        self.first = first;
        self.states.clear();
        self.computed = 0;
        self.chain.clear();
    }

    /// The token after `tokens`, of which those from `known` on are guesses, and the probability
    /// that the head gives it. `None` if the hidden state before the last known token is missing.
    pub(super) fn guess(&mut self, tokens: &[TokenId], known: usize) -> Option<(TokenId, f32)> {
        if known == 0 || self.end() + 1 != known || self.states.is_empty() {
            return None;
        }
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

    /// The token that the head's logits give at the position after `tokens`.
    fn choose(&mut self, tokens: &[TokenId]) -> Option<(TokenId, f32)> {
        let Self {
            head,
            state,
            sampling,
            logits: all,
            ..
        } = self;
        let generated = &tokens[self.chosen_from.min(tokens.len())..];
        let mut counts = Counts::default();
        if sampling.presence_penalty != 0.0 || sampling.frequency_penalty != 0.0 {
            generated.iter().for_each(|&token| counts.add(token));
        }
        all.clear();
        all.resize(head.vocabulary(), f32::NEG_INFINITY);
        head.logits(state, |logits| {
            for (&token, &logit) in head.tokens().iter().zip(logits) {
                all[token as usize] = logit;
            }
            let history = History {
                tokens,
                generated: counts.as_slice(),
            };
            let token = sample(sampling, tokens.len() as u64, history, all).ok()?;
            let at = head.tokens().binary_search(&token).ok()?;
            let probability = logprob_of(logits, at as TokenId).ok()?.exp();
            Some((token, probability))
        })
    }
}
