//! The placement of one of this node's sessions, and the search for the next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use super::exclusions::Exclusions;
use super::{Choice, Request};
use crate::placement::{
    Computed, Devices, PredictedStage, Prediction, Stage, plan, plan_again, prefill_rows_again,
};
use crate::session::{Cause, PlacedStage, STEPS_ON_THE_WAY, Session, SessionEvent, SessionSetup};
use crate::wire::limits::{MAX_BYTES, MAX_POSITIONS};
use crate::{Arithmetic, PeerId};

/// Rows per prefill step on this device alone: enough to read weights rarely, few enough that
/// stopping takes effect quickly.
const ROWS_ALONE: u32 = 256;
/// Rows per prefill step without better information.
const ROWS_UNKNOWN: u32 = 64;

/// Minimum time between searches for a placement, unless the current one fails.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A session of this node, its placement, and the state of the search for the next one.
#[derive(Debug)]
pub(super) struct Placing {
    request: Request,
    /// The devices that the user named, with their names: only they and this device may get layers.
    /// `None` if any device may.
    named: Option<BTreeMap<PeerId, String>>,
    pub(super) session: Session,
    pub(super) excluded: Exclusions,
    wanted: Wanted,
    /// Whether inputs of placements have changed since the last search.
    changed: bool,
    /// When to search again even if nothing changes.
    look_at: Option<Duration>,
    /// Changes trigger no search before this time, so that a peer that sends many profiles cannot
    /// keep this node busy.
    pause_until: Duration,
    /// The last reported reason for waiting.
    told: Option<String>,
    /// Since when no placement has opened.
    waits_since: Option<Duration>,
    /// Peers that were connected at the start and may not have sent all that a plan needs.
    expected: BTreeSet<PeerId>,
    /// The prediction for the current placement.
    prediction: Option<Box<Prediction>>,
    /// The stages that computed the last answer.
    computed: Vec<Stage>,
    /// Whether those are the current stages.
    computes: bool,
    /// The position after the last row ever submitted.
    high: u32,
    /// Whether this device's program is too old to read the circle's log.
    pub(super) outdated: bool,
    /// The names of unreachable members.
    pub(super) away: Vec<String>,
    events: VecDeque<SessionEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    /// Another placement, while the current one still works.
    Move,
    Placement,
}

impl Placing {
    /// `failed` are the devices that failed earlier sessions.
    pub(super) fn new(
        (me, arithmetic): (PeerId, Arithmetic),
        mut request: Request,
        expected: BTreeSet<PeerId>,
        failed: Exclusions,
    ) -> Self {
        // Clamp as stages do: a stage that every device refuses would never open.
        request.options.context = request.options.context.clamp(1, MAX_POSITIONS);
        let session = Session::new(SessionSetup {
            id: request.id,
            requester: me,
            manifest: request.manifest,
            shape: request.hidden,
            context: request.options.context,
            arithmetic,
        });
        let excluded = match request.choice {
            Choice::Best | Choice::Alone => failed,
            // Devices that the user names are always asked.
            Choice::Forced(_) => Exclusions::default(),
        };
        Self {
            named: named(&request.choice),
            request,
            session,
            excluded,
            wanted: Wanted::Placement,
            changed: true,
            look_at: None,
            pause_until: Duration::ZERO,
            told: None,
            waits_since: None,
            expected,
            prediction: None,
            computed: Vec::new(),
            computes: false,
            high: 0,
            outdated: false,
            away: Vec::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    pub(super) fn goes_over(&self, peer: PeerId) -> bool {
        let mut ring = self.session.ring().iter();
        ring.any(|placed| placed.stage.peer == peer)
    }

    /// Peers whose data a plan should wait for briefly.
    pub(super) fn expected(&self) -> impl Iterator<Item = PeerId> {
        let best = self.request.choice == Choice::Best;
        self.expected.iter().copied().filter(move |_| best)
    }

    /// Notes that rows up to this position were submitted.
    pub(super) fn submitted(&mut self, end: u32) {
        self.high = self.high.max(end);
    }

    /// Handles a session's event: updates the placement, and decides whether to pass on the event.
    /// `failed` are the devices that failed any session.
    pub(super) fn told(
        &mut self,
        now: Duration,
        me: PeerId,
        event: SessionEvent,
        failed: &mut Exclusions,
    ) {
        match &event {
            SessionEvent::Answered { .. } => self.answered(),
            // Stages may repeat it.
            SessionEvent::Leaving { peer, .. } if !self.excluded.leaves(now, *peer) => return,
            SessionEvent::Leaving { .. } => self.want(Wanted::Move),
            SessionEvent::Broken { peer, cause } => self.broken(now, me, (*peer, cause), failed),
            SessionEvent::Placed(_)
            | SessionEvent::Ready { .. }
            | SessionEvent::Fetching { .. }
            | SessionEvent::RolledBack
            | SessionEvent::Shared { .. }
            | SessionEvent::Waiting(_)
            | SessionEvent::GivenUp(_) => {}
        }
        self.events.push_back(event);
    }

    /// Notes an answer.
    fn answered(&mut self) {
        if !self.computes {
            self.computes = true;
            let ring = self.session.ring().iter();
            self.computed = ring.map(|placed| placed.stage).collect();
        }
    }

    /// Notes that something arrived from a peer. Returns the length of its silence while the
    /// session waited for it or had given it up.
    pub(super) fn heard(&mut self, now: Duration, peer: PeerId) -> Option<Duration> {
        let given_up = self.excluded.heard(now, peer);
        self.session.heard(now, peer).max(given_up)
    }

    /// Notes that the connection to a peer ended.
    pub(super) fn gone(&mut self, peer: PeerId) {
        self.excluded.gone(peer);
        self.session.disconnected(peer);
    }

    /// Notes that a peer sent another profile.
    pub(super) fn profile_changed(&mut self, peer: PeerId) {
        self.excluded.changed(peer);
    }

    /// Notes that inputs of placements have changed.
    pub(super) fn view_changed(&mut self) {
        self.changed = true;
    }

    /// Handles the failure of a stage.
    fn broken(
        &mut self,
        now: Duration,
        me: PeerId,
        (peer, cause): (PeerId, &Cause),
        failed: &mut Exclusions,
    ) {
        let mut ring = self.session.ring().iter();
        let placed = ring.find(|placed| placed.stage.peer == peer);
        let planned_bytes = placed.map_or(0, |placed| placed.memory_bytes);
        self.excluded.failed(now, peer, cause, planned_bytes);
        if peer == me {
            // This device always hears itself, and its next session tries it again.
            self.excluded.heard(now, peer);
        } else if *cause != Cause::Disconnected {
            // Other sessions may use a reconnected device at once.
            failed.failed(now, peer, cause, planned_bytes);
            self.excluded.note_fault(failed, peer);
        }
        self.want(Wanted::Placement);
    }

    fn want(&mut self, wanted: Wanted) {
        // A placement from the user holds until one of its devices fails; the restriction to the
        // named devices continues.
        if let Choice::Forced(_) = self.request.choice {
            self.request.choice = Choice::Best;
            self.expected.clear();
        }
        self.wanted = wanted;
        self.changed = true;
        self.pause_until = Duration::ZERO;
        self.told = None;
    }

    /// Reports that the session is ready, with the rows per prefill step from a position on.
    pub(super) fn ready(&mut self, me: PeerId, devices: &Devices, from: u32) {
        let left = match self.high.checked_sub(from) {
            // Rows to send again, if they are more than one token and its drafts.
            Some(left) if left as usize > STEPS_ON_THE_WAY => left,
            _ => self.request.options.context.saturating_sub(from),
        };
        let placed = self.prediction.as_deref();
        let rows = match (placed, NonZeroU32::new(left)) {
            (Some(placed), _) if placed.is_alone(me) => Some(ROWS_ALONE),
            (Some(placed), Some(left)) => {
                let model = &self.request.model;
                let best = prefill_rows_again(model, devices, placed, &self.computed, left);
                best.map(|best| best.rows.get())
            }
            _ => None,
        };
        let rows = rows.unwrap_or(ROWS_UNKNOWN);
        let rows = NonZeroU32::new(rows.min(self.request.hidden.max_rows()));
        let prefill_rows = rows.unwrap_or(NonZeroU32::MIN);
        self.waits_since = None;
        self.events
            .push_back(SessionEvent::Ready { from, prefill_rows });
    }

    /// Makes devices outside the ring load the layers that they would get if a device of the ring
    /// failed.
    pub(super) fn stand_by(&mut self, devices: &Devices) {
        let ring: Vec<_> = self
            .session
            .ring()
            .iter()
            .map(|placed| placed.stage)
            .collect();
        let in_ring = |peer: PeerId| ring.iter().any(|stage| stage.peer == peer);
        let me = devices.requester;
        let is_spare = |peer: PeerId| peer != me && !in_ring(peer);
        let mut standbys: Vec<PlacedStage> = Vec::new();
        if devices.profiles.keys().any(|&peer| is_spare(peer)) {
            for lost in ring.iter().filter(|stage| stage.peer != me) {
                for placed in self.predict_without(lost.peer, &ring, devices) {
                    let peer = placed.stage.peer;
                    let known = standbys.iter().any(|standby| standby.stage.peer == peer);
                    if is_spare(peer) && !known {
                        standbys.push(placed);
                    }
                }
            }
        }
        self.session.stand_by(&standbys);
    }

    /// When the next search for a placement is due, if one is wanted.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        if self.wanted == Wanted::Nothing {
            return None;
        }
        let changed = self.changed.then_some(self.pause_until);
        let excluded = self.excluded.poll_timeout();
        let dues = [changed, self.look_at, excluded, self.gives_up_at()];
        dues.into_iter().flatten().min()
    }

    /// When its patience for a placement ends.
    fn gives_up_at(&self) -> Option<Duration> {
        let since = self
            .waits_since
            .filter(|_| self.wanted == Wanted::Placement);
        Some(since? + self.request.patience?)
    }

    /// Whether to search for a placement now.
    pub(super) fn should_look(&self, now: Duration) -> bool {
        self.poll_timeout().is_some_and(|due| due <= now)
    }

    /// Searches for a placement over these devices, but not before `hold`, if given, because a peer
    /// has yet to send data that a plan needs.
    pub(super) fn look(&mut self, now: Duration, devices: Devices, hold: Option<Duration>) {
        self.changed = false;
        self.pause_until = now + LOOK_EVERY;
        self.look_at = hold;
        self.excluded.expire(now);
        if hold.is_some() {
            return self.wait("the ways to the devices in reach are being measured".to_owned());
        }
        let placed = self.predict(devices).and_then(|prediction| {
            let stages = prediction.stages.iter().map(placed_stage);
            let placed = self.session.place(now, stages.collect());
            placed.map_err(|why| why.to_string()).map(|()| prediction)
        });
        match placed {
            Ok(prediction) => {
                let prediction = Box::new(prediction);
                self.prediction = Some(prediction.clone());
                self.computes = false;
                self.events.push_back(SessionEvent::Placed(prediction));
                self.wanted = Wanted::Nothing;
                self.told = None;
                self.expected.clear();
            }
            Err(why) => {
                let why = self.without_others(why);
                if self.wanted == Wanted::Placement {
                    self.waits_since.get_or_insert(now);
                }
                if self.gives_up_at().is_some_and(|end| end <= now) {
                    return self.give_up(why);
                }
                self.wait(why);
            }
        }
    }

    /// Gives up the session.
    fn give_up(&mut self, why: String) {
        self.wanted = Wanted::Nothing;
        self.session.close();
        self.events.push_back(SessionEvent::GivenUp(why));
    }

    /// Extends the reason for having no placement if this device's version excludes all others.
    fn without_others(&self, why: String) -> String {
        if self.outdated {
            format!(
                "{why}; update Potluck on this device, which cannot read all of the circle's log"
            )
        } else {
            why
        }
    }

    fn wait(&mut self, why: String) {
        let new = self.told.as_ref() != Some(&why);
        if new && self.wanted == Wanted::Placement {
            self.events.push_back(SessionEvent::Waiting(why.clone()));
            self.told = Some(why);
        }
    }

    fn predict(&self, devices: Devices) -> Result<Prediction, String> {
        let (model, options) = (&self.request.model, &self.request.options);
        let me = devices.requester;
        if self.request.choice == Choice::Alone && self.excluded.rooms().any(|room| room == (me, 0))
        {
            return Err("this device failed: it tries again in some seconds".to_owned());
        }
        let mut devices = self.usable(devices);
        match &self.request.choice {
            Choice::Best => {}
            Choice::Alone => devices.profiles.retain(|peer, _| *peer == me),
            Choice::Forced(forced) => {
                let predicted = forced.predict(model, &devices, options);
                return predicted.map_err(|why| why.to_string());
            }
        }
        let best = match NonZeroU32::new(self.high) {
            Some(rows) => {
                let stages = &self.computed;
                plan_again(model, &devices, options, Computed { stages, rows })
            }
            None => plan(model, &devices, options).map(|plan| plan.best),
        };
        best.map_err(|why| match self.request.choice {
            Choice::Best if self.named.is_none() => why.where_away(&self.away),
            Choice::Best | Choice::Alone | Choice::Forced(_) => {
                self.within_named(&devices, why.to_string())
            }
        })
    }

    /// The reason for having no placement over the devices that the user named.
    fn within_named(&self, devices: &Devices, why: String) -> String {
        let Some(named) = &self.named else {
            return why;
        };
        let missing = named.iter().filter(|(peer, _)| {
            let in_reach = devices.profiles.contains_key(peer);
            let unwilling = !in_reach || devices.unwilling(**peer).is_some();
            **peer != devices.requester && unwilling
        });
        let missing: Vec<_> = missing.map(|(_, name)| format!("{name:?}")).collect();
        let missing = match missing.as_slice() {
            [] => String::new(),
            [one] => format!("{one} cannot help now, and "),
            all => format!("{} cannot help now, and ", all.join(", ")),
        };
        format!(
            "{missing}the placement lets no other device help: {why}; a placement that ends with ,* \
             lets others"
        )
    }

    /// The stages over which the session would continue if one of its stages failed now.
    fn predict_without(&self, lost: PeerId, ring: &[Stage], devices: &Devices) -> Vec<PlacedStage> {
        let mut devices = self.usable(devices.clone());
        devices.profiles.remove(&lost);
        let computed = Computed {
            stages: ring,
            rows: NonZeroU32::new(self.high).unwrap_or(NonZeroU32::MIN),
        };
        let (model, options) = (&self.request.model, &self.request.options);
        let after = plan_again(model, &devices, options, computed);
        let stages = after.into_iter().flat_map(|after| after.stages);
        stages.map(|placed| placed_stage(&placed)).collect()
    }

    /// The devices that may get layers, with their remaining memory for this session.
    fn usable(&self, devices: Devices) -> Devices {
        let mut devices = self.without_excluded(devices);
        if let Some(named) = &self.named {
            let me = devices.requester;
            let may = |peer: &PeerId| *peer == me || named.contains_key(peer);
            devices.profiles.retain(|peer, _| may(peer));
        }
        devices
    }

    /// The devices with their remaining memory for this session.
    fn without_excluded(&self, mut devices: Devices) -> Devices {
        for (peer, room_bytes) in self.excluded.rooms() {
            if peer == devices.requester {
                self.leave_the_ends_and(room_bytes, &mut devices);
            } else if room_bytes == 0 {
                devices.profiles.remove(&peer);
            } else if let Some(profile) = devices.profiles.get_mut(&peer) {
                let budget = &mut profile.memory_budget_bytes.value;
                *budget = room_bytes.min(*budget);
            }
        }
        devices
    }

    /// A requester whose own stage failed still holds embedding and head, plus this much room.
    fn leave_the_ends_and(&self, room_bytes: u64, devices: &mut Devices) {
        let headroom = u128::from(self.request.options.headroom_percent);
        let ends = u128::from(self.request.model.ends_bytes());
        let ends = (ends * (100 + headroom)).div_ceil(100) + u128::from(room_bytes);
        if let Some(profile) = devices.profiles.get_mut(&devices.requester) {
            let budget = &mut profile.memory_budget_bytes.value;
            *budget = u64::try_from(ends).map_or(*budget, |ends| ends.min(*budget));
        }
    }
}

/// The devices that a choice names, if no other device may get layers.
fn named(choice: &Choice) -> Option<BTreeMap<PeerId, String>> {
    let Choice::Forced(forced) = choice else {
        return None;
    };
    let stages = forced.stages().iter();
    let named = stages.map(|stage| (stage.stage.peer, stage.name.clone()));
    (!forced.allows_others()).then(|| named.collect())
}

/// Converts a predicted stage to the form that a session opens.
fn placed_stage(placed: &PredictedStage) -> PlacedStage {
    PlacedStage {
        stage: placed.stage,
        memory_bytes: placed.memory_bytes.min(MAX_BYTES),
    }
}
