//! How tokens are chosen.

use std::sync::Arc;

use crate::tokenizer::TokenId;

/// How tokens are chosen. The steps apply in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerSettings {
    /// Tokens among the last [`Self::repetition_window`] have a positive logit divided by this, a
    /// negative one multiplied by it (N. Keskar and others, "CTRL", 2019). 1 changes nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens count as repetitions.
    pub repetition_window: usize,
    /// Tokens have their logit lowered by this for each time they were generated, as OpenAI defines
    /// it. 0 changes nothing.
    pub frequency_penalty: f32,
    /// Tokens that were generated have their logit lowered by this, however often they were. 0
    /// changes nothing.
    pub presence_penalty: f32,
    /// What is added to the logits of some tokens.
    pub logit_bias: LogitBias,
    /// Logits are divided by this. 0 chooses the greatest logit, and makes what follows, the seed
    /// included, meaningless.
    pub temperature: f32,
    /// Only this many tokens of the greatest logits are considered; 0 for all.
    pub top_k: usize,
    /// Of those, the most likely whose probabilities add up to this, and one at least; 1 for all.
    pub top_p: f32,
    /// Of those, the ones that are at least this times as likely as the most likely; 0 for all.
    pub min_p: f32,
    /// Another seed gives another text.
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
    /// The most likely token every time.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks every setting's range.
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

/// What is added to the logits of some tokens: −100 bans a token, 100 makes it come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogitBias {
    // Different tokens, ascending; each value from −100 to 100. Shared between the copies.
    list: Option<Arc<[(TokenId, f32)]>>,
}

impl LogitBias {
    /// Nothing is added.
    pub const fn none() -> Self {
        Self { list: None }
    }

    /// Adds these numbers, in any order; of several for one token, the last counts.
    ///
    /// # Errors
    /// [`SamplerError::Setting`] for a number that is not from −100 to 100.
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
        // Stable: of equal tokens, the one that was given last is the first.
        list.sort_by_key(|(token, _)| *token);
        list.dedup_by_key(|(token, _)| *token);
        Ok(Self {
            list: (!list.is_empty()).then(|| list.into()),
        })
    }

    /// The tokens, ascending, and what is added to their logits.
    pub fn as_slice(&self) -> &[(TokenId, f32)] {
        self.list.as_deref().unwrap_or_default()
    }
}

/// Why no token can be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A setting is out of its range.
    #[error("{name} is {value}: give a number {range}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f32,
        /// Its range, in words.
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
