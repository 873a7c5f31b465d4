//! Texts sent to peers.

use crate::wire::limits::{MAX_SOFTWARE_BYTES, MAX_WORDS_BYTES};

/// Removes control characters and truncates the text to the limit that peers accept.
pub(super) fn words_for_peer(words: &str) -> String {
    text_for_peer(words, MAX_WORDS_BYTES)
}

pub(super) fn software_for_peer(software: &str) -> String {
    text_for_peer(software, MAX_SOFTWARE_BYTES)
}

fn text_for_peer(text: &str, most: usize) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut = String::new();
    for c in shown {
        if cut.len() + c.len_utf8() > most {
            break;
        }
        cut.push(c);
    }
    cut
}
