//! Two nodes that run with one key, as when a home was copied.
//!
//! Each takes the other's place at every member, again and again. Who it is shows by the number that
//! each run of a node greets with: a node that was started anew comes with another one and never with
//! an earlier one again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Event;
use super::machine::Machine;
use crate::PeerId;
use crate::wire::{Refuse, RefuseCode};

/// Earlier runs that are remembered.
const REMEMBERED: usize = 8;

/// How often each is told: while both are connected, what is sent to one may reach the other, as they
/// have one name.
const TOLD: u32 = 2;

const WORDS: &str = "two devices run with this device's key, as when a home was copied: `potluck \
                     circle new --identity` on the copy gives it its own";

/// Runs of one peer's node.
#[derive(Debug, Default)]
pub(super) struct Runs {
    last: u64,
    /// Those before, the last one last.
    earlier: VecDeque<u64>,
    /// Whether two take turns; until a node that was started since then greets.
    copied: bool,
    /// Who was told so.
    told: BTreeMap<u64, u32>,
}

/// What a run that greets means.
#[derive(Debug, PartialEq, Eq)]
enum Greeted {
    Well,
    /// It is one of two, and hears it now; whether this is the first that is known of it.
    Copied {
        news: bool,
    },
}

impl Runs {
    fn greeted(&mut self, run: u64) -> Greeted {
        if run == 0 {
            return Greeted::Well;
        }
        let came_back = run != self.last && self.earlier.contains(&run);
        if self.copied && run != self.last && !came_back {
            // It was started anew, as after the copy got a key of its own. If there still are two,
            // the other one comes back and shows it again.
            self.copied = false;
            self.told.clear();
        }
        let news = !self.copied && came_back;
        self.copied |= news;
        if run != self.last {
            self.earlier.retain(|earlier| *earlier != run);
            if self.last != 0 {
                self.earlier.push_back(self.last);
            }
            if self.earlier.len() > REMEMBERED {
                self.earlier.pop_front();
            }
            self.last = run;
        }
        let is_known = self.told.contains_key(&run);
        if !self.copied || (self.told.len() >= REMEMBERED && !is_known) {
            return Greeted::Well;
        }
        let told = self.told.entry(run).or_default();
        if *told >= TOLD {
            return Greeted::Well;
        }
        *told += 1;
        Greeted::Copied { news }
    }
}

impl Machine {
    /// Whether two nodes run with a member's key. The one that is connected is to stay so then: a new
    /// connection of this peer does not show that it lost the one before.
    pub fn is_copied(&self, peer: PeerId) -> bool {
        self.runs.get(&peer).is_some_and(|runs| runs.copied)
    }

    /// A peer's node greets with the number of its run; whether it may stay.
    pub(super) fn run_greeted(&mut self, now: Duration, peer: PeerId, run: u64) -> bool {
        let Greeted::Copied { news } = self.runs.entry(peer).or_default().greeted(run) else {
            return true;
        };
        if news {
            self.event(Event::Copied(peer));
        }
        let refuse = Refuse {
            code: RefuseCode::Copied,
            words: WORDS.to_owned(),
        };
        let why = "two devices run with its key, as when a home was copied".to_owned();
        self.drop_peer(now, peer, Some(refuse), why);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_starts_anew_is_no_copy_and_one_that_comes_back_is() {
        let mut runs = Runs::default();
        for run in [0, 1, 1, 2, 3, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
            assert_eq!(runs.greeted(run), Greeted::Well, "{run}");
        }
        assert_eq!(runs.earlier.len(), REMEMBERED);
        assert_eq!(runs.greeted(11), Greeted::Copied { news: true });
        // Each is told twice, and then stays.
        for run in [12, 11, 12] {
            assert_eq!(runs.greeted(run), Greeted::Copied { news: false });
        }
        for run in [11, 12, 11] {
            assert_eq!(runs.greeted(run), Greeted::Well);
        }
        assert!(runs.copied);
    }

    #[test]
    fn a_node_that_starts_anew_is_no_copy_any_more_until_another_comes_back() {
        let mut runs = Runs::default();
        for run in [1, 2] {
            assert_eq!(runs.greeted(run), Greeted::Well);
        }
        assert_eq!(runs.greeted(1), Greeted::Copied { news: true });
        // The copy was mended, and the node started again.
        assert_eq!(runs.greeted(3), Greeted::Well);
        assert!(!runs.copied);
        assert_eq!(runs.greeted(3), Greeted::Well);
        // It was not: all are told again.
        assert_eq!(runs.greeted(2), Greeted::Copied { news: true });
        for run in [3, 2, 3] {
            assert_eq!(runs.greeted(run), Greeted::Copied { news: false });
        }
        assert_eq!(runs.greeted(2), Greeted::Well);
        assert!(runs.copied);
    }
}
