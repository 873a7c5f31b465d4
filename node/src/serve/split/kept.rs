//! Idle sessions kept after a request, for the next one with the same prefix.

use std::time::{Duration, Instant};

use super::news::{Here, News};
use super::session::Session;
use crate::engine::{Sequence as _, TokenId};
use crate::serve::caller::CallerId;
use crate::serve::prefix::{WORTH, common, is_little_beyond};

/// Idle sessions, whose caches stay on their devices. They are bounded in bytes of KV caches and in
/// time; [`Split`](super::Split) bounds their number. Guests' sessions end before the owner's, and
/// of each side the least recently used first. Each caller has its own sessions, for the reason in
/// [`prefix`](crate::serve::prefix).
///
/// A session cannot be copied. The request that continues from it takes it over, and what it holds
/// beyond the common prefix is lost. So a request only gets a session of which little is lost.
pub(super) struct Kept<'e> {
    /// Least recently used first.
    sessions: Vec<One<'e>>,
    limit_bytes: u64,
    limit_time: Duration,
}

struct One<'e> {
    of: CallerId,
    session: Session<'e>,
    since: Instant,
}

impl<'e> Kept<'e> {
    pub(super) fn new(limit_bytes: u64, limit_time: Duration) -> Self {
        Self {
            sessions: Vec::new(),
            limit_bytes,
            limit_time,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Their memory on this device.
    pub(super) fn here(&self) -> Vec<Here> {
        let news = self.sessions.iter().map(|one| &one.session.news);
        news.map(News::here).collect()
    }

    fn bytes(&self) -> u64 {
        let news = self.sessions.iter().map(|one| &one.session.news);
        news.map(News::kv_bytes).sum()
    }

    /// Takes out the caller's session with the longest prefix in common with `wanted`, truncated to
    /// that prefix, if it has room for `most` positions.
    pub(super) fn take(
        &mut self,
        of: CallerId,
        wanted: &[TokenId],
        most: usize,
    ) -> Option<Session<'e>> {
        self.look_after();
        let suits = |one: &One<'_>| {
            let len = one.session.tokens().len();
            let same = one
                .session
                .sequence
                .reach(common(one.session.tokens(), wanted));
            let fits = one.session.sequence.capacity() >= most;
            (one.of == of && same >= WORTH && fits && is_little_beyond(len, same)).then_some(same)
        };
        let found = self.sessions.iter().enumerate();
        let found = found.filter_map(|(at, one)| Some((at, suits(one)?)));
        let (at, same) = found.max_by_key(|&(_, same)| same)?;
        let mut session = self.sessions.remove(at).session;
        session.sequence.truncate(same);
        Some(session)
    }

    /// Adds a session as the most recent one. It replaces the caller's sessions that are prefixes
    /// of it.
    pub(super) fn keep(&mut self, of: CallerId, session: Session<'e>) {
        let tokens = session.tokens();
        if tokens.len() < WORTH {
            return;
        }
        let within = |one: &One<'_>| {
            let held = one.session.tokens();
            one.of == of && common(held, tokens) == held.len()
        };
        self.sessions.retain(|one| !within(one));
        let since = Instant::now();
        self.sessions.push(One { of, session, since });
        while self.bytes() > self.limit_bytes && self.free_one() {}
    }

    /// Ends the session that is first in line; false if there is none.
    pub(super) fn free_one(&mut self) -> bool {
        if self.sessions.is_empty() {
            return false;
        }
        let of_guest = self.sessions.iter().position(|one| one.of.is_guest());
        self.sessions.remove(of_guest.unwrap_or(0));
        true
    }

    /// Ends sessions until at most this many are left.
    pub(super) fn shrink_to(&mut self, most: usize) {
        while self.len() > most && self.free_one() {}
    }

    /// Ends sessions that were idle for too long or that their devices no longer hold.
    pub(super) fn look_after(&mut self) {
        let limit = self.limit_time;
        self.sessions
            .retain_mut(|one| one.since.elapsed() < limit && one.session.sequence.is_held());
    }
}
