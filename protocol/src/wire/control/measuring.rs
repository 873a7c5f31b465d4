//! Pings, their answers, and keep-alives.

use std::time::Duration;

use super::proto;
use crate::wire::check::{Checked, Malformed, Problem, length, positions};
use crate::wire::limits::MAX_OPAQUE_BYTES;
use crate::{PlanEpoch, SessionId};

/// Measures the link, and asks a silent node whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the [`Pong`].
    pub id: u64,
    /// The sender's clock, in microseconds.
    pub sent_at_us: u64,
    /// How many bytes to send along, to measure bandwidth; at most
    /// [`MAX_OPAQUE_BYTES`](crate::wire::limits::MAX_OPAQUE_BYTES).
    pub padding_bytes: usize,
}

impl From<&Ping> for proto::Ping {
    fn from(ping: &Ping) -> Self {
        Self {
            id: ping.id,
            sent_at_us: ping.sent_at_us,
            // One byte more than allowed is refused as well as many.
            padding: vec![0; ping.padding_bytes.min(MAX_OPAQUE_BYTES + 1)],
        }
    }
}

impl TryFrom<proto::Ping> for Ping {
    type Error = Malformed;

    fn try_from(ping: proto::Ping) -> Checked<Self> {
        let padding_bytes = ping.padding.len();
        length("Ping.padding", padding_bytes, 0..=MAX_OPAQUE_BYTES)?;
        Ok(Self {
            id: ping.id,
            sent_at_us: ping.sent_at_us,
            padding_bytes,
        })
    }
}

/// The answer to a [`Ping`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// The ping's.
    pub id: u64,
    /// The ping's: the asker's clock, in microseconds.
    pub ping_sent_at_us: u64,
    /// The answerer's clock when the ping came, in microseconds.
    pub received_at_us: u64,
    /// The answerer's clock when the answer went, not before that.
    pub sent_at_us: u64,
}

impl Pong {
    /// The round trip of a pong that came at `now_us` of the asker's clock, without the time that
    /// the answerer took: `(now - ping sent) - (pong sent - ping received)`. `None` if the peer
    /// claims times that cannot be.
    pub fn round_trip(&self, now_us: u64) -> Option<Duration> {
        let whole = now_us.checked_sub(self.ping_sent_at_us)?;
        let answering = self.sent_at_us.checked_sub(self.received_at_us)?;
        whole.checked_sub(answering).map(Duration::from_micros)
    }
}

impl From<&Pong> for proto::Pong {
    fn from(pong: &Pong) -> Self {
        Self {
            id: pong.id,
            ping_sent_at_us: pong.ping_sent_at_us,
            received_at_us: pong.received_at_us,
            sent_at_us: pong.sent_at_us,
        }
    }
}

impl TryFrom<proto::Pong> for Pong {
    type Error = Malformed;

    fn try_from(pong: proto::Pong) -> Checked<Self> {
        if pong.sent_at_us < pong.received_at_us {
            return Err(Problem::Contradiction.of("Pong.sent_at_us"));
        }
        Ok(Self {
            id: pong.id,
            ping_sent_at_us: pong.ping_sent_at_us,
            received_at_us: pong.received_at_us,
            sent_at_us: pong.sent_at_us,
        })
    }
}

/// A stage that computes, or to which a frame comes, and that has nothing else to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Its session.
    pub session: SessionId,
    /// The stage's epoch.
    pub epoch: PlanEpoch,
    /// The first position that it has not computed.
    pub next_position: u32,
    /// Whether rows of others wait for the session's, or the session's for those of others.
    pub shared: bool,
}

impl From<&KeepAlive> for proto::KeepAlive {
    fn from(alive: &KeepAlive) -> Self {
        Self {
            session: alive.session.0,
            epoch: alive.epoch.0,
            next_position: alive.next_position,
            shared: alive.shared,
        }
    }
}

impl TryFrom<proto::KeepAlive> for KeepAlive {
    type Error = Malformed;

    fn try_from(alive: proto::KeepAlive) -> Checked<Self> {
        Ok(Self {
            session: SessionId(alive.session),
            epoch: PlanEpoch(alive.epoch),
            next_position: positions("KeepAlive.next_position", alive.next_position)?,
            shared: alive.shared,
        })
    }
}
