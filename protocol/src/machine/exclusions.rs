//! Devices that failed a session, and for how long sessions do without them or use less of them.
//!
//! Every failure counts for the session itself. A failure also counts for later sessions, unless it was a
//! lost connection, or what the device said about this model or its memory: the machine keeps it, and each
//! session starts with a copy.
//!
//! | it failed by | excluded for | then used again |
//! |---|---|---|
//! | its connection | [`RETRY_AFTER`] | if it was heard since; by later sessions at once |
//! | rows lost on the way to it, a refusal for no other reason below | [`RETRY_AFTER`] | if it was heard since |
//! | silence, and is heard on the same connection | [`RETRY_SILENT_AFTER`], doubled each time within [`FORGOTTEN_AFTER`], at most [`RETRY_AFTER`] | then |
//! | answers that were not due, values that are no numbers, no progress | [`FAULT_AFTER`], doubled each time, at most [`FAULT_AT_MOST`]; forgotten [`FAULTS_KEPT`] after the last | then |
//! | memory that others hold | [`ROOM_AFTER`], or another profile | until then with what it has left |
//! | no weights, nothing to compute them with | [`CHANGED_AFTER`], or another profile | then |
//! | leaving | the same | then |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::PeerId;
use crate::session::Cause;
use crate::wire::StageRefusedCode;

/// A device that failed is used again when it was heard since and so much time has passed.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// One that was silent for too long and then was heard, having lost nothing, is used again after so
/// long; after twice as long each time that this comes again within [`FORGOTTEN_AFTER`], as a device
/// that comes and goes costs more than it gives. At most [`RETRY_AFTER`].
const RETRY_SILENT_AFTER: Duration = Duration::from_secs(1);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// One whose connection ended and that is back so soon has only changed its way: it is left out for as
/// long as one that was silent.
const BACK_SOON: Duration = Duration::from_secs(2);
/// One that said what it lacks is used again when it tells of another profile, or after so long.
const CHANGED_AFTER: Duration = Duration::from_secs(60);
/// One whose memory others have: whether they still do is asked again after so long.
const ROOM_AFTER: Duration = Duration::from_secs(10);

/// One whose work was at fault, and not the way to it, is used again after so long; after twice as long
/// each time that it comes again.
const FAULT_AFTER: Duration = Duration::from_secs(10);
/// The longest time for that.
const FAULT_AT_MOST: Duration = Duration::from_secs(600);
/// Faults are forgotten so long after the last.
const FAULTS_KEPT: Duration = Duration::from_secs(3_600);

/// The devices that a session does not use, or uses only in part.
#[derive(Debug, Default, Clone)]
pub(super) struct Exclusions {
    excluded: BTreeMap<PeerId, Excluded>,
    /// Devices that were given up for a silence that ended: when last, and how long each was excluded.
    recovered: BTreeMap<PeerId, (Duration, Duration)>,
    /// Devices whose work was at fault: when last, and how long each was excluded.
    faults: BTreeMap<PeerId, (Duration, Duration)>,
}

#[derive(Debug, Clone)]
struct Excluded {
    since: Duration,
    until: Until,
}

/// What a device is waited for to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Say anything; whether it has.
    Heard(bool),
    /// The same on the connection that it has, having been silent for so long.
    Silent(Duration),
    /// Say anything over another connection than the one that ended.
    Back,
    /// Nothing any more: it is used again so long after it was given up.
    Recovered(Duration),
    /// Nothing: its work was at fault, and it is used again so long after that.
    Fault(Duration),
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
            // Else a device that refuses what it claims to have room for would be asked for ever.
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
            &Cause::Silent(silence) => Until::Silent(silence),
            Cause::Disconnected => Until::Back,
            Cause::Faulty | Cause::NotFinite | Cause::Stuck(_) => {
                let last = self.faults.get(&peer);
                let last = last.filter(|(at, _)| now.saturating_sub(*at) < FAULTS_KEPT);
                let after = last.map_or(FAULT_AFTER, |(_, after)| 2 * *after);
                let after = after.min(FAULT_AT_MOST);
                self.faults.insert(peer, (now, after));
                Until::Fault(after)
            }
            Cause::Forgotten | Cause::RowsLost | Cause::Refused { .. } => Until::Heard(false),
        };
        self.excluded.insert(peer, Excluded { since: now, until });
    }

    /// A device has failed another session, too, which `others` know.
    pub(super) fn note_fault(&mut self, others: &Self, peer: PeerId) {
        let Some(fault) = others.faults.get(&peer) else {
            return;
        };
        self.faults.insert(peer, *fault);
        if let Some(excluded) = self.excluded.get_mut(&peer)
            && let Until::Fault(after) = &mut excluded.until
        {
            *after = fault.1;
        }
    }

    /// What a session begins with that comes after those that these are of.
    pub(super) fn for_later(&self, now: Duration) -> Self {
        let mut later = self.clone();
        later.expire(now);
        // What it said about another model, or about memory that was in use then, does not matter now.
        later
            .excluded
            .retain(|_, excluded| !excluded.awaits_profile());
        later
    }

    /// This device says that it leaves; whether that is new.
    pub(super) fn leaves(&mut self, now: Duration, peer: PeerId) -> bool {
        let until = Until::Left;
        let before = self.excluded.insert(peer, Excluded { since: now, until });
        before.is_none_or(|before| before.until != Until::Left)
    }

    /// Anything was heard of this device: how long it had been silent, if it was given up for that.
    pub(super) fn heard(&mut self, now: Duration, peer: PeerId) -> Option<Duration> {
        let excluded = self.excluded.get_mut(&peer)?;
        match excluded.until {
            Until::Heard(false) => excluded.until = Until::Heard(true),
            Until::Back if now.saturating_sub(excluded.since) > BACK_SOON => {
                excluded.until = Until::Heard(true);
            }
            Until::Back | Until::Silent(_) => {
                let last = self.recovered.get(&peer);
                let last = last.filter(|(at, _)| now.saturating_sub(*at) < FORGOTTEN_AFTER);
                let after = last.map_or(RETRY_SILENT_AFTER, |(_, after)| 2 * *after);
                let after = after.min(RETRY_AFTER);
                self.recovered.insert(peer, (now, after));
                let before = std::mem::replace(&mut excluded.until, Until::Recovered(after));
                if let Until::Silent(silence) = before {
                    return Some(silence + now.saturating_sub(excluded.since));
                }
            }
            Until::Heard(true)
            | Until::Recovered(_)
            | Until::Fault(_)
            | Until::Changed
            | Until::Room(_)
            | Until::Left => {}
        }
        None
    }

    /// Whether this device was given up as silent, and was not heard since.
    pub(super) fn is_silent(&self, peer: PeerId) -> bool {
        let excluded = self.excluded.get(&peer);
        excluded.is_some_and(|excluded| matches!(excluded.until, Until::Silent(_)))
    }

    /// This node did not run for so long: it has not listened.
    pub(super) fn did_not_run(&mut self, now: Duration, late: Duration) {
        for excluded in self.excluded.values_mut() {
            if let Until::Silent(_) = excluded.until {
                excluded.since = (excluded.since + late).min(now);
            }
        }
    }

    /// The connection to this device ended: what it had here may be lost.
    pub(super) fn gone(&mut self, peer: PeerId) {
        if let Some(excluded) = self.excluded.get_mut(&peer)
            && let Until::Silent(_) | Until::Recovered(_) = excluded.until
        {
            excluded.until = Until::Back;
        }
    }

    /// This device tells of another profile.
    pub(super) fn changed(&mut self, peer: PeerId) {
        let excluded = self.excluded.get(&peer);
        if excluded.is_some_and(Excluded::awaits_profile) {
            self.excluded.remove(&peer);
        }
    }

    /// When the next exclusion ends by itself.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.excluded.values().filter_map(Excluded::ends_at).min()
    }

    /// Ends those whose time has come.
    pub(super) fn expire(&mut self, now: Duration) {
        let lasts = |excluded: &Excluded| excluded.ends_at().is_none_or(|end| end > now);
        self.excluded.retain(|_, excluded| lasts(excluded));
        let counts = |at: Duration| now.saturating_sub(at) < FAULTS_KEPT;
        self.faults.retain(|_, (at, _)| counts(*at));
    }

    /// Each device, and how many bytes of it the session may use.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (PeerId, u64)> {
        self.excluded
            .iter()
            .map(|(&peer, excluded)| match excluded.until {
                Until::Room(bytes) => (peer, bytes),
                Until::Heard(_)
                | Until::Silent(_)
                | Until::Back
                | Until::Recovered(_)
                | Until::Fault(_)
                | Until::Changed
                | Until::Left => (peer, 0),
            })
    }
}

impl Excluded {
    /// Whether another profile ends it: it was for what the device has or lacks, not for its work or
    /// its way.
    fn awaits_profile(&self) -> bool {
        match self.until {
            Until::Heard(_)
            | Until::Silent(_)
            | Until::Back
            | Until::Recovered(_)
            | Until::Fault(_) => false,
            Until::Changed | Until::Room(_) | Until::Left => true,
        }
    }

    fn ends_at(&self) -> Option<Duration> {
        match self.until {
            Until::Heard(false) | Until::Silent(_) | Until::Back => None,
            Until::Recovered(after) | Until::Fault(after) => Some(self.since + after),
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
        exclusions.failed(second(10), peer, &Cause::Disconnected, 100);
        exclusions.changed(peer);
        exclusions.expire(second(1_000));
        assert_eq!(excluded(&exclusions), Some((peer, 0)));
        assert_eq!(exclusions.poll_timeout(), None);
        exclusions.heard(second(13), peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(15)));
        exclusions.expire(second(15));
        assert_eq!(excluded(&exclusions), None);

        let no_weights = refused(StageRefusedCode::NoWeights, 0);
        exclusions.failed(second(20), peer, &no_weights, 100);
        exclusions.heard(second(10), peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(80)));
        exclusions.changed(peer);
        assert_eq!(excluded(&exclusions), None);
        let unwilling = refused(StageRefusedCode::Unwilling, 0);
        exclusions.failed(second(20), peer, &unwilling, 100);
        exclusions.heard(second(10), peer);
        assert_eq!(exclusions.poll_timeout(), Some(second(25)));

        assert!(exclusions.leaves(second(30), peer));
        assert!(!exclusions.leaves(second(31), peer));
        exclusions.changed(peer);
        assert_eq!(excluded(&exclusions), None);
    }

    #[test]
    fn who_was_silent_and_lost_nothing_is_back_soon_and_later_each_time() {
        let peer = PeerId::from_public_key([1; 32]);
        let ms = Duration::from_millis;
        let mut exclusions = Exclusions::default();
        let mut now = ms(10_000);
        for after in [1_000, 2_000, 4_000, 5_000, 5_000] {
            exclusions.failed(now, peer, &Cause::Silent(ms(800)), 100);
            assert_eq!(exclusions.poll_timeout(), None, "not heard yet");
            let heard = exclusions.heard(now + ms(300), peer);
            assert_eq!(heard, Some(ms(1_100)));
            assert_eq!(exclusions.heard(now + ms(400), peer), None, "known");
            assert_eq!(exclusions.poll_timeout(), Some(now + ms(after)));
            now += ms(10_000);
            exclusions.expire(now);
        }
        now += FORGOTTEN_AFTER;
        exclusions.failed(now, peer, &Cause::Silent(ms(800)), 100);
        exclusions.heard(now, peer);
        assert_eq!(exclusions.poll_timeout(), Some(now + ms(1_000)));
        // Time in which this node did not run was nobody's silence.
        exclusions.failed(now, peer, &Cause::Silent(ms(800)), 100);
        exclusions.did_not_run(now + ms(8_300), ms(8_000));
        let heard = exclusions.heard(now + ms(8_300), peer);
        assert_eq!(heard, Some(ms(1_100)));
        // Over another connection it is as anybody who failed, unless that came soon.
        exclusions.failed(now, peer, &Cause::Silent(ms(800)), 100);
        exclusions.gone(peer);
        assert_eq!(exclusions.heard(now + ms(2_300), peer), None);
        assert_eq!(exclusions.poll_timeout(), Some(now + RETRY_AFTER));
    }

    #[test]
    fn who_has_only_changed_its_way_is_back_after_a_second() {
        let peer = PeerId::from_public_key([1; 32]);
        let ms = Duration::from_millis;
        for cause in [Cause::Disconnected, Cause::Silent(ms(800))] {
            let mut exclusions = Exclusions::default();
            exclusions.failed(ms(10_000), peer, &cause, 100);
            exclusions.gone(peer);
            assert_eq!(exclusions.poll_timeout(), None, "not back yet");
            assert_eq!(exclusions.heard(ms(10_400), peer), None);
            assert_eq!(exclusions.poll_timeout(), Some(ms(11_000)));
        }
    }

    #[test]
    fn whose_work_is_at_fault_is_left_out_longer_each_time_by_later_sessions_too() {
        let peer = PeerId::from_public_key([1; 32]);
        let second = Duration::from_secs;
        let mut machines = Exclusions::default();
        let mut now = second(100);
        for after in [10, 20, 40, 80, 160, 320, 600, 600] {
            let mut session = machines.for_later(now);
            assert_eq!(session.rooms().count(), 0);
            machines.failed(now, peer, &Cause::NotFinite, 100);
            session.failed(now, peer, &Cause::NotFinite, 100);
            session.note_fault(&machines, peer);
            machines.heard(now, peer);
            machines.changed(peer);
            let later = machines.for_later(now + second(after - 1));
            assert_eq!(later.rooms().collect::<Vec<_>>(), [(peer, 0)]);
            assert_eq!(session.poll_timeout(), Some(now + second(after)));
            now += second(after);
            assert_eq!(machines.for_later(now).rooms().count(), 0);
        }
        now += FAULTS_KEPT;
        machines.failed(now, peer, &Cause::Faulty, 100);
        assert_eq!(machines.poll_timeout(), Some(now + FAULT_AFTER));
    }

    #[test]
    fn what_a_device_lacks_for_one_session_says_nothing_of_the_next() {
        let peer = |byte| PeerId::from_public_key([byte; 32]);
        let second = Duration::from_secs;
        let mut machines = Exclusions::default();
        let now = second(10);
        let no_weights = refused(StageRefusedCode::NoWeights, 0);
        machines.failed(now, peer(1), &no_weights, 100);
        machines.failed(now, peer(2), &refused(StageRefusedCode::Memory, 60), 100);
        machines.failed(now, peer(3), &Cause::Disconnected, 100);
        assert!(machines.leaves(now, peer(4)));
        let later = machines.for_later(second(1_000));
        assert_eq!(later.rooms().collect::<Vec<_>>(), [(peer(3), 0)]);
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
