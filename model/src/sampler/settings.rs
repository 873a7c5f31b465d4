//! Sampler settings.

use std::sync::Arc;

use crate::tokenizer::TokenId;

/// Sampler settings. The steps apply in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerSettings {
    /// For tokens among the last [`Self::repetition_window`], divides a positive logit and
    /// multiplies a negative one by this (N. Keskar and others, "CTRL", 2019). 1 disables it.
    pub repetition_penalty: f32,
    /// Number of most recent tokens that count as repetitions.
    pub repetition_window: usize,
    /// Subtracted from a token's logit once for each time that the token was generated, as OpenAI
    /// defines it. 0 disables it.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if the token was generated at all. 0 disables it.
    pub presence_penalty: f32,
    /// Values added to the logits of some tokens.
    pub logit_bias: LogitBias,
    /// Divides the logits. 0 chooses the greatest logit; the settings below, including the seed,
    /// then have no effect.
    pub temperature: f32,
    /// Keeps only this many tokens with the greatest logits; 0 keeps all.
    pub top_k: usize,
    /// Of those, keeps the most likely ones whose probabilities add up to this, at least one; 1
    /// keeps all.
    pub top_p: f32,
    /// Of those, keeps tokens at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// The random seed. Different seeds give different texts.
    pub seed: u64,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            repetition_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: LogitBias::none(),
            temperature: 0.7,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            seed: 0,
        }
    }
}

impl SamplerSettings {
    /// Always chooses the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks that all settings are in range.
    ///
    /// # Errors
    /// [`SamplerError::Setting`].
    pub fn validate(&self) -> Result<(), SamplerError> {
        let check = |name, value: f32, valid, range| {
            if valid {
                Ok(())
            } else {
                Err(SamplerError::Setting { name, value, range })
            }
        };
        check(
            "repetition penalty",
            self.repetition_penalty,
            (0.01..=100.0).contains(&self.repetition_penalty),
            "from 0.01 to 100",
        )?;
        for (name, penalty) in [
            ("frequency penalty", self.frequency_penalty),
            ("presence penalty", self.presence_penalty),
        ] {
            let valid = (-2.0..=2.0).contains(&penalty);
            check(name, penalty, valid, "from -2 to 2")?;
        }
        check(
            "temperature",
            self.temperature,
            (0.0..=1000.0).contains(&self.temperature),
            "from 0 to 1000",
        )?;
        check(
            "top-p",
            self.top_p,
            self.top_p > 0.0 && self.top_p <= 1.0,
            "above 0 and at most 1",
        )?;
        check(
            "min-p",
            self.min_p,
            (0.0..=1.0).contains(&self.min_p),
            "from 0 to 1",
        )
    }
}

/// Values added to the logits of some tokens: −100 bans a token, 100 forces it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogitBias {
    // Distinct tokens in ascending order; each value from −100 to 100. Shared between copies.
    list: Option<Arc<[(TokenId, f32)]>>,
}

impl LogitBias {
    /// An empty bias.
    pub const fn none() -> Self {
        Self { list: None }
    }

    /// Creates a bias from values in any order. For repeated tokens, the last value counts.
    ///
    /// # Errors
    /// [`SamplerError::Setting`] for a value outside −100 to 100.
    pub fn new(bias: impl IntoIterator<Item = (TokenId, f32)>) -> Result<Self, SamplerError> {
        let mut list: Vec<_> = bias.into_iter().collect();
        if let Some(&(_, value)) = list.iter().find(|(_, v)| !(-100.0..=100.0).contains(v)) {
            return Err(SamplerError::Setting {
                name: "logit bias",
                value,
                range: "from -100 to 100",
            });
        }
        list.reverse();
        // Stable sort: of equal tokens, the last given is now the first.
        list.sort_by_key(|(token, _)| *token);
        list.dedup_by_key(|(token, _)| *token);
        Ok(Self {
            list: (!list.is_empty()).then(|| list.into()),
        })
    }

    /// The tokens in ascending order, with their values.
    pub fn as_slice(&self) -> &[(TokenId, f32)] {
        self.list.as_deref().unwrap_or_default()
    }
}

/// Why no token can be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A setting is out of range.
    #[error("{name} is {value}: give a number {range}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The given value.
        value: f32,
        /// The valid range, in words.
        range: &'static str,
    },
    /// A logit is NaN or +∞.
    #[error(
        "the model's output is not a number: a weight of its file is not one, or its keys and values \
         exceed the 16 bits they are kept in; fetch the file again, or choose another"
    )]
    NotANumber,
    /// There are no logits, or all are −∞.
    #[error("no token is allowed here")]
    NoCandidate,
}
