//! Devices that failed a session, and until when it does without them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::PeerId;
use crate::session::Cause;
use crate::wire::StageRefusedCode;

/// A device that failed is used again when it was heard since and so much time has passed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// One that said what it lacks is used again when it tells of another profile, or after so long.
const CHANGED_AFTER: Duration = Duration::from_secs(60);

/// The devices that a session does without.
#[derive(Debug, Default)]
pub(super) struct Exclusions(BTreeMap<PeerId, Excluded>);

#[derive(Debug)]
struct Excluded {
    since: Duration,
    until: Until,
}

/// What a device is waited for to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Say anything; whether it has.
    Heard(bool),
    /// Tell of another profile.
    Changed,
    /// The same, having said that it leaves.
    Left,
}

impl Exclusions {
    /// A stage of this device failed so.
    pub(super) fn failed(&mut self, now: Duration, peer: PeerId, cause: &Cause) {
        let until = match cause {
            Cause::Refused {
                code:
                    StageRefusedCode::Memory
                    | StageRefusedCode::NoWeights
                    | StageRefusedCode::Unsupported,
                ..
            } => Until::Changed,
            _ => Until::Heard(false),
        };
        self.0.insert(peer, Excluded { since: now, until });
    }

    /// This device says that it leaves; whether that is new.
    pub(super) fn leaves(&mut self, now: Duration, peer: PeerId) -> bool {
        let until = Until::Left;
        let before = self.0.insert(peer, Excluded { since: now, until });
        before.is_none_or(|before| before.until != Until::Left)
    }

    /// Anything was heard of this device.
    pub(super) fn heard(&mut self, peer: PeerId) {
        if let Some(excluded) = self.0.get_mut(&peer)
            && excluded.until == Until::Heard(false)
        {
            excluded.until = Until::Heard(true);
        }
    }

    /// This device tells of another profile.
    pub(super) fn changed(&mut self, peer: PeerId) {
        let awaited = |excluded: &Excluded| match excluded.until {
            Until::Heard(_) => false,
            Until::Changed | Until::Left => true,
        };
        if self.0.get(&peer).is_some_and(awaited) {
            self.0.remove(&peer);
        }
    }

    /// When the next exclusion ends by itself.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.0.values().filter_map(Excluded::ends_at).min()
    }

    /// Ends those whose time has come.
    pub(super) fn expire(&mut self, now: Duration) {
        let lasts = |excluded: &Excluded| excluded.ends_at().is_none_or(|end| end > now);
        self.0.retain(|_, excluded| lasts(excluded));
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.0.contains_key(&peer)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.0.keys().copied()
    }
}

impl Excluded {
    fn ends_at(&self) -> Option<Duration> {
        match self.until {
            Until::Heard(false) => None,
            Until::Heard(true) => Some(self.since + RETRY_AFTER),
            Until::Changed | Until::Left => Some(self.since + CHANGED_AFTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_comes_back_when_it_was_heard_or_has_changed() {
        let peer = PeerId::from_public_key([1; 32]);
        let second = Duration::from_secs;
        let refused = |code| Cause::Refused {
            code,
            words: String::new(),
            available_bytes: 0,
        };
        let mut exclusions = Exclusions::default();
        exclusions.failed(second(10), peer, &Cause::Silent);
        exclusions.changed(peer);
        exclusions.expire(second(1_000));
        assert!(exclusions.contains(peer) && exclusions.poll_timeout().is_none());
        exclusions.heard(peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(15)));
        exclusions.expire(second(15));
        assert!(!exclusions.contains(peer));

        exclusions.failed(second(20), peer, &refused(StageRefusedCode::Memory));
        exclusions.heard(peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(80)));
        exclusions.changed(peer);
        assert!(!exclusions.contains(peer));
        exclusions.failed(second(20), peer, &refused(StageRefusedCode::Unwilling));
        exclusions.heard(peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(25)));

        assert!(exclusions.leaves(second(30), peer));
        assert!(!exclusions.leaves(second(31), peer));
        exclusions.changed(peer);
        assert_eq!(exclusions.peers().count(), 0);
    }
}
