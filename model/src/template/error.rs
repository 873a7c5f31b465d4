//! Errors of chat templates.

use std::error::Error as _;
use std::{fmt, io};

use minijinja::ErrorKind;

/// Why a chat template cannot be used, at all or for this conversation.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The file's field is not a string.
    #[error("{0}: give another chat template, or use the raw prompt")]
    Field(String),
    /// The template is longer than any real one.
    #[error(
        "the chat template has {bytes} bytes, and at most {limit} are accepted: give another chat template, or use the raw prompt"
    )]
    TooLong {
        /// The template's length.
        bytes: usize,
        /// The maximum length.
        limit: usize,
    },
    /// The template is not valid Jinja, or uses an unsupported feature.
    #[error(
        "the chat template cannot be read ({message}): give another chat template, or use the raw prompt"
    )]
    Syntax {
        /// The problem and its location.
        message: String,
    },
    /// The template itself refuses the conversation, usually for the order of its roles.
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// The template's message.
        message: String,
    },
    /// Rendering exceeds the steps or memory of any real template.
    #[error(
        "the chat template does more work than is accepted: give another chat template, or use the raw prompt"
    )]
    TooMuch,
    /// Rendering failed.
    #[error(
        "the chat template cannot be applied ({message}): give another chat template, or use the raw prompt"
    )]
    Render {
        /// The problem and its location.
        message: String,
    },
    /// The rendered text lacks the user's last message.
    #[error(
        "the chat template leaves out what you say, so the model would answer something else: give another chat template, or use the raw prompt"
    )]
    Unheard,
    /// The template has no switch for thinking.
    #[error("the chat template of this model has no switch for thinking: leave out the choice")]
    NoThinkingSwitch,
    /// The conversation uses every private-use character, so none is left for marks.
    #[error("the conversation uses too many private-use characters: shorten it")]
    NoMarks,
    /// A tool's description or a call's arguments are not valid JSON.
    #[error("not valid JSON: {message}")]
    Json {
        /// The problem and its location.
        message: String,
    },
    /// The system could not start a thread for rendering.
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

/// A template's message to `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}
