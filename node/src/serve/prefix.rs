//! KV caches that are kept after a request, for the next one of the same caller that begins alike.
//!
//! A kept beginning shows in how soon an answer begins and in `cached_tokens`: one who asks with a guess
//! of another's words would learn whether they were said. So each caller has its own: what the owner or
//! one guest asked is never the beginning of another's request.

use super::caller::CallerId;
use crate::engine::{ModelConfig, ModelError, Session, TokenId};
use crate::stages::Reservation;

/// Fewer common tokens are not worth keeping or copying a cache for.
pub(super) const WORTH: usize = 16;

/// Sessions that nobody uses, bounded in bytes: first the longest unused shrinks to what it holds, then
/// it goes; those of guests before those of the owner.
///
/// Sessions are found by the ids of their tokens, so what is taken over or copied holds what the new
/// request would compute.
pub(super) struct Prefixes {
    /// The longest unused first.
    kept: Vec<Kept>,
    limit: u64,
}

/// A session and its memory.
pub(super) struct Kept {
    /// Whose tokens these are.
    pub(super) of: CallerId,
    pub(super) session: Session,
    // INVARIANT: the bytes of the session's capacity.
    pub(super) memory: Reservation,
}

/// How many tokens are the same from the start on.
pub(super) fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Whether one who goes on after the first `same` of a session's `len` tokens may have the session itself,
/// and what it holds beyond is lost: little, such as an answer that was written anew.
pub(super) fn is_little_beyond(len: usize, same: usize) -> bool {
    len - same <= (same / 2).max(4 * WORTH)
}

/// Bytes of a session's KV cache of so many positions.
pub(super) fn kv_bytes(config: &ModelConfig, positions: usize) -> u64 {
    config.kv_bytes(config.layers, positions)
}

impl Kept {
    /// Whether one who goes on after the first `same` tokens may have the session itself.
    pub(super) fn is_little_beyond(&self, same: usize) -> bool {
        is_little_beyond(self.session.len(), same)
    }

    /// Gives back what the session does not take.
    pub(super) fn settle(&mut self, config: &ModelConfig) {
        let needed = kv_bytes(config, self.session.capacity());
        drop(
            self.memory
                .split(self.memory.bytes().saturating_sub(needed)),
        );
    }

    /// Copies the session into as little memory as holds its tokens; whether that is less.
    fn shrink(&mut self, config: &ModelConfig) -> Result<bool, ModelError> {
        let len = self.session.len();
        if kv_bytes(config, len) >= self.memory.bytes() {
            return Ok(false);
        }
        self.session = self.session.copy_prefix(len, len)?;
        self.settle(config);
        Ok(true)
    }
}

impl Prefixes {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            kept: Vec::new(),
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.memory.bytes()).sum()
    }

    /// Which session of this caller has the longest common beginning with `wanted`, and how long that
    /// is; none if it is not worth it.
    pub(super) fn find(&self, of: CallerId, wanted: &[TokenId]) -> Option<(usize, usize)> {
        let same = |(at, kept): (usize, &Kept)| (at, common(kept.session.tokens(), wanted));
        let own = (self.kept.iter().enumerate()).filter(|(_at, kept)| kept.of == of);
        let found = own.map(same);
        // Of equal ones the last, which others are more likely to be done with.
        let best = found.max_by_key(|&(_at, same)| same);
        best.filter(|&(_at, same)| same >= WORTH)
    }

    /// Takes out the session that [`Self::find`] found.
    pub(super) fn take(&mut self, at: usize) -> Kept {
        self.kept.remove(at)
    }

    /// Puts a session back that was taken out and not changed.
    pub(super) fn put(&mut self, kept: Kept) {
        self.kept.push(kept);
    }

    /// The session that [`Self::find`] found.
    pub(super) fn session(&self, at: usize) -> &Session {
        &self.kept[at].session
    }

    /// Keeps a session as the one used last, in place of the caller's that hold nothing else.
    pub(super) fn keep(&mut self, mut new: Kept, config: &ModelConfig) {
        let tokens = new.session.tokens();
        if tokens.len() < WORTH {
            return;
        }
        let within = |a: &[TokenId], b: &[TokenId]| common(a, b) == a.len();
        let of = new.of;
        let holds = |kept: &Kept| kept.of == of && within(tokens, kept.session.tokens());
        if let Some(at) = self.kept.iter().position(holds) {
            let longer = self.kept.remove(at);
            self.kept.push(longer);
            return;
        }
        (self.kept).retain(|kept| kept.of != of || !within(kept.session.tokens(), tokens));
        new.settle(config);
        self.kept.push(new);
        while self.bytes() > self.limit && self.free_some(config) {}
    }

    /// Frees a part of what is kept, guests' before the owner's and of those the longest unused first;
    /// false if nothing is kept.
    pub(super) fn free_some(&mut self, config: &ModelConfig) -> bool {
        for of_guests in [true, false] {
            let is_next = |kept: &Kept| kept.of.is_guest() == of_guests;
            for kept in self.kept.iter_mut().filter(|kept| is_next(kept)) {
                // One that cannot be copied for want of memory goes.
                match kept.shrink(config) {
                    Ok(false) => {}
                    Ok(true) => return true,
                    Err(_) => break,
                }
            }
            if let Some(at) = self.kept.iter().position(is_next) {
                self.kept.remove(at);
                return true;
            }
        }
        false
    }
}
