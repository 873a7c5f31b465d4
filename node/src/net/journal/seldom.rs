//! Limits how often repeated events are told.

use std::collections::BTreeMap;
use std::time::Duration;

/// The same event with the same words is told again after this time.
const AGAIN: Duration = Duration::from_secs(600);
/// With other words, after this time.
const OTHERWISE: Duration = Duration::from_secs(10);

/// What was told last about each key. The caller keeps the number of keys small.
#[derive(Debug)]
pub(super) struct Seldom<K>(BTreeMap<K, Last>);

#[derive(Debug)]
struct Last {
    at: Duration,
    words: String,
    untold: u32,
}

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Seldom<K> {
    /// How often the event was suppressed since it was told last, if it is to be told now; else `None`.
    ///
    /// | it happens | told |
    /// |---|---|
    /// | the first time, or after [`forget`](Self::forget) | at once |
    /// | with other words | if nothing was told for ten seconds |
    /// | with the same words | if nothing was told for ten minutes |
    pub(super) fn due(&mut self, now: Duration, of: K, words: &str) -> Option<u32> {
        let Some(last) = self.0.get_mut(&of) else {
            let words = words.to_owned();
            let (at, untold) = (now, 0);
            self.0.insert(of, Last { at, words, untold });
            return Some(0);
        };
        let pause = if last.words == words {
            AGAIN
        } else {
            OTHERWISE
        };
        if now.saturating_sub(last.at) < pause {
            last.untold = last.untold.saturating_add(1);
            return None;
        }
        words.clone_into(&mut last.words);
        last.at = now;
        Some(std::mem::take(&mut last.untold))
    }

    /// Forgets a key: its next event counts as the first.
    pub(super) fn forget(&mut self, of: &K) {
        self.0.remove(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_and_news_are_told() {
        let at = Duration::from_secs;
        let mut seldom = Seldom::default();
        assert_eq!(seldom.due(at(0), 'a', "refused"), Some(0));
        for second in 1..600 {
            assert_eq!(seldom.due(at(second), 'a', "refused"), None);
        }
        assert_eq!(seldom.due(at(1), 'b', "refused"), Some(0), "of another");
        assert_eq!(seldom.due(at(600), 'a', "refused"), Some(599));
        // However fast the words change, they are told every ten seconds.
        assert_eq!(seldom.due(at(605), 'a', "unreachable"), None);
        assert_eq!(seldom.due(at(610), 'a', "unreachable"), Some(1));
        seldom.forget(&'a');
        assert_eq!(seldom.due(at(611), 'a', "unreachable"), Some(0));
    }
}
