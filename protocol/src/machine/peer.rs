//! The state of one connection: partly read messages, and what the peer told about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::links::Pings;
use crate::circle::Digest;
use crate::profile::Profile;
use crate::session::Patience;
use crate::wire::{ControlReader, FrameReader};
use crate::{Link, PeerId};

/// A connected peer that has not greeted after so long is dropped.
pub(super) const GREETING_WITHIN: Duration = Duration::from_secs(10);

/// Questions a second that are answered: pings and digests.
const QUESTIONS_PER_S: u32 = 100;

/// A member of the circle as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// Since when it is connected and has greeted; `None` if it is not.
    pub connected_since: Option<Duration>,
    /// Its program, while it is connected.
    pub software: Option<String>,
    /// The way to it as measured here, while it is connected.
    pub link: Option<Link>,
    /// What it told of itself, while it is connected.
    pub profile: Option<Profile>,
}

/// A member that is connected.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) control: ControlReader,
    pub(super) data: FrameReader,
    /// When it was connected; later if this node did not run meanwhile.
    pub(super) connected_at: Duration,
    pub(super) greeted: Option<Greeted>,
    /// How long sessions wait for it when it is silent.
    pub(super) patience: Patience,
    /// What it told of itself.
    pub(super) told: Option<Told>,
    /// The way to it when others last heard of it.
    pub(super) noted_link: Option<Link>,
    /// Its digest that was answered last, and this node's own then.
    pub(super) digests: Option<(Digest, Digest)>,
    questions: Questions,
}

/// What began with the peer's greeting.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) at: Duration,
    /// The minor version of its protocol.
    pub(super) minor: u32,
    pub(super) software: String,
    pub(super) pings: Pings,
}

/// What a peer told of itself.
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

    /// The way to it, once it is measured.
    pub(super) fn link(&self) -> Option<Link> {
        self.greeted.as_ref()?.pings.link()
    }

    /// Anything came.
    pub(super) fn heard(&mut self, now: Duration) {
        if let Some(greeted) = &mut self.greeted {
            greeted.pings.heard(now);
        }
    }

    /// Whether one more question is to be answered.
    pub(super) fn may_ask(&mut self, now: Duration) -> bool {
        self.questions.take(now)
    }

    pub(super) fn poll_timeout(&self) -> Duration {
        match &self.greeted {
            Some(greeted) => greeted.pings.poll_timeout(),
            None => self.connected_at + GREETING_WITHIN,
        }
    }

    /// Whether it has had the time to greet; time in which this node did not run does not count.
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

/// A second's worth of questions at once, then as many as come in time.
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
