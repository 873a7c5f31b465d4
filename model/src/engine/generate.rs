//! Token sequences and text generation: prefill, sample and decode until a stop condition. Works
//! the same wherever the model's layers are.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Chosen, GenerateOptions, Generator, StopReason};
use crate::ModelError;
use crate::drafts::Drafts;
use crate::sampler::SamplerSettings;
use crate::tokenizer::{TokenId, Tokenizer};

/// A sequence of tokens read by a model. Generation works the same on every implementation.
pub trait Sequence {
    /// The error that stops reading.
    type Error: From<ModelError>;

    /// The tokens read so far.
    fn tokens(&self) -> &[TokenId];

    /// Positions reserved.
    fn capacity(&self) -> usize;

    /// Drops the tokens from `len` on. The tokens before stay cached, unless a layer with a sliding
    /// window has overwritten what the next one sees: then they are dropped, too, and have to be read
    /// again. Returns the number of tokens left.
    fn truncate(&mut self, len: usize) -> usize;

    /// Reads `tokens` and calls `read` with the logits of the last position.
    ///
    /// `progress` is called repeatedly with the number of tokens read so far. If it returns false,
    /// reading stops (tokens already read stay) and the result is `None`.
    ///
    /// # Errors
    /// `tokens` is empty, has an id beyond the vocabulary, or exceeds the free room (all checked
    /// before any token is read); or the sequence's own error.
    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, Self::Error>;

    /// Positions left.
    fn free(&self) -> usize {
        self.capacity().saturating_sub(self.tokens().len())
    }

    /// Tells how the tokens from position `from` on will be chosen, for guesses of them.
    fn chosen_with(&mut self, _sampling: &SamplerSettings, _from: usize) {}

    /// Counts of guesses so far.
    fn drafts(&self) -> Drafts {
        Drafts::default()
    }

    /// Whether the last read computed exactly its tokens, on its own: with guesses, a read computes
    /// more rows, or none.
    fn is_plain(&self) -> bool {
        true
    }
}

impl<S: Sequence> Sequence for &mut S {
    type Error = S::Error;

    fn tokens(&self) -> &[TokenId] {
        (**self).tokens()
    }

    fn capacity(&self) -> usize {
        (**self).capacity()
    }

    fn truncate(&mut self, len: usize) -> usize {
        (**self).truncate(len)
    }

    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, Self::Error> {
        (**self).read(tokens, progress, read)
    }

    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        (**self).chosen_with(sampling, from);
    }

    fn drafts(&self) -> Drafts {
        (**self).drafts()
    }

    fn is_plain(&self) -> bool {
        (**self).is_plain()
    }
}

/// A generation event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Prefill progress.
    Prefill {
        /// Tokens read.
        done: usize,
        /// Prompt tokens that were not already in the session.
        total: usize,
    },
    /// A token was chosen.
    Token {
        /// Its id.
        id: TokenId,
        /// Text completed by this token. Empty in the middle of a character, and while the text may
        /// be the start of a stop text.
        text: &'a str,
    },
}

/// The result of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The generated tokens, without the one that ended the turn.
    pub token_ids: Vec<TokenId>,
    /// The generated text.
    pub text: String,
    /// Why generation ended.
    pub stop_reason: StopReason,
    /// Prompt tokens that were read.
    pub prompt_tokens: usize,
    /// Time to read the prompt.
    pub prefill: Duration,
    /// Time from the first chosen token to the last.
    pub decode: Duration,
    /// Time from the call to the first chosen token.
    pub time_to_first_token: Duration,
}

impl Generation {
    /// Prompt tokens read per second.
    pub fn prefill_tokens_per_s(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
    }

    /// Tokens decoded per second, over the steps between the first and the last token.
    pub fn decode_tokens_per_s(&self) -> f64 {
        rate(self.token_ids.len().saturating_sub(1), self.decode)
    }
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if tokens == 0 || time.is_zero() {
        return 0.0;
    }
    tokens as f64 / time.as_secs_f64()
}

/// Reads `prompt`, then chooses tokens until the turn ends, a stop text appears, `max_tokens` is
/// reached, the sequence is full, or `on_event` breaks. All tokens stay in the sequence except the
/// last chosen one, which no step has read.
///
/// The choice at a position is a pure function of the seed, the position, the logits and the
/// settings, so the text is the same wherever it is computed.
///
/// # Errors
/// The prompt is empty or does not fit, logits are not numbers, or the sequence's own error.
pub fn generate<S: Sequence>(
    sequence: &mut S,
    tokenizer: &Tokenizer,
    prompt: &[TokenId],
    options: &GenerateOptions,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Generation, S::Error> {
    let start = Instant::now();
    let mut history: Vec<TokenId> = sequence.tokens().to_vec();
    history.extend_from_slice(prompt);
    sequence.chosen_with(&options.sampling, history.len());
    let mut generator = Generator::new(tokenizer, options.clone(), history);
    let mut generation = Generation {
        token_ids: Vec::new(),
        text: String::new(),
        stop_reason: StopReason::Cancelled,
        prompt_tokens: prompt.len(),
        prefill: Duration::ZERO,
        decode: Duration::ZERO,
        time_to_first_token: Duration::ZERO,
    };
    let total = prompt.len();
    let mut on_prefill = |done| on_event(Event::Prefill { done, total }).is_continue();
    let first = sequence.read(prompt, &mut on_prefill, |logits| generator.choose(logits))?;
    generation.prefill = start.elapsed();
    generation.time_to_first_token = generation.prefill;
    let Some(mut chosen) = first.transpose()? else {
        return Ok(generation);
    };
    let decoding = Instant::now();
    generation.stop_reason = loop {
        let token = match chosen {
            Chosen::Token(token) => token,
            Chosen::End(reason) => break reason,
        };
        generation.text.push_str(&token.text);
        generation.decode = decoding.elapsed();
        let event = Event::Token {
            id: token.id,
            text: &token.text,
        };
        if on_event(event).is_break() {
            break StopReason::Cancelled;
        }
        if let Some(reason) = generator.ended() {
            break reason;
        }
        if sequence.free() == 0 {
            break StopReason::ContextFull;
        }
        let choose = |logits: &[f32]| generator.choose(logits);
        match sequence.read(&[token.id], &mut |_| true, choose)? {
            Some(next) => chosen = next?,
            None => break StopReason::Cancelled,
        }
    };
    generation.text.push_str(&generator.finish());
    generation.token_ids = generator.generated().to_vec();
    Ok(generation)
}
