//! Devices that failed a session, and until when it does without them or with less of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::PeerId;
use crate::session::Cause;
use crate::wire::StageRefusedCode;

/// A device that failed is used again when it was heard since and so much time has passed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// One that said what it lacks is used again when it tells of another profile, or after so long.
const CHANGED_AFTER: Duration = Duration::from_secs(60);
/// One whose memory others have: whether they still do is asked again after so long.
const ROOM_AFTER: Duration = Duration::from_secs(10);

/// The devices that a session does without, or of which it uses only a part.
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
    /// The same; meanwhile it has room for so many bytes.
    Room(u64),
    /// The same, having said that it leaves.
    Left,
}

impl Exclusions {
    /// A stage of this device, which was to take `planned_bytes`, failed so.
    pub(super) fn failed(
        &mut self,
        now: Duration,
        peer: PeerId,
        cause: &Cause,
        planned_bytes: u64,
    ) {
        let until = match cause {
            // Who refuses what it says it has room for would be asked for ever.
            &Cause::Refused {
                code: StageRefusedCode::Memory,
                available_bytes,
                ..
            } if available_bytes < planned_bytes => Until::Room(available_bytes),
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
            Until::Changed | Until::Room(_) | Until::Left => true,
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

    /// Each device, and how many bytes of it the session may use.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (PeerId, u64)> {
        self.0.iter().map(|(&peer, excluded)| match excluded.until {
            Until::Room(bytes) => (peer, bytes),
            Until::Heard(_) | Until::Changed | Until::Left => (peer, 0),
        })
    }
}

impl Excluded {
    fn ends_at(&self) -> Option<Duration> {
        match self.until {
            Until::Heard(false) => None,
            Until::Heard(true) => Some(self.since + RETRY_AFTER),
            Until::Room(_) => Some(self.since + ROOM_AFTER),
            Until::Changed | Until::Left => Some(self.since + CHANGED_AFTER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: StageRefusedCode, available_bytes: u64) -> Cause {
        Cause::Refused {
            code,
            words: String::new(),
            available_bytes,
        }
    }

    #[test]
    fn a_device_comes_back_when_it_was_heard_or_has_changed() {
        let peer = PeerId::from_public_key([1; 32]);
        let second = Duration::from_secs;
        let excluded = |exclusions: &Exclusions| exclusions.rooms().next();
        let mut exclusions = Exclusions::default();
        exclusions.failed(second(10), peer, &Cause::Silent, 100);
        exclusions.changed(peer);
        exclusions.expire(second(1_000));
        assert_eq!(excluded(&exclusions), Some((peer, 0)));
        assert_eq!(exclusions.poll_timeout(), None);
        exclusions.heard(peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(15)));
        exclusions.expire(second(15));
        assert_eq!(excluded(&exclusions), None);

        let no_weights = refused(StageRefusedCode::NoWeights, 0);
        exclusions.failed(second(20), peer, &no_weights, 100);
        exclusions.heard(peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(80)));
        exclusions.changed(peer);
        assert_eq!(excluded(&exclusions), None);
        let unwilling = refused(StageRefusedCode::Unwilling, 0);
        exclusions.failed(second(20), peer, &unwilling, 100);
        exclusions.heard(peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(25)));

        assert!(exclusions.leaves(second(30), peer));
        assert!(!exclusions.leaves(second(31), peer));
        exclusions.changed(peer);
        assert_eq!(excluded(&exclusions), None);
    }

    #[test]
    fn a_device_whose_memory_others_have_is_used_with_what_is_left() {
        let peer = PeerId::from_public_key([1; 32]);
        let second = Duration::from_secs;
        let mut exclusions = Exclusions::default();
        let full = refused(StageRefusedCode::Memory, 60);
        exclusions.failed(second(10), peer, &full, 100);
        assert_eq!(exclusions.rooms().collect::<Vec<_>>(), [(peer, 60)]);
        exclusions.failed(second(11), peer, &full, 60);
        let room = exclusions.rooms().collect::<Vec<_>>();
        assert_eq!(room, [(peer, 0)], "it refuses what it says it has");
        exclusions.changed(peer);
        exclusions.failed(second(12), peer, &full, 100);
        exclusions.expire(second(22));
        assert_eq!(exclusions.rooms().count(), 0, "they may be done");
    }
}
