//! No token is lost, repeated or reordered, and the text equals that of one device without faults.

use std::collections::BTreeMap;

use super::Finding;

const NAME: &str = "tokens";

#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Of each session, how many it has.
    counts: BTreeMap<usize, u32>,
}

impl Tokens {
    pub(super) fn check(&mut self, session: usize, at: u32, right: bool) -> Option<Finding> {
        let count = self.counts.entry(session).or_default();
        let due = *count;
        *count = at + 1;
        if at != due {
            let words = format!("token {at} came where {due} was due");
            return Some(Finding::of_session(NAME, session, words));
        }
        let words = || format!("token {at} is not the one that a single device gives");
        (!right).then(|| Finding::of_session(NAME, session, words()))
    }
}

pub(super) fn wrong_answer(session: usize, came: u32, due: u32) -> Finding {
    let words = format!("an answer for position {came} came where {due} was due");
    Finding::of_session(NAME, session, words)
}
