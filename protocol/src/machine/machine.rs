//! The machine's state, who takes what, and whom things are sent to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::addresses::Addresses;
use super::copies::Runs;
use super::exclusions::Exclusions;
use super::gossip::{Unstored, version};
use super::holders::Holders;
use super::links::Due;
use super::pairing::Pairing;
use super::peer::Peer;
use super::profiles::Announced;
use super::requested::Requested;
use super::weights::Awaiting;
use super::{Event, Input, MachineSetup, Output, software_for_peer};
use crate::circle::{Circle, CircleId, DeviceName, Identity, MAX_MEMBERS};
use crate::stage::Stages;
use crate::transfer::{StoreAnswer, Transfers};
use crate::wire::{Control, Frame, Hello, MINOR, Refuse, RefuseCode};
use crate::{PeerId, SessionId};

/// A node; see the module's page. Times are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct Machine {
    pub(super) me: PeerId,
    pub(super) identity: Identity,
    pub(super) name: DeviceName,
    /// What it greets with.
    hello: Hello,
    pub(super) circle: Circle,
    /// The circle's version and members, of which all consequences were drawn.
    pub(super) version: (CircleId, usize),
    pub(super) members: BTreeSet<PeerId>,
    /// The circle whose comings and goings the owner is told of.
    pub(super) told_of: CircleId,
    /// Which runs of members' nodes have greeted.
    pub(super) runs: BTreeMap<PeerId, Runs>,
    /// A change of the circle that is to be stored before anything follows from it.
    pub(super) unstored: Option<Unstored>,
    pub(super) pairing: Pairing,
    /// Members that are connected.
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) addresses: Addresses,
    pub(super) announced: Announced,
    /// Whether what placements depend on has changed.
    pub(super) view_changed: bool,
    pub(super) requests: BTreeMap<SessionId, Requested>,
    /// Devices that failed its sessions, for those to come.
    pub(super) failed: Exclusions,
    pub(super) stages: Stages,
    pub(super) transfers: Transfers,
    /// Who has the weights of models that are to be placed.
    pub(super) holders: Holders,
    /// Stages that wait for weights, and those that had to.
    pub(super) awaiting: BTreeMap<SessionId, Awaiting>,
    /// Whether a member's log of the circle is of a version that this program cannot read.
    pub(super) outdated: bool,
    /// Whether it is about to stop helping.
    pub(super) hands_over: bool,
    pub(super) outputs: VecDeque<Output>,
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
            Input::Clock { unix_s } => self.clock_told(unix_s),
            Input::Loaded {
                session,
                epoch,
                result,
            } => self.loaded(now, session, epoch, result),
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
    pub(super) fn settle(&mut self, now: Duration) {
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
    pub(super) fn drop_peer(
        &mut self,
        now: Duration,
        peer: PeerId,
        refuse: Option<Refuse>,
        why: String,
    ) {
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
    pub(super) fn ping(&mut self, now: Duration, to: PeerId) {
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
    pub(super) fn send(&mut self, to: PeerId, message: impl Into<Control>) {
        if self.peers.contains_key(&to) {
            self.push(to, &message.into());
        }
    }

    /// Sends a message to all who have greeted, but one.
    pub(super) fn send_to_all(&mut self, but: Option<PeerId>, message: &Control) {
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
    pub(super) fn send_frame(&mut self, to: PeerId, frame: &Frame) {
        if self.peers.contains_key(&to) {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            self.outputs.push_back(Output::SendData(to, bytes));
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
