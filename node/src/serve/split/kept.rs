//! Sessions that are kept after a request, for the next one that begins alike.

use std::time::{Duration, Instant};

use super::news::{Here, News};
use super::session::Session;
use crate::engine::{Sequence as _, TokenId};
use crate::serve::caller::CallerId;
use crate::serve::prefix::{WORTH, common, is_little_beyond};

/// Sessions that nobody uses, whose devices hold what they read: bounded in bytes of their KV caches, in
/// time and, by who asks for places, in number. Those of guests go before those of the owner, and of
/// these the longest unused first. Each caller has its own, for the reason that
/// [`prefix`](crate::serve::prefix) gives.
///
/// A session cannot be copied: the request that goes on from one has it, and what it holds beyond the
/// common beginning is lost. So requests get only sessions of which little is lost.
pub(super) struct Kept<'e> {
    /// The longest unused first.
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

    /// What they take of this device.
    pub(super) fn here(&self) -> Vec<Here> {
        let news = self.sessions.iter().map(|one| &one.session.news);
        news.map(News::here).collect()
    }

    fn bytes(&self) -> u64 {
        let news = self.sessions.iter().map(|one| &one.session.news);
        news.map(News::kv_bytes).sum()
    }

    /// Takes out the caller's session that has the longest common beginning with `wanted`, cut behind it,
    /// if it has room for `most` positions.
    pub(super) fn take(
        &mut self,
        of: CallerId,
        wanted: &[TokenId],
        most: usize,
    ) -> Option<Session<'e>> {
        self.look_after();
        let suits = |one: &One<'_>| {
            let len = one.session.tokens().len();
            let same = common(one.session.tokens(), wanted);
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

    /// Keeps a session as the one used last, in place of the caller's that hold nothing else.
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

    /// Ends the session that goes first; false if there is none.
    pub(super) fn free_one(&mut self) -> bool {
        if self.sessions.is_empty() {
            return false;
        }
        let of_guest = self.sessions.iter().position(|one| one.of.is_guest());
        self.sessions.remove(of_guest.unwrap_or(0));
        true
    }

    /// Ends those beyond so many.
    pub(super) fn shrink_to(&mut self, most: usize) {
        while self.len() > most && self.free_one() {}
    }

    /// Ends those that were unused for too long, and those whose devices hold them no more.
    pub(super) fn look_after(&mut self) {
        let limit = self.limit_time;
        self.sessions
            .retain_mut(|one| one.since.elapsed() < limit && one.session.sequence.is_held());
    }
}
