//! Devices that failed a session, and how long sessions exclude them or use less of them.
//!
//! Every failure counts for the session itself. It also counts for later sessions, unless it was a
//! lost connection or concerned this model or the device's memory. The machine keeps these
//! exclusions, and each session starts with a copy.
//!
//! | failure | excluded for | then used again |
//! |---|---|---|
//! | lost connection | [`RETRY_AFTER`] | if it was heard since; by later sessions at once |
//! | rows lost on the way to it, or a refusal for none of the reasons below | [`RETRY_AFTER`] | if it was heard since |
//! | silence, then heard on the same connection | [`RETRY_SILENT_AFTER`], doubled each time within [`FORGOTTEN_AFTER`], at most [`RETRY_AFTER`] | then |
//! | unexpected answers, values that are not numbers, no progress | [`FAULT_AFTER`], doubled each time, at most [`FAULT_AT_MOST`]; forgotten [`FAULTS_KEPT`] after the last | then |
//! | memory in use by others | [`ROOM_AFTER`], or another profile | until then with the memory it has left |
//! | no weights, or no means to compute with them | [`CHANGED_AFTER`], or another profile | then |
//! | leaving | same as above | then |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::PeerId;
use crate::session::Cause;
use crate::wire::StageRefusedCode;

/// Minimum exclusion of a failed device; it must also have been heard since.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Exclusion of a device that was silent for too long, was then heard, and has lost nothing.
/// Doubled on each repetition within [`FORGOTTEN_AFTER`], because an intermittent device costs more
/// than it contributes. At most [`RETRY_AFTER`].
const RETRY_SILENT_AFTER: Duration = Duration::from_secs(1);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A device that reconnects this soon has only changed its network. It is excluded as long as a
/// device that was silent.
const BACK_SOON: Duration = Duration::from_secs(2);
/// Exclusion of a device that lacks something, unless it sends another profile earlier.
const CHANGED_AFTER: Duration = Duration::from_secs(60);
/// Exclusion of a device whose memory is in use by others, before it is asked again.
const ROOM_AFTER: Duration = Duration::from_secs(10);

/// First exclusion of a device whose work, not its connection, was at fault. Doubled on each
/// repetition.
const FAULT_AFTER: Duration = Duration::from_secs(10);
/// Maximum exclusion for faults.
const FAULT_AT_MOST: Duration = Duration::from_secs(600);
/// Faults are forgotten this long after the last one.
const FAULTS_KEPT: Duration = Duration::from_secs(3_600);

/// The devices that a session does not use, or uses only in part.
#[derive(Debug, Default, Clone)]
pub(super) struct Exclusions {
    excluded: BTreeMap<PeerId, Excluded>,
    /// Devices that were excluded for a silence that ended: last time and duration of the
    /// exclusion.
    recovered: BTreeMap<PeerId, (Duration, Duration)>,
    /// Devices whose work was at fault: last time and duration of the exclusion.
    faults: BTreeMap<PeerId, (Duration, Duration)>,
}

#[derive(Debug, Clone)]
struct Excluded {
    since: Duration,
    until: Until,
}

/// The condition that ends an exclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Anything is heard from the device; true if it was.
    Heard(bool),
    /// Anything is heard on the same connection, after this much silence.
    Silent(Duration),
    /// Anything is heard on a new connection, after the old one ended.
    Back,
    /// This much time has passed since the exclusion began. The device was heard again.
    Recovered(Duration),
    /// This much time has passed since the device's work was at fault.
    Fault(Duration),
    /// The device sends another profile, or [`CHANGED_AFTER`] has passed.
    Changed,
    /// Like `Changed`, after [`ROOM_AFTER`]; until then the device has room for this many bytes.
    Room(u64),
    /// Like `Changed`, for a device that announced that it leaves.
    Left,
}

impl Exclusions {
    /// Notes that a stage of this device, planned with `planned_bytes`, failed.
    pub(super) fn failed(
        &mut self,
        now: Duration,
        peer: PeerId,
        cause: &Cause,
        planned_bytes: u64,
    ) {
        let until = match cause {
            // Otherwise a device that refuses the amount it claims to have free would be asked
            // endlessly.
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

    /// Extends a fault's exclusion by the faults of this device in other sessions, known to
    /// `others`.
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

    /// The exclusions with which a later session starts.
    pub(super) fn for_later(&self, now: Duration) -> Self {
        let mut later = self.clone();
        later.expire(now);
        // Statements about another model, or about memory in use at that time, no longer matter.
        later
            .excluded
            .retain(|_, excluded| !excluded.awaits_profile());
        later
    }

    /// Notes that this device announced that it leaves. Returns whether that is new.
    pub(super) fn leaves(&mut self, now: Duration, peer: PeerId) -> bool {
        let until = Until::Left;
        let before = self.excluded.insert(peer, Excluded { since: now, until });
        before.is_none_or(|before| before.until != Until::Left)
    }

    /// Notes that something arrived from this device. If it was excluded for silence, returns the
    /// length of the silence.
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

    /// Whether this device was excluded for silence and has not been heard since.
    pub(super) fn is_silent(&self, peer: PeerId) -> bool {
        let excluded = self.excluded.get(&peer);
        excluded.is_some_and(|excluded| matches!(excluded.until, Until::Silent(_)))
    }

    /// Excuses devices for time in which this node did not run and could not hear them.
    pub(super) fn did_not_run(&mut self, now: Duration, late: Duration) {
        for excluded in self.excluded.values_mut() {
            if let Until::Silent(_) = excluded.until {
                excluded.since = (excluded.since + late).min(now);
            }
        }
    }

    /// Notes that the connection to this device ended, so its state may be lost.
    pub(super) fn gone(&mut self, peer: PeerId) {
        if let Some(excluded) = self.excluded.get_mut(&peer)
            && let Until::Silent(_) | Until::Recovered(_) = excluded.until
        {
            excluded.until = Until::Back;
        }
    }

    /// Notes that this device sent another profile.
    pub(super) fn changed(&mut self, peer: PeerId) {
        let excluded = self.excluded.get(&peer);
        if excluded.is_some_and(Excluded::awaits_profile) {
            self.excluded.remove(&peer);
        }
    }

    /// When the next exclusion ends by time.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.excluded.values().filter_map(Excluded::ends_at).min()
    }

    /// Removes exclusions that have ended.
    pub(super) fn expire(&mut self, now: Duration) {
        let lasts = |excluded: &Excluded| excluded.ends_at().is_none_or(|end| end > now);
        self.excluded.retain(|_, excluded| lasts(excluded));
        let counts = |at: Duration| now.saturating_sub(at) < FAULTS_KEPT;
        self.faults.retain(|_, (at, _)| counts(*at));
    }

    /// Each excluded device, with the number of bytes that the session may still use.
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
    /// Whether another profile ends the exclusion: the cause was the device's resources, not its
    /// work or its connection.
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
        // Time in which this node did not run does not count as silence.
        exclusions.failed(now, peer, &Cause::Silent(ms(800)), 100);
        exclusions.did_not_run(now + ms(8_300), ms(8_000));
        let heard = exclusions.heard(now + ms(8_300), peer);
        assert_eq!(heard, Some(ms(1_100)));
        // On another connection it counts like any failed device, unless it reconnected soon.
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
