//! How tokens are chosen.

/// How tokens are chosen. The steps apply in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerSettings {
    /// Tokens among the last [`Self::repetition_window`] have a positive logit divided by this, a
    /// negative one multiplied by it (N. Keskar and others, "CTRL", 2019). 1 changes nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens count as repetitions.
    pub repetition_window: usize,
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
