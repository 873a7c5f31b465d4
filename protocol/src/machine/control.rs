//! Handles bytes received on the streams of a connection.

use std::time::Duration;

use super::Machine;
use super::links::{Pings, way_number};
use super::peer::Greeted;
use super::{Event, microseconds};
use crate::wire::{
    Arrived, Control, ControlError, FrameError, Hello, Ping, Pong, Received, Refuse, RefuseCode,
};
use crate::{PeerId, SessionId};

impl Machine {
    /// Notes that something arrived from a peer.
    pub(super) fn heard(&mut self, now: Duration, from: PeerId) {
        let mut sessions = self.sessions.values();
        if self.failed.is_silent(from) || sessions.any(|placing| placing.excluded.is_silent(from)) {
            self.excuse_silent(now);
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        peer.heard(now);
        self.failed.heard(now, from);
        for placing in self.sessions.values_mut() {
            if let Some(silence) = placing.heard(now, from) {
                peer.patience.note(now, silence);
            }
        }
        let limit = peer.patience.limit(now);
        for placing in self.sessions.values_mut() {
            placing.session.allow_silence(from, limit);
        }
    }

    /// Excuses peers that were given up as silent for time in which this node did not run.
    pub(super) fn excuse_silent(&mut self, now: Duration) {
        let late = self.poll_timeout().and_then(|due| now.checked_sub(due));
        if let Some(late) = late {
            self.failed.did_not_run(now, late);
            for placing in self.sessions.values_mut() {
                placing.excluded.did_not_run(now, late);
            }
        }
    }

    pub(super) fn control_bytes(&mut self, now: Duration, from: PeerId, mut bytes: &[u8]) {
        self.heard(now, from);
        // The peer is absent after it was dropped because of an earlier message.
        while let Some(peer) = self.peers.get_mut(&from) {
            match peer.control.read(&mut bytes) {
                Ok(None) => return,
                Ok(Some(Received::Unknown)) => {}
                Ok(Some(Received::Message(message))) => self.receive(now, from, message),
                Err(why) => self.drop_for(now, from, &why),
            }
        }
    }

    pub(super) fn data_bytes(&mut self, now: Duration, from: PeerId, mut bytes: &[u8]) {
        self.heard(now, from);
        while let Some(peer) = self.peers.get_mut(&from) {
            let (sessions, stages) = (&self.sessions, &self.stages);
            let arrived = peer.data.read(&mut bytes, |header| {
                let placing = sessions.get(&header.session);
                let of_session = placing.and_then(|r| r.session.agreed(from, header));
                of_session.or_else(|| stages.agreed(from, header))
            });
            match arrived {
                Ok(None) => {
                    if peer.data.is_amid_frame() {
                        self.part_arrived(now, from);
                    }
                    return;
                }
                Ok(Some(Arrived::Skipped(_))) => {}
                Ok(Some(Arrived::Frame(frame))) => {
                    if let Some(frame) = self.session_frame(now, from, frame) {
                        self.stage_frame(now, from, frame);
                    }
                }
                Err(FrameError::OtherMajor(other)) => {
                    self.drop_for(now, from, &ControlError::OtherMajor(other));
                }
                Err(why) => self.drop_faulty(now, from, &why.to_string()),
            }
        }
    }

    /// Part of a frame arrived.
    fn part_arrived(&mut self, now: Duration, from: PeerId) {
        for placing in self.sessions.values_mut() {
            placing.session.handle_part(now, from);
        }
        self.stages.handle_part(now, from);
    }

    pub(super) fn drop_for(&mut self, now: Duration, peer: PeerId, why: &ControlError) {
        self.drop_peer(now, peer, Some(why.refusal()), why.to_string());
    }

    /// Drops a peer for sending data that no correct node sends.
    pub(super) fn drop_faulty(&mut self, now: Duration, peer: PeerId, why: &str) {
        let refuse = Refuse {
            code: RefuseCode::Malformed,
            words: why.to_owned(),
        };
        self.drop_peer(now, peer, Some(refuse), why.to_owned());
    }

    fn receive(&mut self, now: Duration, from: PeerId, message: Control) {
        if let Some(session) = session_of(&message) {
            return self.session_message(now, from, session, message);
        }
        match message {
            Control::Hello(hello) => self.greeted(now, from, hello),
            Control::Refuse(refuse) => self.refused(now, from, &refuse),
            Control::Ping(ping) => self.pinged(now, from, &ping),
            Control::Pong(pong) => {
                let peer = self.peers.get_mut(&from);
                if let Some(greeted) = peer.and_then(|peer| peer.greeted.as_mut()) {
                    greeted.pings.answered(now, &pong);
                }
                self.link_measured(from);
            }
            Control::PeerAddresses(addresses) => self.addresses_told(from, addresses),
            Control::ProfileUpdate(update) => self.profile_told(now, from, update),
            Control::CircleDigest(digest) => {
                if self.may_ask(now, from) {
                    self.digest_told(now, from, &digest);
                }
            }
            Control::CircleEntries(entries) => self.entries_told(now, from, &entries),
            Control::OpenStage(open) => self.open_stage(now, from, open),
            Control::CloseStage(close) => self.stages.close(from, close),
            Control::SessionQuery(query) => self.stages.query(now, from, query.session),
            Control::ModelQuery(query) => {
                if self.may_ask(now, from) {
                    self.transfers.asked(from, query);
                }
            }
            Control::ModelOffer(offer) => {
                self.holders.told(from, &offer);
                self.transfers.offered(from, offer);
            }
            // Weights use a separate stream; session messages were handled above.
            Control::ShardRequest(_)
            | Control::ShardHeader(_)
            | Control::ShardRefused(_)
            | Control::KeepAlive(_)
            | Control::StageOpened(_)
            | Control::StageRefused(_)
            | Control::StageFetching(_)
            | Control::HandOver(_)
            | Control::SessionState(_) => {}
        }
    }

    fn greeted(&mut self, now: Duration, from: PeerId, hello: Hello) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.greeted.is_some() || !self.run_greeted(now, from, hello.run) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let software = hello.software;
        peer.greeted = Some(Greeted {
            at: now,
            minor: hello.minor,
            software: software.clone(),
            pings: Pings::new(now, way_number(self.me, from)),
        });
        self.view_changed = true;
        self.event(Event::PeerConnected {
            peer: from,
            software,
        });
        let digest = self.own_digest();
        self.send(from, digest);
        self.tell_addresses(from);
        self.announce(now, Some(from));
        self.transfers.greeted(from);
        self.ping(now, from);
    }

    fn refused(&mut self, now: Duration, from: PeerId, refuse: &Refuse) {
        if refuse.code == RefuseCode::Copied {
            self.event(Event::ThisIsCopied { told_by: from });
        }
        let why = format!("it refused: {}", refuse.words);
        self.drop_peer(now, from, None, why);
    }

    fn pinged(&mut self, now: Duration, from: PeerId, ping: &Ping) {
        if self.may_ask(now, from) {
            let now_us = microseconds(now);
            let pong = Pong {
                id: ping.id,
                ping_sent_at_us: ping.sent_at_us,
                received_at_us: now_us,
                sent_at_us: now_us,
            };
            self.send(from, pong);
        }
    }

    /// Whether to answer a peer's question; if not, drops the peer.
    pub(super) fn may_ask(&mut self, now: Duration, from: PeerId) -> bool {
        let peer = self.peers.get_mut(&from);
        let may = peer.is_some_and(|peer| peer.may_ask(now));
        if !may {
            let words = "more questions in a second than any node needs to ask";
            let refuse = Refuse {
                code: RefuseCode::TooMany,
                words: words.to_owned(),
            };
            self.drop_peer(now, from, Some(refuse), words.to_owned());
        }
        may
    }
}

/// The session of a message, if the message is for the session's requester.
pub(super) fn session_of(message: &Control) -> Option<SessionId> {
    match message {
        Control::KeepAlive(alive) => Some(alive.session),
        Control::StageOpened(opened) => Some(opened.session),
        Control::StageRefused(refused) => Some(refused.session),
        Control::StageFetching(fetching) => Some(fetching.session),
        Control::HandOver(leaving) => Some(leaving.session),
        Control::SessionState(state) => Some(state.session),
        _ => None,
    }
}
