//! Chooses an answer token by token from logits, independent of where they are computed.

use super::stop::StopTexts;
use crate::ModelError;
use crate::sampler::{Counts, History, Mask, SamplerSettings, logprob_of, sample, top_logprobs};
use crate::tokenizer::{TokenDecoder, TokenId, Tokenizer};

/// Options for generation.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The sampler's settings.
    pub sampling: SamplerSettings,
    /// Maximum number of tokens.
    pub max_tokens: usize,
    /// Stop texts: the answer ends before the first of them. Empty ones are ignored.
    pub stop: Vec<String>,
    /// If set, report each token's log-probability and those of this many most likely tokens.
    pub logprobs: Option<usize>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            sampling: SamplerSettings::default(),
            max_tokens: usize::MAX,
            stop: Vec::new(),
            logprobs: None,
        }
    }
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended its turn, or its grammar is complete.
    EndOfTurn,
    /// A stop text appeared.
    StopText,
    /// The maximum number of tokens was reached.
    MaxTokens,
    /// The session is full.
    ContextFull,
    /// The caller cancelled.
    Cancelled,
}

/// The result of one choice.
#[derive(Debug, Clone, PartialEq)]
pub enum Chosen {
    /// The next token.
    Token(ChosenToken),
    /// The end of the answer.
    End(StopReason),
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenToken {
    /// Its id.
    pub id: TokenId,
    /// Text completed by this token. Empty in the middle of a character, and while the text may be
    /// the start of a stop text.
    pub text: String,
    /// Its log-probabilities, if requested.
    pub logprobs: Option<TokenLogprobs>,
}

/// Natural log-probabilities at a position, from the model's own logits: before any sampler setting
/// and before the mask.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// That of the chosen token.
    pub chosen: f32,
    /// The most likely tokens, best first.
    pub top: Vec<(TokenId, f32)>,
}

/// Chooses the tokens of one answer. The caller computes logits in any way and at any time, and
/// passes those after the last token to [`Self::choose`], until it or [`Self::ended`] reports the
/// end of the answer.
///
/// The choice at a position is a pure function of the seed, the position, the logits and the
/// settings. Neither the machine nor concurrent work changes the text.
pub struct Generator<'a> {
    tokenizer: &'a Tokenizer,
    options: GenerateOptions,
    mask: Option<Box<dyn Mask>>,
    decoder: TokenDecoder<'a>,
    stop: StopTexts,
    // The prompt and the generated tokens.
    tokens: Vec<TokenId>,
    prompt: usize,
    counts: Counts,
    // Buffer for masked logits, kept to reuse its memory.
    masked: Vec<f32>,
    ended: Option<StopReason>,
}

impl<'a> Generator<'a> {
    /// Starts an answer to `prompt`, which is all tokens before the answer.
    pub fn new(tokenizer: &'a Tokenizer, options: GenerateOptions, prompt: Vec<TokenId>) -> Self {
        Self {
            tokenizer,
            mask: None,
            decoder: tokenizer.decoder(),
            stop: StopTexts::new(&options.stop),
            options,
            prompt: prompt.len(),
            tokens: prompt,
            counts: Counts::default(),
            masked: Vec::new(),
            ended: None,
        }
    }

    /// Restricts the tokens to those that this mask allows.
    #[must_use]
    pub fn with_mask(self, mask: Box<dyn Mask>) -> Self {
        Self {
            mask: Some(mask),
            ..self
        }
    }

    /// Includes these control tokens in the text; others are left out.
    #[must_use]
    pub fn with_shown(self, tokens: impl IntoIterator<Item = TokenId>) -> Self {
        Self {
            decoder: self.decoder.with_shown(tokens),
            ..self
        }
    }

    /// Chooses the next token from the logits after the last token.
    ///
    /// # Errors
    /// Logits are not numbers, a setting is out of range, or the mask allows no token.
    pub fn choose(&mut self, logits: &[f32]) -> Result<Chosen, ModelError> {
        if let Some(reason) = self.ended {
            return Ok(Chosen::End(reason));
        }
        let id = self.sample(logits)?;
        let reason = if self.tokenizer.is_end(id) {
            Some(StopReason::EndOfTurn)
        } else if self.generated().len() >= self.options.max_tokens {
            Some(StopReason::MaxTokens)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.ended = Some(reason);
            return Ok(Chosen::End(reason));
        }
        let logprobs = self.options.logprobs;
        let logprobs = logprobs.map(|count| {
            Ok::<_, ModelError>(TokenLogprobs {
                chosen: logprob_of(logits, id)?,
                top: top_logprobs(logits, count)?,
            })
        });
        let logprobs = logprobs.transpose()?;
        let text = self.take(id)?;
        Ok(Chosen::Token(ChosenToken { id, text, logprobs }))
    }

    /// Why the answer ended, if this is known without more logits.
    pub fn ended(&self) -> Option<StopReason> {
        self.ended
    }

    /// Returns the text still held back at the end: an incomplete character or the start of a stop
    /// text.
    pub fn finish(&mut self) -> String {
        if self.ended == Some(StopReason::StopText) {
            return String::new();
        }
        let (mut text, _) = self.stop.push(self.decoder.finish());
        text.push_str(&self.stop.finish());
        text
    }

    /// The answer's tokens so far, without the one that ended it.
    pub fn generated(&self) -> &[TokenId] {
        &self.tokens[self.prompt..]
    }

    /// How tokens are chosen.
    pub fn sampling(&self) -> &SamplerSettings {
        &self.options.sampling
    }

    /// All tokens so far, including the prompt's.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn sample(&mut self, logits: &[f32]) -> Result<TokenId, ModelError> {
        let logits = match &mut self.mask {
            None => logits,
            Some(mask) => {
                self.masked.clear();
                self.masked.extend_from_slice(logits);
                mask.apply(&mut self.masked)?;
                &self.masked
            }
        };
        let position = self.tokens.len() as u64;
        let history = History {
            tokens: &self.tokens,
            generated: self.counts.as_slice(),
        };
        Ok(sample(&self.options.sampling, position, history, logits)?)
    }

    /// Adds a token to the answer and returns the text that it completes.
    fn take(&mut self, id: TokenId) -> Result<String, ModelError> {
        if let Some(mask) = &mut self.mask {
            mask.accept(id)?;
            if mask.is_finished() {
                self.ended = Some(StopReason::EndOfTurn);
            }
        }
        self.tokens.push(id);
        self.counts.add(id);
        let (text, found) = self.stop.push(self.decoder.push(id));
        if found {
            self.ended = Some(StopReason::StopText);
        } else if self.ended.is_none() && self.generated().len() == self.options.max_tokens {
            self.ended = Some(StopReason::MaxTokens);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::MaskError;
    use crate::tokenizer::SpecialTokens;
    use crate::tokenizer::tests::byte_pairs;

    const END: TokenId = 256 + 8;

    /// Logits whose best token is `best`.
    fn logits(best: TokenId) -> Vec<f32> {
        (0..300)
            .map(|id| if id == best { 1.0 } else { 0.0 })
            .collect()
    }

    /// Chooses these tokens until the generator ends. Returns the texts in order and the stop
    /// reason.
    fn drive(generator: &mut Generator<'_>, ids: &[TokenId]) -> (Vec<String>, Option<StopReason>) {
        let mut texts = Vec::new();
        for &id in ids {
            match generator.choose(&logits(id)).expect("numbers") {
                Chosen::Token(token) => texts.push(token.text),
                Chosen::End(_) => break,
            }
        }
        texts.push(generator.finish());
        (texts, generator.ended())
    }

    fn greedy() -> GenerateOptions {
        GenerateOptions {
            sampling: SamplerSettings::greedy(),
            ..GenerateOptions::default()
        }
    }

    #[test]
    fn a_stop_text_across_tokens_is_not_part_of_the_answer() {
        let tokenizer = byte_pairs(|_| ());
        let ids = tokenizer.encode("hell w\n\nhello", SpecialTokens::AsText);
        let with = |stop: &str| {
            let options = GenerateOptions {
                stop: vec![stop.to_owned()],
                ..greedy()
            };
            let mut generator = Generator::new(&tokenizer, options, vec![1]);
            let (texts, reason) = drive(&mut generator, &ids);
            (texts.concat(), reason, generator.generated().len())
        };
        let stopped = Some(StopReason::StopText);
        assert_eq!(with("w\n\n"), ("hell ".to_owned(), stopped, 4));
        assert_eq!(with("ell"), ("h".to_owned(), stopped, 1));
        assert_eq!(
            with("hellow"),
            ("hell w\n\nhello".to_owned(), None, ids.len())
        );
    }

    #[test]
    fn answers_end_without_logits_that_nobody_needs() {
        let tokenizer = byte_pairs(|_| ());
        let with = |max_tokens, ids: &[TokenId]| {
            let options = GenerateOptions {
                max_tokens,
                ..greedy()
            };
            let mut generator = Generator::new(&tokenizer, options, vec![1]);
            let (texts, reason) = drive(&mut generator, ids);
            (texts.concat(), reason)
        };
        let hello = tokenizer.encode("hello", SpecialTokens::AsText)[0];
        assert_eq!(
            with(1, &[hello]),
            ("hello".to_owned(), Some(StopReason::MaxTokens))
        );
        assert_eq!(
            with(0, &[hello]),
            (String::new(), Some(StopReason::MaxTokens))
        );
        assert_eq!(
            with(5, &[hello, END, hello]),
            ("hello".to_owned(), Some(StopReason::EndOfTurn))
        );
        assert_eq!(with(5, &[0xe8]), ("\u{fffd}".to_owned(), None));
    }

    #[test]
    fn control_tokens_are_written_where_asked_for() {
        let tokenizer = byte_pairs(|_| ());
        let start = 256 + 7;
        let mut hidden = Generator::new(&tokenizer, greedy(), vec![1]);
        assert_eq!(drive(&mut hidden, &[start]).0.concat(), "");
        let mut shown = Generator::new(&tokenizer, greedy(), vec![1]).with_shown([start]);
        assert_eq!(drive(&mut shown, &[start]).0.concat(), "<|im_start|>");
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let tokenizer = byte_pairs(|_| ());
        let options = GenerateOptions {
            logprobs: Some(2),
            ..greedy()
        };
        let only_b = Only { token: 66, left: 1 };
        let mut generator =
            Generator::new(&tokenizer, options, vec![1]).with_mask(Box::new(only_b));
        let logits = logits(65);
        let Chosen::Token(token) = generator.choose(&logits).expect("numbers") else {
            panic!("a token");
        };
        assert_eq!(token.id, 66);
        let logprobs = token.logprobs.expect("asked for");
        assert_eq!(logprobs.chosen, logprob_of(&logits, 66).expect("numbers"));
        assert_eq!(logprobs.top, top_logprobs(&logits, 2).expect("numbers"));
        assert_eq!(logprobs.top[0].0, 65);
    }

    /// Allows a single token, a limited number of times.
    struct Only {
        token: TokenId,
        left: usize,
    }

    impl Mask for Only {
        fn apply(&mut self, logits: &mut [f32]) -> Result<(), MaskError> {
            for (id, logit) in (0..).zip(logits) {
                if id != self.token {
                    *logit = f32::NEG_INFINITY;
                }
            }
            Ok(())
        }

        fn accept(&mut self, token: TokenId) -> Result<(), MaskError> {
            assert_eq!(token, self.token);
            self.left -= 1;
            Ok(())
        }

        fn is_finished(&self) -> bool {
            self.left == 0
        }
    }

    #[test]
    fn a_mask_is_kept_to_and_ends_the_answer() {
        let tokenizer = byte_pairs(|_| ());
        let only = Only { token: 66, left: 2 };
        let mut generator = Generator::new(&tokenizer, greedy(), vec![1]).with_mask(Box::new(only));
        let (texts, reason) = drive(&mut generator, &[70, END, 70]);
        assert_eq!(texts.concat(), "BB");
        assert_eq!(reason, Some(StopReason::EndOfTurn));
        assert_eq!(generator.generated(), [66, 66]);
    }

    #[test]
    fn penalties_count_what_was_generated_only() {
        let tokenizer = byte_pairs(|_| ());
        let sampling = SamplerSettings {
            presence_penalty: 2.0,
            ..SamplerSettings::greedy()
        };
        let options = GenerateOptions {
            sampling,
            ..GenerateOptions::default()
        };
        let mut generator = Generator::new(&tokenizer, options, vec![65, 65]);
        for _ in 0..2 {
            generator.choose(&logits(65)).expect("numbers");
        }
        // The second time, another token is better: the first of the others.
        assert_eq!(generator.generated(), [65, 0]);
    }
}
