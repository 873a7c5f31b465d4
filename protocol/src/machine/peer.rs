//! The state of one connection: partly read messages, and the peer's announcements.

use std::collections::BTreeMap;
use std::time::Duration;

use super::links::Pings;
use crate::circle::Digest;
use crate::profile::Profile;
use crate::session::Patience;
use crate::wire::{ControlReader, FrameReader};
use crate::{Link, PeerId};

/// A peer that has not greeted within this time is dropped.
pub(super) const GREETING_WITHIN: Duration = Duration::from_secs(10);

/// Maximum number of answered questions (pings, digests) per second.
const QUESTIONS_PER_S: u32 = 100;

/// A member of the circle as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The member.
    pub peer: PeerId,
    /// When it greeted on its current connection; `None` if it is not connected or has not greeted.
    pub connected_since: Option<Duration>,
    /// Its program, while connected.
    pub software: Option<String>,
    /// The link to it as measured here, while connected.
    pub link: Option<Link>,
    /// Its profile, while connected.
    pub profile: Option<Profile>,
}

/// A connected member.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) control: ControlReader,
    pub(super) data: FrameReader,
    /// When it connected; adjusted for time in which this node did not run.
    pub(super) connected_at: Duration,
    pub(super) greeted: Option<Greeted>,
    /// How long sessions tolerate its silence.
    pub(super) patience: Patience,
    /// The data that it sent about itself.
    pub(super) told: Option<Told>,
    /// The link to it that other nodes last heard of.
    pub(super) noted_link: Option<Link>,
    /// Its last answered digest, and this node's own at that time.
    pub(super) digests: Option<(Digest, Digest)>,
    questions: Questions,
}

/// State since the peer's greeting.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) at: Duration,
    /// The minor version of its protocol.
    pub(super) minor: u32,
    pub(super) software: String,
    pub(super) pings: Pings,
}

/// The data that a peer sent about itself.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) revision: u64,
    pub(super) profile: Profile,
    pub(super) links: BTreeMap<PeerId, Link>,
}

impl Peer {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            control: ControlReader::new(),
            data: FrameReader::new(),
            connected_at: now,
            greeted: None,
            patience: Patience::default(),
            told: None,
            noted_link: None,
            digests: None,
            questions: Questions::default(),
        }
    }

    /// The link to it, once measured.
    pub(super) fn link(&self) -> Option<Link> {
        self.greeted.as_ref()?.pings.link()
    }

    /// Notes that something arrived.
    pub(super) fn heard(&mut self, now: Duration) {
        if let Some(greeted) = &mut self.greeted {
            greeted.pings.heard(now);
        }
    }

    /// Whether to answer one more question.
    pub(super) fn may_ask(&mut self, now: Duration) -> bool {
        self.questions.take(now)
    }

    pub(super) fn poll_timeout(&self) -> Duration {
        match &self.greeted {
            Some(greeted) => greeted.pings.poll_timeout(),
            None => self.connected_at + GREETING_WITHIN,
        }
    }

    /// Whether its time to greet is over, not counting time in which this node did not run.
    pub(super) fn is_mute(&mut self, now: Duration) -> bool {
        if self.greeted.is_some() {
            return false;
        }
        let due = self.connected_at + GREETING_WITHIN;
        match now.checked_sub(due) {
            Some(late) if late < GREETING_WITHIN => true,
            Some(_) => {
                self.connected_at = now;
                false
            }
            None => false,
        }
    }
}

/// Rate limit: allows a burst of one second's questions, then the average rate.
#[derive(Debug, Default)]
struct Questions {
    /// When the questions so far would have been asked at an even pace.
    paid_until: Duration,
}

impl Questions {
    fn take(&mut self, now: Duration) -> bool {
        let paid = self.paid_until.max(now) + Duration::from_secs(1) / QUESTIONS_PER_S;
        let within = paid <= now.saturating_add(Duration::from_secs(1));
        if within {
            self.paid_until = paid;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_up_to_a_rate() {
        let mut questions = Questions::default();
        let now = Duration::from_secs(5);
        let at_once = (0..1_000).filter(|_| questions.take(now)).count();
        assert_eq!(at_once, 100);
        let later = now + Duration::from_millis(500);
        assert_eq!((0..1_000).filter(|_| questions.take(later)).count(), 50);
    }

    #[test]
    fn who_does_not_greet_is_mute_unless_this_node_did_not_run() {
        let mut peer = Peer::new(Duration::from_secs(1));
        assert!(!peer.is_mute(Duration::from_secs(10)));
        assert!(!peer.is_mute(Duration::from_secs(60)));
        assert_eq!(peer.poll_timeout(), Duration::from_secs(70));
        assert!(peer.is_mute(Duration::from_secs(70)));
    }
}
