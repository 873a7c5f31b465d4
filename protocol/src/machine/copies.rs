//! Detects two nodes that run with the same key, for example after a home was copied.
//!
//! At every member, each repeatedly replaces the other's connection. Each run of a node greets with
//! a number that distinguishes them: a restarted node uses a new number and never an earlier one
//! again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Event;
use super::Machine;
use crate::PeerId;
use crate::wire::{Refuse, RefuseCode};

/// Number of earlier runs to remember.
const REMEMBERED: usize = 8;

/// How long the connection of two copies is kept free for a run that was not refused yet. The
/// refused run does not dial this node during that time; the other one dials it within seconds.
const UNTOLD: Duration = Duration::from_secs(30);

/// A run that returns earlier has not received the refusal: drivers wait 20 seconds after one.
const HEARD: Duration = Duration::from_secs(15);

const WORDS: &str = "two devices run with this device's key, as when a home was copied: `potluck \
                     circle new --identity` on the copy gives it its own";

/// The runs of one peer's node.
#[derive(Debug, Default)]
pub(super) struct Runs {
    last: u64,
    /// Earlier runs, in order of time.
    earlier: VecDeque<u64>,
    /// Set while several runs alternate, until a newly started run greets.
    copies: Option<Copies>,
}

/// Runs that alternate.
#[derive(Debug)]
struct Copies {
    /// Until when refused runs wait for those that were not refused yet.
    until: Duration,
    /// When each run was last refused.
    told: BTreeMap<u64, Option<Duration>>,
}

/// The result of a run's greeting.
#[derive(Debug, PartialEq, Eq)]
enum Greeted {
    Well,
    /// The run is one of two copies and is refused now. `news` is set the first time.
    Copied {
        news: bool,
    },
}

impl Runs {
    fn greeted(&mut self, now: Duration, run: u64) -> Greeted {
        if run == 0 {
            return Greeted::Well;
        }
        let before = self.last;
        let came_back = run != before && self.earlier.contains(&run);
        if run != before && !came_back {
            // A newly started run, for example after the copy received its own key. If there still
            // are two, the other one returns and is detected again.
            self.copies = None;
        }
        if run != before {
            self.earlier.retain(|earlier| *earlier != run);
            if before != 0 {
                self.earlier.push_back(before);
            }
            if self.earlier.len() > REMEMBERED {
                self.earlier.pop_front();
            }
            self.last = run;
        }
        let news = came_back && self.copies.is_none();
        if news {
            self.copies = Some(Copies {
                until: now + UNTOLD,
                told: BTreeMap::from([(before, None), (run, None)]),
            });
        }
        let copies = self.copies.as_mut();
        if copies.is_none_or(|copies| copies.may_stay(now, run)) {
            Greeted::Well
        } else {
            Greeted::Copied { news }
        }
    }
}

impl Copies {
    /// Whether a greeting run may stay. If not, it will be refused, and the time is noted.
    fn may_stay(&mut self, now: Duration, run: u64) -> bool {
        // Bounded: every run here is remembered; a new run resets `copies`.
        let told = self.told.entry(run).or_default();
        let (was_told, heard) = (told.is_some(), told.is_some_and(|at| at + HEARD <= now));
        let may_stay = (heard && self.all_told()) || (was_told && self.until <= now);
        if !may_stay {
            self.told.insert(run, Some(now));
        }
        may_stay
    }

    fn all_told(&self) -> bool {
        self.told.values().all(Option::is_some)
    }
}

impl Machine {
    /// Whether this peer's existing connection stays when another one arrives. Nodes with the same
    /// key dial alternately, which does not mean that the earlier connection was lost. A copy that
    /// was not refused yet may replace the connection, so that it can be refused.
    pub fn stays_connected(&self, peer: PeerId) -> bool {
        let copies = self.runs.get(&peer).and_then(|runs| runs.copies.as_ref());
        copies.is_some_and(Copies::all_told)
    }

    /// Handles the run number in a peer's greeting. Returns whether the run may stay.
    pub(super) fn run_greeted(&mut self, now: Duration, peer: PeerId, run: u64) -> bool {
        let Greeted::Copied { news } = self.runs.entry(peer).or_default().greeted(now, run) else {
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

    const SOON: Duration = Duration::from_secs(1);
    const COPIED: Greeted = Greeted::Copied { news: false };

    #[test]
    fn a_node_that_starts_anew_is_no_copy_and_one_that_comes_back_is() {
        let mut runs = Runs::default();
        for run in [0, 1, 1, 2, 3, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
            assert_eq!(runs.greeted(SOON, run), Greeted::Well, "{run}");
        }
        assert_eq!(runs.earlier.len(), REMEMBERED);
        assert_eq!(runs.greeted(SOON, 11), Greeted::Copied { news: true });
        assert_eq!(runs.greeted(SOON, 12), COPIED);
        // Each was refused once, and then stays.
        for run in [11, 12, 11] {
            assert_eq!(runs.greeted(SOON + HEARD, run), Greeted::Well);
        }
    }

    /// The first of these was refused.
    fn taking_turns() -> Runs {
        let mut runs = Runs::default();
        assert_eq!(runs.greeted(SOON, 1), Greeted::Well);
        assert_eq!(runs.greeted(SOON, 2), Greeted::Well);
        assert_eq!(runs.greeted(SOON, 1), Greeted::Copied { news: true });
        runs
    }

    fn all_told(runs: &Runs) -> bool {
        runs.copies.as_ref().is_some_and(Copies::all_told)
    }

    #[test]
    fn who_was_told_waits_for_the_other_one_and_not_for_ever() {
        let mut runs = taking_turns();
        assert_eq!(runs.greeted(SOON + HEARD, 1), COPIED);
        assert!(!all_told(&runs));
        assert_eq!(runs.greeted(SOON + HEARD, 2), COPIED);
        assert!(all_told(&runs));
        assert_eq!(runs.greeted(SOON + HEARD * 2, 1), Greeted::Well);
        // The other one does not return yet; it is refused when it does, however late.
        let mut runs = taking_turns();
        let almost = SOON + UNTOLD - Duration::from_micros(1);
        assert_eq!(runs.greeted(almost, 1), COPIED);
        assert_eq!(runs.greeted(SOON + UNTOLD, 1), Greeted::Well);
        assert!(!all_told(&runs), "the other one may come in");
        let late = SOON + UNTOLD * 100;
        assert_eq!(runs.greeted(late, 2), COPIED);
        assert_eq!(runs.greeted(late, 1), Greeted::Well);
        assert!(all_told(&runs));
    }

    #[test]
    fn who_comes_back_at_once_has_not_heard_it_and_is_told_again() {
        let mut runs = taking_turns();
        for after in [1, 2, 4, 8] {
            let now = SOON + Duration::from_secs(after);
            assert_eq!(runs.greeted(now, 2), COPIED, "{after} s");
        }
        // The other one has stayed away since, as a node does after a refusal.
        assert_eq!(runs.greeted(SOON + HEARD, 1), Greeted::Well);
    }

    #[test]
    fn a_third_copy_is_told_too() {
        let mut runs = Runs::default();
        for run in [1, 2, 3] {
            assert_eq!(runs.greeted(SOON, run), Greeted::Well);
        }
        assert_eq!(runs.greeted(SOON, 2), Greeted::Copied { news: true });
        for run in [1, 3] {
            assert_eq!(runs.greeted(SOON, run), COPIED);
        }
        for run in [1, 2, 3] {
            assert_eq!(runs.greeted(SOON + HEARD, run), Greeted::Well);
        }
    }

    #[test]
    fn a_node_that_starts_anew_is_no_copy_any_more_until_another_comes_back() {
        let mut runs = taking_turns();
        // The copy was fixed, and the node restarted.
        assert_eq!(runs.greeted(SOON, 3), Greeted::Well);
        assert!(runs.copies.is_none());
        assert_eq!(runs.greeted(SOON, 3), Greeted::Well);
        // The copy was not fixed: all are refused again.
        assert_eq!(runs.greeted(SOON, 2), Greeted::Copied { news: true });
        assert_eq!(runs.greeted(SOON, 3), COPIED);
        assert_eq!(runs.greeted(SOON + HEARD, 2), Greeted::Well);
        assert!(runs.copies.is_some());
    }
}
