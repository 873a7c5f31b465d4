//! A node as one state machine.
//!
//! [`Machine`] combines everything that a node does with other nodes: pairing, gossip of the
//! circle's log, greetings, links, profiles, its own sessions, and the stages that it computes. The
//! driver owns sockets, clocks and computation: it passes in [`Input`]s with the current time,
//! carries out the [`Output`]s in order, and calls [`Machine::handle_timeout`] at the time of
//! [`Machine::poll_timeout`]. Bytes in and out are those of the wire, which [`wire`](crate::wire)
//! specifies. Messages between a session and a stage of the same node stay inside the machine,
//! unencoded.
//!
//! # A connection
//! A node has one connection to each member, at most [`MAX_MEMBERS`](crate::circle::MAX_MEMBERS),
//! and none to anybody else.
//! - **Greeting.** Both sides send `Hello` at once. A peer that has not greeted within ten seconds
//!   is dropped.
//! - **Greeted.** When `Hello` arrives, a node sends its `CircleDigest`, its `ProfileUpdate` (if it
//!   has measured itself), and pings. From then on, messages may arrive in any order.
//! - **Gone.** The connection ended, or the peer was dropped. Sessions move its layers elsewhere.
//!   The stages that it opened here are freed unless it opens them again ([`stage`](crate::stage)).
//!
//! # The circle
//! [`circle`](crate::circle) specifies the log. Each change (a pairing, a member's entries, an act
//! of this node) is stored before it takes effect: after [`Output::CircleChanged`] the machine
//! outputs nothing that depends on the change until the driver asks for the next output. If the
//! change cannot be stored, an act of this node is undone ([`Machine::circle_not_stored`]), and a
//! member's entries hold in memory. Then all other peers get the new digest, and the owner receives
//! events about who joined, through whom, and who left. A device that is no longer a member gets
//! the entries that revoke it and a refusal, and its stages here are freed. A node that learns of
//! its own revocation does the same with all its peers. Entries or a digest of a version that this
//! program cannot read may revoke a device: the owner gets [`Event::Outdated`], and until the
//! program is updated and restarted, it places no stage on others and opens none for them.
//!
//! # Links
//! Each node measures its links with pings, and answers pings at once.
//!
//! | when | pings |
//! |---|---|
//! | after the greeting | three small ones, 100 ms apart; then one of 8 KiB and two of 64 KiB, or of what takes 50 ms if that is less |
//! | some seconds later | two large ones |
//! | from then on | a small one every 5 s, two large ones every 2 min |
//! | a large one is under way, or a session of this node uses the peer | no large one |
//! | a large one took 500 ms, so others use the link | the next has 8 KiB; small pings waited as well, so the difference to them does not raise the bandwidth |
//!
//! Of two large pings, the second is sent when the first was answered and has opened TCP's window.
//! Pings up to 14 KiB need no open window, and one is sent. One of the two nodes starts its large
//! pings 50 ms later than the other. The round trip is the minimum of the last eight. The bandwidth
//! is the maximum of the last four, each the bytes divided by the time beyond the round trip. A
//! peer is dropped if nothing arrives from it for 15 s while a ping is unanswered; time in which
//! this node did not run does not count.
//!
//! # Profiles
//! A new peer gets this device's profile at once. The others get an update when a value differs by
//! more than a tenth from the last update, or when power, heat, budget or the owner's limits change
//! at all; at most once a second. Revisions count up on a connection, and an older one is ignored.
//! Measurements keep the age that they had when they were sent.
//!
//! # A session
//! [`Machine::start`] searches for a placement at once, over all devices whose profile is known,
//! and again whenever a device, profile or link changes by more than a tenth, at most every 50 ms:
//! - **Waiting.** No placement is possible: [`SessionEvent::Waiting`] gives the reason, once for
//!   each. For the best placement the machine also waits up to [`PLAN_GRACE`] for the profiles and
//!   links of peers that were connected when the session started.
//! - **Placed.** The stages open, then [`SessionEvent::Ready`] gives the first row to submit; from
//!   there on see [`session`](crate::session). Devices outside the ring then stand by: each opens
//!   the stage that it would get first if a device of the ring failed, and frees it when it is no
//!   longer needed.
//! - **Broken.** A stage failed. Its device is excluded from this session. It is also excluded from
//!   later sessions, unless its connection ended, it lacks something for this session only, or the
//!   user names it:
//!
//!   | failure | excluded for | then used again |
//!   |---|---|---|
//!   | rows lost on the way to it, or any other refusal | 5 s | if it was heard since |
//!   | lost connection, heard on another within 2 s: it only changed its network | 1 s, then 2, 4 and 5 within a minute | |
//!   | lost connection, heard later | 5 s | if it was heard since |
//!   | silence, then heard on the same connection: it has lost nothing | 1 s, then 2, 4 and 5 within a minute | |
//!   | unexpected answers, values that are not numbers, no progress | 10 s, doubled each time within an hour, at most 10 min | |
//!   | no weights, or no means to compute with them | 1 min | or when it sends another profile |
//!   | memory in use by others | 10 s | or likewise; until then with the memory that it reported as free |
//!
//!   The best placement at that moment replaces it. If the requester's own stage failed, the
//!   requester keeps only embedding and head.
//! - **Named.** A placement from the user is never widened. If it fails, layers and standbys go
//!   only to the devices that it names and to this one, whose owner asked and which has embedding
//!   and head anyway. Other devices take part only if it ends with `,*`.
//! - **Given up.** A session that waited for a placement for [`Request::patience`], with no stage
//!   ready meanwhile, ends with the last reason: [`SessionEvent::GivenUp`].
//! - **Leaving.** A stage hands over. The layers move at once if they can; if not, the session goes
//!   on as it is. The device is excluded for a minute, or until it sends a profile by which it is
//!   willing.
//!
//! A working session is not moved to a better placement.
//!
//! A node asks who has a model's weights only in [`Machine::find_weights`], ideally before a plan
//! or a session: each peer that has greeted gets a `ModelQuery`, and so does this device's store.
//! The answers are kept for the last few models. The newest offer of a peer counts, whatever query
//! it answers; the offers of a disconnected peer are dropped.
//!
//! # A stage
//! [`stage`](crate::stage) specifies it. A peer's `OpenStage` is refused
//! - as unwilling, by the owner's limits or heat, or after [`Input::HandOver`] until this device
//!   measures itself as willing again;
//! - as unsupported, if a neighbour that it names is not another member, or the session is this
//!   node's own.
//!
//! A node's own sessions are never refused for these reasons.
//!
//! A device that becomes unwilling hands over the stages that it computes for others. After
//! [`Input::HandOver`] its profile says that it is leaving, so that no plan of another device uses
//! it; its own sessions may still use it.
//!
//! # Weights
//! [`transfer`](crate::transfer) specifies fetches. If a stage for another node lacks weights, this
//! node fetches them from all peers that have them and then loads the stage. If no peer has them,
//! or less memory is free than the requester planned for the stage, the stage is refused. The
//! requester receives progress at most every [`TELL_EVERY`]. As many pieces are requested from a
//! peer as its link delivers in [`AHEAD`] and two round trips, but only one while a session or
//! stage of this node uses the link.
//!
//! # Limits
//! A node has at most [`MAX_REQUESTS`] sessions of its own, and computes for others within
//! [`StageLimits`](crate::stage::StageLimits). It buffers one partial message and one partial frame
//! for each connection. A peer that sends more than 100 pings, digests and model queries in a
//! second is refused. A peer's message causes a few short messages at most, with two exceptions: a
//! digest is answered with all entries that its sender lacks, and an `OpenStage` may cause
//! questions to all peers for its weights.
//!
//! # Failures
//! | what | then |
//! |---|---|
//! | bytes that a reader refuses, an invalid digest or batch | `Refuse` with the reader's words; dropped |
//! | another major version | `Refuse` that names the device to update; dropped. A newer minor one is accepted |
//! | not a member | `Refuse`; dropped, no event |
//! | a second run of a peer's node greets again after another has taken its place | `Refuse` to each of the two, once; the one that is connected then stays |
//! | a `Refuse` of the peer | dropped; its words are in [`Event::PeerGone`] |
//! | silence, no greeting, too many questions | dropped |
//! | more waits to be sent to a peer than it takes | rows that go to it are not computed; other sessions go on |
//! | a message or frame to a peer that is not connected | lost; its session notices by silence or missing rows |
//!
//! A dropped peer may connect again. No other peer and no other session is affected.
//!
//! [`SessionEvent::Waiting`]: crate::session::SessionEvent::Waiting
//! [`SessionEvent::Ready`]: crate::session::SessionEvent::Ready
//! [`SessionEvent::GivenUp`]: crate::session::SessionEvent::GivenUp

mod addresses;
mod connections;
mod control;
mod copies;
mod exclusions;
mod gossip;
mod helping;
mod holders;
mod interface;
mod links;
mod pairing;
mod peer;
mod placing;
mod profiles;
mod sessions;
#[cfg(test)]
mod tests;
mod weights;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use interface::{
    Asked, Choice, Event, Input, LoadRefused, MAX_REQUESTS, MachineSetup, Output, PLAN_GRACE,
    Reach, Request, StartError,
};
pub use peer::PeerStatus;
pub use weights::{AHEAD, TELL_EVERY};

use addresses::Addresses;
use copies::Runs;
use exclusions::Exclusions;
use gossip::{Unstored, version};
use holders::Holders;
use pairing::Pairing;
use peer::Peer;
use placing::Placing;
use profiles::Announced;
use weights::Awaiting;
use words::{software_for_peer, words_for_peer};

use crate::circle::{Circle, CircleId, DeviceName, Identity};
use crate::stage::Stages;
use crate::transfer::{StoreAnswer, Transfers};
use crate::wire::{Control, Frame, Hello, MINOR};
use crate::{PeerId, SessionId, StageId};

/// A node; see the module page. Times are relative to an arbitrary fixed moment and never decrease.
#[derive(Debug)]
pub struct Machine {
    me: PeerId,
    identity: Identity,
    name: DeviceName,
    /// Its greeting.
    hello: Hello,
    circle: Circle,
    /// The circle's version and members whose effects have been applied.
    version: (CircleId, usize),
    members: BTreeSet<PeerId>,
    /// The circle whose joins and departures are reported to the owner.
    told_of: CircleId,
    /// The runs of members' nodes that have greeted.
    runs: BTreeMap<PeerId, Runs>,
    /// A change of the circle that must be stored before it takes effect.
    unstored: Option<Unstored>,
    pairing: Pairing,
    /// Connected members.
    peers: BTreeMap<PeerId, Peer>,
    addresses: Addresses,
    announced: Announced,
    /// Whether inputs of placements have changed.
    view_changed: bool,
    /// This node's own sessions.
    sessions: BTreeMap<SessionId, Placing>,
    /// Devices that failed its sessions, to be excluded from later ones.
    failed: Exclusions,
    stages: Stages,
    transfers: Transfers,
    /// Which peers have which weights of models to be placed.
    holders: Holders,
    /// Stages that wait for weights, or had to wait.
    awaiting: BTreeMap<StageId, Awaiting>,
    /// Whether a member's log of the circle has a version that this program cannot read.
    outdated: bool,
    /// Whether the node is about to stop helping.
    hands_over: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// Creates a node without connections.
    pub fn new(setup: MachineSetup) -> Self {
        let MachineSetup {
            identity,
            circle,
            name,
            software,
            stages,
            run,
        } = setup;
        let me = identity.peer_id();
        let hello = Hello {
            minor: MINOR,
            software: software_for_peer(&software),
            run,
        };
        Self {
            me,
            identity,
            name,
            transfers: Transfers::new(hello.clone()),
            holders: Holders::default(),
            awaiting: BTreeMap::new(),
            hello,
            version: version(&circle),
            members: circle.members().map(|member| member.peer).collect(),
            told_of: circle.id(),
            runs: BTreeMap::new(),
            unstored: None,
            circle,
            pairing: Pairing::default(),
            peers: BTreeMap::new(),
            addresses: Addresses::default(),
            announced: Announced::default(),
            view_changed: false,
            sessions: BTreeMap::new(),
            failed: Exclusions::default(),
            stages: Stages::new(me, stages),
            outdated: false,
            hands_over: false,
            outputs: VecDeque::new(),
        }
    }

    /// Handles an input.
    pub fn handle_input(&mut self, now: Duration, input: Input) {
        self.circle_stored();
        match input {
            Input::Connected(peer) => self.connected(now, peer),
            Input::Disconnected(peer) => self.gone(now, peer, None),
            Input::ControlBytes(from, bytes) => self.control_bytes(now, from, &bytes),
            Input::DataBytes(from, bytes) => self.data_bytes(now, from, &bytes),
            Input::TransferBytes(from, bytes) => self.transfer_bytes(now, from, &bytes),
            Input::PairingOpened { peer, ephemeral } => self.pairing_opened(now, peer, ephemeral),
            Input::PairingBytes(peer, bytes) => self.pairing_bytes(now, peer, &bytes),
            Input::PairingClosed(peer) => self.pairing_closed(peer),
            Input::Clock { unix_s } => self.clock_told(now, unix_s),
            Input::Loaded {
                stage,
                epoch,
                result,
            } => self.loaded(now, stage, epoch, result),
            Input::Congested { peer, congested } => {
                self.stages.set_congested(now, peer, congested);
            }
            Input::Computed { number, hidden } => self.stages.computed(now, number, hidden),
            Input::Overwritten { stage } => self.stages.overwritten(stage),
            Input::Stored(StoreAnswer::Has { to, offer }) if to == self.me => {
                self.holders.told(to, &offer);
            }
            Input::Stored(answer) => self.transfers.answered(now, answer),
            Input::Listening(addresses) => self.listens(addresses),
            Input::Profile(profile) => self.own_profile(now, profile),
            Input::OwnerBusy(busy) => self.stages.set_owner_busy(now, busy),
            Input::HandOver { reason, within } => self.hand_over(reason, within),
        }
        self.settle(now);
    }

    /// To be called at the time of [`poll_timeout`](Self::poll_timeout). Earlier calls have no
    /// effect.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.circle_stored();
        self.excuse_silent(now);
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for peer in peers {
            let mute = self
                .peers
                .get_mut(&peer)
                .is_some_and(|peer| peer.is_mute(now));
            if mute {
                self.drop_faulty(now, peer, "it did not greet in time");
            } else {
                self.ping(now, peer);
            }
        }
        self.pairing_timeout(now);
        self.stages.handle_timeout(now);
        self.transfers.handle_timeout(now);
        for placing in self.sessions.values_mut() {
            placing.session.handle_timeout(now);
        }
        self.settle(now);
    }

    /// The next output. Each call confirms that the previous output was carried out: after
    /// [`Output::CircleChanged`], that the circle is stored. If that failed, call
    /// [`circle_not_stored`](Self::circle_not_stored) first.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self
            .unstored
            .as_ref()
            .is_some_and(|change| change.handed_out)
        {
            self.circle_stored();
        }
        let output = self.outputs.pop_front();
        if let (Some(Output::CircleChanged), Some(change)) = (&output, &mut self.unstored) {
            change.handed_out = true;
        }
        output
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let peers = self.peers.values().map(Peer::poll_timeout).min();
        let pairing = self.pairing.poll_timeout();
        let stages = self.stages.poll_timeout();
        let dues = [
            peers,
            pairing,
            stages,
            self.transfers.poll_timeout(),
            self.sessions_due(),
            self.announcement_due(),
        ];
        dues.into_iter().flatten().min()
    }

    /// Completes all work that is due before the next input.
    fn settle(&mut self, now: Duration) {
        self.settle_pairing();
        if std::mem::take(&mut self.view_changed) {
            self.sessions.values_mut().for_each(Placing::view_changed);
        }
        // Terminates: stages and sessions of one node exchange few messages at a time, every failed
        // placement excludes a device, and the number of requested pieces is limited.
        while self.settle_stages(now) || self.settle_sessions(now) || self.settle_transfers(now) {}
        if self.announcement_due().is_some_and(|due| due <= now) {
            self.announce(now, None);
        }
    }

    /// Sends a message to a peer, if it is connected.
    fn send(&mut self, to: PeerId, message: impl Into<Control>) {
        if self.peers.contains_key(&to) {
            self.push(to, &message.into());
        }
    }

    /// Sends a message to all peers that have greeted, except one.
    fn send_to_all(&mut self, but: Option<PeerId>, message: &Control) {
        let greeted = self.peers.iter().filter(|(_, peer)| peer.greeted.is_some());
        let others: Vec<_> = greeted
            .map(|(&to, _)| to)
            .filter(|to| Some(*to) != but)
            .collect();
        for to in others {
            self.push(to, message);
        }
    }

    fn push(&mut self, to: PeerId, message: &Control) {
        let mut bytes = Vec::new();
        // Do not send messages that a peer would refuse to read, such as an out-of-range profile.
        if message.encode(&mut bytes).is_ok() {
            self.outputs.push_back(Output::SendControl(to, bytes));
        }
    }

    /// Sends a frame to a peer, if it is connected.
    fn send_frame(&mut self, to: PeerId, frame: &Frame) {
        if self.peers.contains_key(&to) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            self.outputs.push_back(Output::SendData(to, bytes));
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// Converts a time to the unit of the wire format.
fn microseconds(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Whether the second value differs from the first by more than a tenth.
fn differ(before: u64, after: u64) -> bool {
    before.abs_diff(after) > before / 10
}
