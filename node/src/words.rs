//! Errors in words.

use std::error::Error;

/// An error and what is below it, in one line.
pub(crate) fn of(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        words.push_str(": ");
        words.push_str(&source.to_string());
        below = source.source();
    }
    words
}
