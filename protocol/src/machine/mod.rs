//! The one machine that a node is.
//!
//! [`Machine`] joins all that a node does with others: pairing, the circle's gossip, greetings, links,
//! profiles, the sessions that it asks for and the stages that it computes. Sockets, clocks and
//! computing are its driver's, who hands in [`Input`]s with the time, does the [`Output`]s in their
//! order, and calls [`Machine::handle_timeout`] when [`Machine::poll_timeout`] says. Bytes that go in
//! and come out are those of the wire; what [`wire`](crate::wire) says of them is not repeated here.
//! What a node has for itself, as its own stage of its own session, is handed on inside, unencoded.
//!
//! # A connection
//! Only to members, one to each, at most [`MAX_MEMBERS`].
//! - **Greeting.** Each side says `Hello` at once. Whoever has not greeted after ten seconds is let go.
//! - **Greeted.** On the other's `Hello` a node sends its `CircleDigest`, its `ProfileUpdate` if it
//!   has measured itself, and pings. All messages are taken in any order from then on.
//! - **Gone.** The connection ended, or the peer was dropped: sessions place what it had elsewhere;
//!   what it asked for here is freed unless it opens it again, as [`stage`](crate::stage) says.
//!
//! # The circle
//! As [`circle`](crate::circle) says. Whatever changes the log, a pairing, a member's entries, this
//! node's own act, is stored first ([`Output::CircleChanged`]): nothing that follows from it is said
//! before the driver asks for the next output. What this node did itself and cannot be stored is undone
//! ([`Machine::circle_not_stored`]); what a member wrote holds in memory. Then the digest goes to all
//! others, and the owner hears who came, and by whom, and who left. Who is no member any more gets the
//! entries that say so, a refusal and no more; its stages here are freed. A node that hears of its own
//! revocation does the same with all its peers. Entries or a digest of a version that this program
//! cannot read may revoke somebody: the person is told ([`Event::Outdated`]), and until the program is
//! begun anew, updated, no stage is placed on others, and none of theirs is opened here.
//!
//! # Links
//! Three small pings, a tenth of a second apart, then one with 8 KiB and two with 64 KiB, or with what
//! takes 50 ms where that is less, and another two some seconds later; from then on a small one every
//! five seconds and two large ones every other minute, but no large one while another is under way, or
//! a session of this node goes over the peer. Of two large ones the second is sent when the first was
//! answered and has opened TCP's window; of 14 KiB and less, which need no open window, one is sent.
//! Of two nodes one begins with large ones 50 ms later than the other. The round trip is the least of
//! the last eight; the bandwidth the best of the last four, of the bytes over what they took longer than
//! the round trip. Where a large one took half a second, others need the way: the next has 8 KiB again,
//! and the difference to small pings, which waited, too, does not show that the way is fast. A peer of
//! which nothing at all is heard for 15 seconds while a ping waits is dropped; time in which this node
//! did not run does not count. Pings are answered at once.
//!
//! # Profiles
//! Others hear of this device when something differs by more than a tenth from what they heard last,
//! or the power, heat, budget or owner's limits do at all, at most once a second; a new peer at once.
//! Revisions count up on a connection; an older one is dropped. Measurements of others count as old
//! as they were when they were sent.
//!
//! # A session
//! [`Machine::start`] looks for a placement at once over all devices whose profile is known, and then
//! whenever a device, profile or link changes by more than a tenth, at most every 50 ms:
//! - **Waiting.** There is none: [`SessionEvent::Waiting`] says why, once for each reason. For the best
//!   placement the machine also waits [`PLAN_GRACE`] for what peers have yet to tell that were
//!   connected when the session began.
//! - **Placed.** The stages open, then [`SessionEvent::Ready`] says which rows are to be submitted.
//!   What the [session](crate::session) then notices is its own page.
//!   Devices that are not in the ring then stand by: each opens what it would be given first if a
//!   device of the ring were lost, and is freed when it is not needed any more.
//! - **Broken.** A stage failed. Its device is left out of this session, and, but for a connection that
//!   ended and what it lacks for this one, also of those that begin later, unless a person names it:
//!
//!   | it failed by | time | and is used again |
//!   |---|---|---|
//!   | rows lost on the way to it, any refusal but these | 5 s | if it was heard since |
//!   | its connection, and then is heard on another within 2 s: it has only changed its way | 1 s, then 2, 4 and 5 within a minute | |
//!   | its connection, and then is heard later | 5 s | if it was heard since |
//!   | silence, and then is heard on the same connection: it has lost nothing | 1 s, then 2, 4 and 5 within a minute | |
//!   | answers that were not due, values that are no numbers, work that comes no further | 10 s, doubled each time within an hour, at most 10 min | |
//!   | no weights, or nothing to compute them with | 1 min | or when it tells of another profile |
//!   | memory that others have | 10 s | or likewise; until then with what it says is free |
//!
//!   Another placement is looked for at once, the best one that there is then. If the requester's own
//!   stage failed, it keeps embedding and head alone.
//! - **Named.** What a person named is never widened. Where a written placement fails, layers go only to
//!   devices that it names and to this one, whose owner asked and who has embedding and head anyway; so
//!   do those of standbys. Others take part only if it ends with `,*`.
//! - **Given up.** A session that waited for a placement as long as [`Request::patience`] says, with no
//!   stage that was ready meanwhile, ends with the last reason: [`SessionEvent::GivenUp`].
//! - **Leaving.** A stage hands over: the layers move at once if they can, and the session goes on as
//!   it is if not. Its device is left out for a minute or until it tells of another profile
//!   by which it is willing.
//!
//! A session that works is not moved for a better placement.
//!
//! Who has the weights is asked for only when [`Machine::find_weights`] is called, best before a plan
//! or a session, and known from then on, of the last few models: each peer that has greeted is sent a
//! `ModelQuery`, and this device's store is asked, too. Offers that come count as the newest,
//! whoever asked for them; a peer that is gone has nothing.
//!
//! # A stage
//! As [`stage`](crate::stage) says. A peer's `OpenStage` is refused as unwilling by the owner's limits
//! or heat, or after [`Input::HandOver`] until the device measures itself as willing again; as
//! unsupported if a neighbour that it names is not another member; and if its session is one of this
//! node's own. A node's own sessions are never refused so.
//!
//! A device that becomes unwilling hands the stages over that it has for others. After
//! [`Input::HandOver`] the profile that it tells others says that it is leaving, so that no plan of theirs
//! names it; its own sessions may still use it.
//!
//! # Weights
//! As [`transfer`](crate::transfer) says. If a stage of another's session lacks weights, they are
//! fetched from all who have them, and the stage is loaded then; if they are not to be had, or what the
//! requester says that the stage takes is not free, it is refused. Whoever asked for the stage hears
//! how far that is, at most every [`TELL_EVERY`], and its session tells it. Of a peer so many pieces are
//! under way as its link takes in [`AHEAD`] and two round trips; one, while a session or stage of this
//! node goes over it.
//!
//! # Limits
//! [`MAX_REQUESTS`] sessions that it asks for; what [`StageLimits`](crate::stage::StageLimits) says that others may have here;
//! one message and one frame that are under way on each connection; 100 pings, digests and questions
//! for models a second of a peer, after which it is refused as too many. What a peer says makes this
//! node say a few short messages at most; but a digest is answered with all that its sender lacks of
//! the log, and who wants a stage here may have all peers asked for its weights.
//!
//! # Failures
//! | what | then |
//! |---|---|
//! | bytes that a reader refuses, a digest or batch that is none | `Refuse` with the reader's words, dropped |
//! | another major version | `Refuse` with who should update, dropped; a newer minor one is passed over |
//! | no member | `Refuse`, dropped, no event |
//! | a run of a peer's node greets that had given way to another | `Refuse` to each of the two, once; the one that is connected then stays |
//! | a `Refuse` of the peer | dropped, its words in [`Event::PeerGone`] |
//! | silence, no greeting, too many questions | dropped |
//! | more waits to be sent to a peer than it takes | no rows are computed that go to it; other sessions go on |
//! | a message or frame for who is not connected | lost: its session notices by silence or missing rows |
//!
//! Who is dropped may connect again. No other peer and no other session feels any of it.

mod addresses;
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
mod profiles;
mod requested;
mod requests;
#[cfg(test)]
mod tests;
mod weights;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use interface::{
    Asked, Choice, Event, Input, LoadRefused, MAX_REQUESTS, MachineSetup, Output, PLAN_GRACE,
    Reach, Request, SessionEvent, StartError,
};
pub use peer::PeerStatus;
pub use weights::{AHEAD, TELL_EVERY};

use addresses::Addresses;
use copies::Runs;
use exclusions::Exclusions;
use gossip::{Unstored, version};
use holders::Holders;
use links::Due;
use pairing::Pairing;
use peer::Peer;
use profiles::Announced;
use requested::Requested;
use weights::Awaiting;
use words::{software_for_peer, words_for_peer};

use crate::circle::{Circle, CircleId, DeviceName, Identity, MAX_MEMBERS};
use crate::stage::Stages;
use crate::transfer::{StoreAnswer, Transfers};
use crate::wire::{Control, Frame, Hello, MINOR, Refuse, RefuseCode};
use crate::{PeerId, SessionId, StageId};

/// A node; see the module's page. Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Machine {
    me: PeerId,
    identity: Identity,
    name: DeviceName,
    /// What it greets with.
    hello: Hello,
    circle: Circle,
    /// The circle's version and members, of which all consequences were drawn.
    version: (CircleId, usize),
    members: BTreeSet<PeerId>,
    /// The circle whose comings and goings the owner is told of.
    told_of: CircleId,
    /// Which runs of members' nodes have greeted.
    runs: BTreeMap<PeerId, Runs>,
    /// A change of the circle that is to be stored before anything follows from it.
    unstored: Option<Unstored>,
    pairing: Pairing,
    /// Members that are connected.
    peers: BTreeMap<PeerId, Peer>,
    addresses: Addresses,
    announced: Announced,
    /// Whether what placements depend on has changed.
    view_changed: bool,
    requests: BTreeMap<SessionId, Requested>,
    /// Devices that failed its sessions, for those to come.
    failed: Exclusions,
    stages: Stages,
    transfers: Transfers,
    /// Who has the weights of models that are to be placed.
    holders: Holders,
    /// Stages that wait for weights, and those that had to.
    awaiting: BTreeMap<StageId, Awaiting>,
    /// Whether a member's log of the circle is of a version that this program cannot read.
    outdated: bool,
    /// Whether it is about to stop helping.
    hands_over: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A node without connections.
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
            features: BTreeSet::new(),
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
            requests: BTreeMap::new(),
            failed: Exclusions::default(),
            stages: Stages::new(me, stages),
            outdated: false,
            hands_over: false,
            outputs: VecDeque::new(),
        }
    }

    /// Something happened.
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

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come. Earlier, nothing happens.
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
        for requested in self.requests.values_mut() {
            requested.session.handle_timeout(now);
        }
        self.settle(now);
    }

    /// What is to be done next. Whoever asks has done what was said before, so that after
    /// [`Output::CircleChanged`] the circle is stored; or calls
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
            self.requests_due(),
            self.announcement_due(),
        ];
        dues.into_iter().flatten().min()
    }

    /// Does all that is to be done before the next input.
    fn settle(&mut self, now: Duration) {
        self.settle_pairing();
        if std::mem::take(&mut self.view_changed) {
            self.requests.values_mut().for_each(Requested::view_changed);
        }
        // Ends: stages and sessions of one node say little to each other in a moment, every placement
        // that fails excludes a device, and so many pieces are asked for and no more.
        while self.settle_stages(now) || self.settle_sessions(now) || self.settle_transfers(now) {}
        if self.announcement_due().is_some_and(|due| due <= now) {
            self.announce(now, None);
        }
    }

    fn connected(&mut self, now: Duration, peer: PeerId) {
        self.gone(now, peer, None);
        let refuse = if !self.is_member(peer) {
            let words = "you are no member of this device's circle: pair with it";
            Some((RefuseCode::NotAMember, words))
        } else if self.peers.len() >= MAX_MEMBERS {
            Some((RefuseCode::TooMany, "this device has too many connections"))
        } else {
            None
        };
        if let Some((code, words)) = refuse {
            let words = words.to_owned();
            self.push(peer, &Refuse { code, words }.into());
            self.outputs.push_back(Output::Disconnect(peer));
            return;
        }
        self.peers.insert(peer, Peer::new(now));
        self.stages.connected(now, peer);
        self.transfers.connected(peer);
        self.send(peer, self.hello.clone());
    }

    /// Lets a peer go: what it is told, and what the person is.
    fn drop_peer(&mut self, now: Duration, peer: PeerId, refuse: Option<Refuse>, why: String) {
        if let Some(refuse) = refuse {
            self.send(peer, refuse);
        }
        if self.peers.contains_key(&peer) {
            self.outputs.push_back(Output::Disconnect(peer));
            self.gone(now, peer, Some(why));
        }
    }

    /// A peer is not connected any more.
    fn gone(&mut self, now: Duration, peer: PeerId, why: Option<String>) {
        if self.peers.remove(&peer).is_some() {
            self.addresses.forget(peer);
            self.link_lost();
            // Without a reason of ours it is the other side that has ended it.
            self.stages.orphan(now, peer, why.is_none());
            self.transfers.gone(peer);
            self.holders.gone(peer);
            self.failed.gone(peer);
            for requested in self.requests.values_mut() {
                requested.gone(peer);
            }
            self.event(Event::PeerGone { peer, why });
        }
    }

    /// Sends the pings that are due to a peer, or lets it go if it is silent.
    fn ping(&mut self, now: Duration, to: PeerId) {
        let runs = |requested: &Requested| requested.goes_over(to);
        let may_pad = !self.requests.values().any(runs);
        loop {
            let peer = self.peers.get_mut(&to);
            let Some(greeted) = peer.and_then(|peer| peer.greeted.as_mut()) else {
                return;
            };
            if greeted.pings.poll_timeout() > now {
                return;
            }
            match greeted.pings.handle_timeout(now, may_pad) {
                Due::Send(ping) => self.send(to, ping),
                Due::Silent => {
                    let why = "nothing was heard of it for 15 seconds".to_owned();
                    return self.drop_peer(now, to, None, why);
                }
                Due::Nothing => {}
            }
        }
    }

    /// Sends a message to a peer, if it is connected.
    fn send(&mut self, to: PeerId, message: impl Into<Control>) {
        if self.peers.contains_key(&to) {
            self.push(to, &message.into());
        }
    }

    /// Sends a message to all who have greeted, but one.
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
        // What a peer would refuse to read, as a profile out of all bounds, is not sent.
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

/// A time as the wire has it.
fn microseconds(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Whether the second is more than a tenth off the first.
fn differ(before: u64, after: u64) -> bool {
    before.abs_diff(after) > before / 10
}
