//! How likely a model finds a text.

use potluck_model::tokenizer::SpecialTokens;
use serde::Serialize;

use crate::engine::{Engine, ModelError, TokenId};
use crate::prompt::{self, PromptError};

/// The log-probability of every token of a text; `score --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreReport {
    /// The text's tokens, a beginning token included if the model has one.
    pub token_ids: Vec<TokenId>,
    /// Natural logarithm of the probability of each token after the first, given those before.
    pub logprobs: Vec<f32>,
    /// The mean of `-logprobs`, in nats.
    pub mean_nll: f64,
    /// For each position the most likely next tokens with their log-probabilities, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Vec<Vec<(TokenId, f32)>>>,
}

/// What to score.
#[derive(Debug, Clone)]
pub enum ScoreInput {
    /// A text, in which special tokens are ordinary text.
    Text(String),
    /// Token ids, to which nothing is added.
    Tokens(Vec<TokenId>),
}

/// A text could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// Nothing to predict.
    #[error("{found} token{} cannot be scored: give a text of two or more", if *.found == 1 { "" } else { "s" })]
    TooShort {
        /// How many there are.
        found: usize,
    },
    /// An id beyond the vocabulary.
    #[error("there is no token {token}: this model has tokens 0 to {}", .vocabulary.saturating_sub(1))]
    UnknownToken {
        /// The id.
        token: TokenId,
        /// How many tokens the model has.
        vocabulary: usize,
    },
    /// The text does not fit.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The model failed.
    #[error("the model cannot score this")]
    Model(#[from] ModelError),
}

/// Scores `input`; with `top > 0` also lists that many of the most likely tokens at each position.
/// `on_progress` is told the positions done and in all.
///
/// # Errors
/// [`ScoreError`].
pub fn score(
    engine: &Engine,
    input: ScoreInput,
    top: usize,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<ScoreReport, ScoreError> {
    let token_ids = match input {
        ScoreInput::Text(text) => {
            prompt::check_bytes(engine, text.len(), engine.context())?;
            engine
                .tokenizer()
                .encode_prompt(&text, SpecialTokens::AsText)
        }
        ScoreInput::Tokens(ids) => ids,
    };
    if token_ids.len() < 2 {
        return Err(ScoreError::TooShort {
            found: token_ids.len(),
        });
    }
    let vocabulary = engine.tokenizer().vocabulary_size();
    if let Some(&token) = token_ids.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(ScoreError::UnknownToken { token, vocabulary });
    }
    let mut session = engine.new_session()?;
    // No room for an answer is needed: the context may be exactly as long as the text.
    prompt::check_length(
        token_ids.len() - 1,
        session.capacity(),
        engine.config().context,
    )?;
    let total = token_ids.len();
    let score = engine.score(&mut session, &token_ids, top, &mut |done| {
        on_progress(done, total)
    })?;
    Ok(ScoreReport {
        mean_nll: score.mean_nll(),
        logprobs: score.logprobs,
        top: (top > 0).then_some(score.top),
        token_ids,
    })
}
