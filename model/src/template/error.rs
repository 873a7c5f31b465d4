//! What can go wrong with a chat template.

use std::error::Error as _;
use std::{fmt, io};

use minijinja::ErrorKind;

/// Why a chat template cannot be used, or not for this conversation.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The file's field is not a text.
    #[error("{0}: give another chat template, or use the raw prompt")]
    Field(String),
    /// Longer than any real template.
    #[error(
        "the chat template has {bytes} bytes, and at most {limit} are accepted: give another chat template, or use the raw prompt"
    )]
    TooLong {
        /// The template's length.
        bytes: usize,
        /// The greatest length accepted.
        limit: usize,
    },
    /// The template is not valid Jinja, or uses a part of it that is not implemented.
    #[error(
        "the chat template cannot be read ({message}): give another chat template, or use the raw prompt"
    )]
    Syntax {
        /// What and where.
        message: String,
    },
    /// The template itself refuses the conversation, usually for the order of its roles.
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// The template's words.
        message: String,
    },
    /// Rendering takes more steps or memory than any real template.
    #[error(
        "the chat template does more work than is accepted: give another chat template, or use the raw prompt"
    )]
    TooMuch,
    /// Rendering fails.
    #[error(
        "the chat template cannot be applied ({message}): give another chat template, or use the raw prompt"
    )]
    Render {
        /// What and where.
        message: String,
    },
    /// The rendered text does not have what the person said.
    #[error(
        "the chat template leaves out what you say, so the model would answer something else: give another chat template, or use the raw prompt"
    )]
    Unheard,
    /// The template lets nobody choose whether the model thinks first.
    #[error("the chat template of this model has no switch for thinking: leave out the choice")]
    NoThinkingSwitch,
    /// The conversation has every private-use character, so none is left to mark what was said.
    #[error("the conversation uses too many private-use characters: shorten it")]
    NoMarks,
    /// A tool's description, or the arguments of its call.
    #[error("not valid JSON: {message}")]
    Json {
        /// What and where.
        message: String,
    },
    /// The system gave no thread to render in.
    #[error("cannot start a thread for the chat template: {0}")]
    Thread(String),
}

impl TemplateError {
    pub(super) fn from_parsing(error: &minijinja::Error) -> Self {
        Self::Syntax {
            message: error.to_string(),
        }
    }

    pub(super) fn thread(error: io::Error) -> Self {
        Self::Thread(error.to_string())
    }

    pub(super) fn from_rendering(error: &minijinja::Error) -> Self {
        if error.kind() == ErrorKind::OutOfFuel {
            return Self::TooMuch;
        }
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(Raised(message)) = error.downcast_ref() {
                return Self::Refused {
                    message: message.clone(),
                };
            }
            cause = error.source();
        }
        Self::Render {
            message: error.to_string(),
        }
    }
}

/// What a template said when it called `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}
