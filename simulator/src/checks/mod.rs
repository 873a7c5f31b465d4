//! Checkers: what must hold in every run, whatever goes wrong. All are always on; each has its own file.

mod accounts;
mod endings;
mod epochs;
mod leftovers;
mod memory;
mod owner;
mod privacy;
mod progress;
mod queues;
#[cfg(test)]
mod tests;
mod timers;
mod tokens;
mod weights;

use std::collections::BTreeMap;

pub(crate) use accounts::Accounts;
pub(crate) use endings::Ended;
pub(crate) use leftovers::Leftover;
pub(crate) use progress::Standing;
pub(crate) use weights::CameOf;

use crate::host::Fault;
use crate::record::Violation;
use crate::scenario::Checks as Bounds;

/// Violations that are recorded; more say nothing new.
const MOST: usize = 64;

/// Something that checkers look at. Hosts and sessions are named by their index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    /// Rows were computed with which something is wrong.
    Computed {
        host: u32,
        session: Option<usize>,
        fault: Fault,
    },
    /// A host holds so many bytes of weights and caches.
    Held { host: u32, bytes: u64, budget: u64 },
    /// Bytes arrived at a host.
    Delivered { from: u32, to: u32 },
    /// A host wants to send to one that it is not paired with.
    SentToStranger { host: u32 },
    /// So many bytes wait to be sent to one peer.
    Queued { host: u32, bytes: u64 },
    /// A session has a token, the `at`th.
    Token {
        session: usize,
        at: u32,
        right: bool,
    },
    /// An answer arrived that was not due.
    WrongAnswer { session: usize, came: u32, due: u32 },
    /// A piece of weights arrived at a host, to be checked.
    PieceCame { host: u32, of: CameOf },
    /// A host's machine takes for fetched what it has not.
    FetchedTooLittle { host: u32 },
    /// So many wrong pieces arrived at a host in one fetch: more than its peers had under way.
    WrongPieces { host: u32, wrong: u64 },
    /// A host that is about to be suspended takes a stage of another's.
    StageWhileLeaving { host: u32 },
    /// A stage was made ready whose weights are not there, or were not checked.
    StageLacksWeights { host: u32 },
    /// A host whose owner needs it computes for others again, so long after a step that took so long,
    /// in microseconds.
    OthersGoOn { host: u32, waited: u64, took: u64 },
    /// A machine was woken, and wants to be woken at the same moment.
    WokenForNothing { host: u32 },
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    checker: &'static str,
    words: String,
    device: Option<usize>,
    session: Option<usize>,
}

impl Finding {
    fn of_device(checker: &'static str, device: u32, words: String) -> Self {
        Self {
            checker,
            words,
            device: Some(device as usize),
            session: None,
        }
    }

    fn of_session(checker: &'static str, session: usize, words: String) -> Self {
        Self {
            checker,
            words,
            device: None,
            session: Some(session),
        }
    }
}

/// All checkers.
#[derive(Debug)]
pub(crate) struct Checks {
    bounds: Bounds,
    privacy: privacy::Privacy,
    tokens: tokens::Tokens,
    progress: progress::Progress,
    leftovers: leftovers::Leftovers,
    violations: Vec<Violation>,
    /// Of each checker, how often it found something.
    found: BTreeMap<&'static str, u64>,
}

impl Checks {
    /// Of hosts in these circles, by host.
    pub(crate) fn new(bounds: Bounds, circles: Vec<u32>) -> Self {
        Self {
            privacy: privacy::Privacy::new(circles),
            tokens: tokens::Tokens::default(),
            progress: progress::Progress::new(bounds.progress_within.0),
            leftovers: leftovers::Leftovers::default(),
            bounds,
            violations: Vec::new(),
            found: BTreeMap::new(),
        }
    }

    pub(crate) fn see(&mut self, now: u64, seen: &Seen) {
        let finding = match seen {
            Seen::Computed {
                host,
                session,
                fault,
            } => Some(epochs::check(*host, *session, *fault)),
            Seen::Held {
                host,
                bytes,
                budget,
            } => memory::check(*host, *bytes, *budget),
            Seen::Delivered { from, to } => self.privacy.check(*from, *to),
            Seen::SentToStranger { host } => Some(privacy::stranger(*host)),
            Seen::Queued { host, bytes } => queues::check(*host, *bytes, self.bounds.queued.0),
            Seen::Token { session, at, right } => self.tokens.check(*session, *at, *right),
            Seen::WrongAnswer { session, came, due } => {
                Some(tokens::wrong_answer(*session, *came, *due))
            }
            Seen::PieceCame { host, of } => weights::came(*host, *of),
            Seen::FetchedTooLittle { host } => Some(weights::too_little(*host)),
            Seen::WrongPieces { host, wrong } => Some(weights::wrong(*host, *wrong)),
            Seen::StageWhileLeaving { host } => Some(owner::stage_while_leaving(*host)),
            Seen::StageLacksWeights { host } => Some(weights::stage_lacks(*host)),
            Seen::OthersGoOn { host, waited, took } => owner::check(*host, *waited, *took),
            Seen::WokenForNothing { host } => Some(timers::woken_for_nothing(*host)),
        };
        self.report(now, finding);
    }

    /// A host was disturbed: its sessions may make no progress for a while.
    pub(crate) fn disturbed(&mut self, now: u64, host: u32) {
        self.progress.disturbed(now, host);
    }

    /// How a session stands.
    pub(crate) fn stands(&mut self, now: u64, standing: &Standing) {
        let finding = self.progress.check(now, standing);
        self.report(now, finding);
    }

    /// What a host holds that it need not.
    pub(crate) fn leftover(&mut self, now: u64, leftover: &Leftover) {
        let disturbed_at = |host| self.progress.disturbed_at(host);
        let disturbed_at = disturbed_at(leftover.host).max(disturbed_at(leftover.requester));
        let finding = self.leftovers.check(now, disturbed_at, leftover);
        self.report(now, finding);
    }

    /// How a session ended.
    pub(crate) fn ended(&mut self, now: u64, ended: &Ended<'_>) {
        let finding = endings::check(ended, self.bounds.all_complete);
        self.report(now, finding);
    }

    /// What a device took, and what a network carried, at the end.
    pub(crate) fn accounts(&mut self, now: u64, accounts: &Accounts<'_>) {
        let finding = accounts.check();
        self.report(now, finding);
    }

    fn report(&mut self, now: u64, finding: Option<Finding>) {
        let Some(finding) = finding else {
            return;
        };
        *self.found.entry(finding.checker).or_default() += 1;
        if self.violations.len() < MOST {
            self.violations.push(Violation {
                checker: finding.checker.to_owned(),
                at_us: now,
                words: finding.words,
                device: finding.device,
                session: finding.session,
            });
        }
    }

    pub(crate) fn finish(self) -> Vec<Violation> {
        self.violations
    }
}
