//! Once faults have ended, a session that has a placement makes progress within a bound.

use super::Finding;

/// How a session stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) session: usize,
    /// When it last made progress: was placed, ready, answered, or had a token.
    pub(crate) progress_at: u64,
    /// All that it could go over.
    pub(crate) circle: &'a [(potluck_protocol::PeerId, u32)],
    /// Whether some of its devices are away, suspended or ended now: a session that waits for them by
    /// choice may.
    pub(crate) whole: bool,
}

#[derive(Debug)]
pub(super) struct Progress {
    within: u64,
    /// When each host was last disturbed.
    disturbed_at: Vec<u64>,
    /// Sessions that were found, once each.
    found: Vec<usize>,
}

impl Progress {
    pub(super) fn new(within: u64) -> Self {
        Self {
            within,
            disturbed_at: Vec::new(),
            found: Vec::new(),
        }
    }

    pub(super) fn disturbed(&mut self, now: u64, host: u32) {
        let host = host as usize;
        if self.disturbed_at.len() <= host {
            self.disturbed_at.resize(host + 1, 0);
        }
        self.disturbed_at[host] = now;
    }

    /// When a host was last disturbed.
    pub(super) fn disturbed_at(&self, host: u32) -> u64 {
        self.disturbed_at.get(host as usize).copied().unwrap_or(0)
    }

    pub(super) fn check(&mut self, now: u64, standing: &Standing<'_>) -> Option<Finding> {
        let hosts = standing.circle.iter();
        let disturbed = hosts.filter_map(|(_, host)| self.disturbed_at.get(*host as usize));
        let since = disturbed
            .copied()
            .max()
            .unwrap_or(0)
            .max(standing.progress_at);
        let still = now.saturating_sub(since);
        if !standing.whole || still <= self.within || self.found.contains(&standing.session) {
            return None;
        }
        self.found.push(standing.session);
        let words = format!(
            "it has stood still for {} s, undisturbed",
            still / 1_000_000
        );
        Some(Finding::of_session("progress", standing.session, words))
    }
}
