//! Priority of the device's owner, and what others get meanwhile.

use std::time::Duration;

use crate::PeerId;

/// While the owner's own conversations are computed, others get one part in so many of the time.
const OTHERS_PART: u32 = 5;
/// Others never wait longer than this for their turn, so that no requester gives them up.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A conversation of the owner counts as active for so long after its last rows: longer than a token
/// takes round a ring.
const ACTIVE_FOR: Duration = Duration::from_millis(500);

/// Whether the owner or others have their turn.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) peer: PeerId,
    /// Whether it computes something beside these stages.
    busy: bool,
    /// Its own rows were here until now, and some.
    active_until: Duration,
    /// When others have their turn, while the owner is active.
    others_at: Duration,
    /// When the step that others are part of began.
    begun_at: Option<Duration>,
}

impl Owner {
    pub(super) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            busy: false,
            active_until: Duration::ZERO,
            others_at: Duration::ZERO,
            begun_at: None,
        }
    }

    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Rows of a session arrived, or were computed.
    pub(super) fn rows_of(&mut self, now: Duration, requester: PeerId) {
        if requester == self.peer {
            self.active_until = now + ACTIVE_FOR;
        }
    }

    /// Since when others may have the next step; in the past if they may now.
    pub(super) fn others_may_at(&self) -> Duration {
        if self.busy {
            self.others_at
        } else {
            self.others_at.min(self.active_until)
        }
    }

    /// A step begins, with rows of others or without.
    pub(super) fn begins(&mut self, now: Duration, with_others: bool) {
        self.begun_at = with_others.then_some(now);
    }

    /// It has ended.
    pub(super) fn ends(&mut self, now: Duration) {
        if let Some(begun_at) = self.begun_at.take() {
            let pause = now.saturating_sub(begun_at) * (OTHERS_PART - 1);
            self.others_at = now + pause.min(LONGEST_WAIT);
        }
    }
}
