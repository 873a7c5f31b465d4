//! Prefix cache: KV caches kept after a request, for the caller's next request with the same
//! prefix.
//!
//! A cache hit shows in the time to the first token and in `cached_tokens`, so a caller could test
//! guesses of another's prompt. Therefore each caller has its own prefixes: a request never
//! continues from what another caller asked.

use super::caller::CallerId;
use crate::engine::{ModelConfig, ModelError, Session, TokenId};
use crate::stages::Reservation;

/// Prefixes with fewer tokens are not worth caching or copying.
pub(super) const WORTH: usize = 16;

/// Unused sessions, bounded in bytes. To free memory, the least recently used session first shrinks
/// to the tokens it holds and is then evicted; guests' sessions before the owner's.
///
/// Sessions are looked up by token ids, so a reused cache holds exactly what the new request would
/// compute.
pub(super) struct Prefixes {
    /// Least recently used first.
    kept: Vec<Kept>,
    limit: u64,
}

/// A session and its memory.
pub(super) struct Kept {
    /// The caller whose tokens it holds.
    pub(super) of: CallerId,
    pub(super) session: Session,
    // INVARIANT: the bytes of the session's capacity.
    pub(super) memory: Reservation,
}

/// The length of the common prefix.
pub(super) fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Whether a request that continues after the first `same` of a session's `len` tokens may take the
/// session itself and discard the rest: only if the rest is short, such as a regenerated answer.
pub(super) fn is_little_beyond(len: usize, same: usize) -> bool {
    len - same <= (same / 2).max(4 * WORTH)
}

/// Bytes of a session's KV cache for this many positions.
pub(super) fn kv_bytes(config: &ModelConfig, positions: usize) -> u64 {
    config.kv_bytes(0..config.layers, positions)
}

impl Kept {
    /// Whether a request that continues after `same` tokens may take the session itself.
    pub(super) fn is_little_beyond(&self, same: usize) -> bool {
        is_little_beyond(self.session.len(), same)
    }

    /// Returns reserved memory beyond the session's capacity.
    pub(super) fn settle(&mut self, config: &ModelConfig) {
        let needed = kv_bytes(config, self.session.capacity());
        drop(
            self.memory
                .split(self.memory.bytes().saturating_sub(needed)),
        );
    }

    /// Copies the session into a cache just large enough for its tokens; returns whether that saved
    /// memory.
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

    /// The caller's session with the longest prefix in common with `wanted` that it can go on from:
    /// its index and the length of the prefix. `None` if the prefix is too short to be useful.
    pub(super) fn find(&self, of: CallerId, wanted: &[TokenId]) -> Option<(usize, usize)> {
        let same = |(at, kept): (usize, &Kept)| {
            let common = common(kept.session.tokens(), wanted);
            (at, kept.session.reach(common))
        };
        let own = (self.kept.iter().enumerate()).filter(|(_at, kept)| kept.of == of);
        let found = own.map(same);
        // Of equal ones the most recently used, as others are less likely to need it.
        let best = found.max_by_key(|&(_at, same)| same);
        best.filter(|&(_at, same)| same >= WORTH)
    }

    /// Takes out a session found by [`Self::find`].
    pub(super) fn take(&mut self, at: usize) -> Kept {
        self.kept.remove(at)
    }

    /// Puts back an unchanged session.
    pub(super) fn put(&mut self, kept: Kept) {
        self.kept.push(kept);
    }

    /// A session found by [`Self::find`].
    pub(super) fn session(&self, at: usize) -> &Session {
        &self.kept[at].session
    }

    /// Adds a session as the most recent one. It replaces the caller's sessions that are prefixes
    /// of it, unless it can no longer go on from them.
    pub(super) fn keep(&mut self, mut new: Kept, config: &ModelConfig) {
        if new.session.len() < WORTH {
            return;
        }
        let of = new.of;
        let replaces = |long: &Session, short: &Session| {
            let len = short.len();
            common(long.tokens(), short.tokens()) == len && long.reach(len) == len
        };
        let holds = |kept: &Kept| kept.of == of && replaces(&kept.session, &new.session);
        if let Some(at) = self.kept.iter().position(holds) {
            let longer = self.kept.remove(at);
            self.kept.push(longer);
            return;
        }
        (self.kept).retain(|kept| kept.of != of || !replaces(&new.session, &kept.session));
        new.settle(config);
        self.kept.push(new);
        while self.bytes() > self.limit && self.free_some(config) {}
    }

    /// Frees some memory: guests' sessions first, and of those the least recently used. Returns
    /// false if nothing is cached.
    pub(super) fn free_some(&mut self, config: &ModelConfig) -> bool {
        for of_guests in [true, false] {
            let is_next = |kept: &Kept| kept.of.is_guest() == of_guests;
            for kept in self.kept.iter_mut().filter(|kept| is_next(kept)) {
                // If there is no memory for the copy, evict instead.
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
