//! What can go wrong with a chat template.

use std::error::Error as _;
use std::io;

use minijinja::ErrorKind;

use super::functions::Raised;
use crate::gguf::GgufError;

/// Why a chat template cannot be used, or not for this conversation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The file's field is not a text.
    #[error(transparent)]
    Field(#[from] GgufError),
    /// Longer than any real template.
    #[error(
        "the chat template has {bytes} bytes, and at most {limit} are accepted: use the raw prompt"
    )]
    TooLong {
        /// The template's length.
        bytes: usize,
        /// The greatest length accepted.
        limit: usize,
    },
    /// The template is not valid Jinja, or uses a part of it that is not implemented.
    #[error("the chat template cannot be read ({message}): use the raw prompt")]
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
    #[error("the chat template does more work than is accepted: use the raw prompt")]
    TooMuch,
    /// Rendering fails.
    #[error("the chat template cannot be applied ({message}): use the raw prompt")]
    Render {
        /// What and where.
        message: String,
    },
    /// The system gave no thread to render in.
    #[error("cannot start a thread for the chat template: {0}")]
    Thread(#[source] io::Error),
}

impl TemplateError {
    pub(super) fn from_parsing(error: &minijinja::Error) -> Self {
        Self::Syntax {
            message: error.to_string(),
        }
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
