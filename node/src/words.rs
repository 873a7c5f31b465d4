//! Errors in words.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// An error and what is below it, in one line. What the message before it already ends with is not
/// said twice; of an error that has no words of its own, those below are said.
pub fn of(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let cause = source.to_string();
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
        below = source.source();
    }
    words
}

/// What kind of reason there is not to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No device is meant by what a person wrote.
    NotMeant,
    /// Anything else.
    Failed,
}

/// Why something cannot be done, in words, made of any error by `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) kind: Kind,
    pub(crate) words: String,
}

impl Words {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        let (kind, words) = (Kind::Failed, words.into());
        Self { kind, words }
    }

    /// Why no device is meant.
    pub(crate) fn not_meant(words: impl Into<String>) -> Self {
        let (kind, words) = (Kind::NotMeant, words.into());
        Self { kind, words }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl<E: Error> From<E> for Words {
    fn from(error: E) -> Self {
        Self::new(of(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Failure {
        words: &'static str,
        #[source]
        below: Option<Box<Self>>,
    }

    #[test]
    fn causes_are_said_once() {
        let failure = |words, below: Option<Failure>| Failure {
            words,
            below: below.map(Box::new),
        };
        let deep = failure("no such file", None);
        let error = failure("cannot open x: no such file", Some(deep));
        let error = failure("cannot run", Some(error));
        let said = "cannot run: cannot open x: no such file";
        assert_eq!(of(&error), said);
        assert_eq!(Words::from(error), Words::new(said));
    }

    #[test]
    fn an_error_without_words_is_told_by_its_cause() {
        let cause = Failure {
            words: "the port is taken",
            below: None,
        };
        let silent = Failure {
            words: "",
            below: Some(Box::new(cause)),
        };
        assert_eq!(of(&silent), "the port is taken");
    }
}
