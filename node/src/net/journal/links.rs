//! Connections: established, failed and refused ones.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::swarm::{DialError, ListenError};
use potluck_protocol::PeerId;
use potluck_protocol::machine::Machine;
use tracing::Span;

use super::name;
use super::seldom::Seldom;
use crate::net::report::{AskedFor, NodeEvent};

/// Addresses named in a message about a failed dial.
const MOST_ADDRESSES: usize = 3;

/// The spans of connected members, and what was told of failures.
#[derive(Default)]
pub(in crate::net) struct Links {
    peers: BTreeMap<PeerId, Peer>,
    /// Why connections ended, until the machine reports that the peer is gone.
    ended: BTreeMap<PeerId, String>,
    /// Members that are not reached.
    unreached: Seldom<PeerId>,
    /// Refused peers and requests. All strangers count as one, because they can have any number of ids.
    refused: Seldom<(Option<PeerId>, AskedFor)>,
    /// Inbound connections that broke during the handshake.
    broken: Seldom<()>,
}

struct Peer {
    span: Span,
    since: Duration,
}

impl Links {
    fn peer(&mut self, now: Duration, machine: &Machine, peer: PeerId) -> &Peer {
        self.peers.entry(peer).or_insert_with(|| Peer {
            span: tracing::info_span!("peer", name = name(machine, peer), id = %peer),
            since: now,
        })
    }

    /// A connection counts from now on.
    pub(in crate::net) fn opened(
        &mut self,
        now: Duration,
        machine: &Machine,
        peer: PeerId,
        address: &Multiaddr,
        dialled: bool,
    ) {
        let span = &self.peer(now, machine, peer).span;
        tracing::debug!(parent: span, %address, dialled, "a connection is open");
        self.ended.remove(&peer);
        self.unreached.forget(&peer);
    }

    /// A connection has ended, or is about to: why.
    pub(in crate::net) fn ended(&mut self, peer: PeerId, why: String) {
        // The first cause leads to the others.
        self.ended.entry(peer).or_insert(why);
    }

    pub(super) fn connected(&mut self, now: Duration, of: &Machine, peer: PeerId, software: &str) {
        let peer = self.peer(now, of, peer);
        tracing::info!(parent: &peer.span, software, "connected");
    }

    /// A peer is gone; `why` if this node dropped it. Returns the best known reason.
    pub(super) fn gone(
        &mut self,
        now: Duration,
        machine: &Machine,
        peer: PeerId,
        why: Option<String>,
    ) -> Option<String> {
        let ended = self.ended.remove(&peer);
        let Peer { span, since } = match self.peers.remove(&peer) {
            Some(known) => known,
            None => Peer {
                span: tracing::info_span!("peer", name = name(machine, peer), id = %peer),
                since: now,
            },
        };
        let after_s = now.saturating_sub(since).as_secs();
        let why = why.or(ended);
        match &why {
            Some(why) => tracing::warn!(parent: &span, why, after_s, "gone"),
            None => tracing::info!(parent: &span, after_s, "gone: it closed the connection"),
        }
        why
    }

    /// A dial failed. `peer` is the one dialled, if the dial named one; `connected` whether it is connected
    /// otherwise.
    pub(in crate::net) fn dial_failed(
        &mut self,
        now: Duration,
        machine: &Machine,
        peer: Option<PeerId>,
        connected: bool,
        error: &DialError,
    ) -> Option<NodeEvent> {
        let why = why_not_reached(error);
        let Some(peer) = peer else {
            tracing::warn!(why, "an address that was given is not reached");
            return None;
        };
        let who = name(machine, peer);
        // Joining reports its own failures, and a failed second dial of a connected peer does no harm.
        if connected || !machine.is_member(peer) {
            tracing::debug!(name = who, why, "not reached");
            return None;
        }
        let Some(untold) = self.unreached.due(now, peer, &why) else {
            tracing::trace!(name = who, why, "still not reached");
            return None;
        };
        tracing::warn!(name = who, why, tried_before = untold, "not reached");
        Some(NodeEvent::Unreached { peer, why })
    }

    /// An inbound connection failed before it was established.
    pub(in crate::net) fn incoming_failed(
        &mut self,
        now: Duration,
        machine: &Machine,
        peer: Option<PeerId>,
        address: &Multiaddr,
        error: &ListenError,
    ) -> Option<NodeEvent> {
        let why = root(error);
        if let ListenError::Denied { .. } = error {
            // At trace, so that strangers cannot fill the log.
            tracing::trace!(%address, why, "a connection is refused");
            return self.refused(now, machine, peer, AskedFor::Connection, why);
        }
        if let Some(untold) = self.broken.due(now, (), "") {
            let others = untold;
            tracing::warn!(%address, why, others, "a connection broke before it was open");
        }
        None
    }

    /// A request was refused.
    pub(in crate::net) fn refused(
        &mut self,
        now: Duration,
        machine: &Machine,
        peer: Option<PeerId>,
        request: AskedFor,
        why: String,
    ) -> Option<NodeEvent> {
        let member = peer.filter(|peer| machine.is_member(*peer));
        let who = peer.map(|peer| name(machine, peer));
        let (who, asked) = (who.unwrap_or_default(), request.words());
        let Some(others) = self.refused.due(now, (member, request), &why) else {
            tracing::trace!(name = who, asked, why, "refused again");
            return None;
        };
        tracing::info!(name = who, asked, why, others, "refused");
        Some(NodeEvent::Refused {
            peer,
            request,
            why,
            others,
        })
    }
}

/// Why a dial failed, in one sentence.
fn why_not_reached(error: &DialError) -> String {
    match error {
        DialError::Transport(tried) => {
            let told = tried.iter().take(MOST_ADDRESSES);
            let told = told.map(|(address, error)| format!("{address}: {}", root(error)));
            let mut told: Vec<_> = told.collect();
            if let Some(more @ 1..) = tried.len().checked_sub(MOST_ADDRESSES) {
                told.push(format!("and {more} more addresses"));
            }
            told.join("; ")
        }
        DialError::WrongPeerId { address, .. } => format!("another device answers at {address}"),
        DialError::LocalPeerId { address } => format!("this device itself answers at {address}"),
        DialError::NoAddresses => "no address of it is known".to_owned(),
        DialError::Aborted => "the dial was given up".to_owned(),
        DialError::Denied { .. } | DialError::DialPeerConditionFalse(_) => root(error),
    }
}

/// The innermost cause of an error; the outer ones only say that something failed.
fn root(error: &dyn Error) -> String {
    let mut lowest = error;
    while let Some(below) = lowest.source() {
        lowest = below;
    }
    lowest.to_string()
}

#[cfg(test)]
mod tests {
    use std::io;

    use libp2p::TransportError;

    use super::*;

    #[test]
    fn why_a_device_is_not_reached_is_a_sentence_however_many_addresses_it_has() {
        let refused = || TransportError::Other(io::Error::from(io::ErrorKind::ConnectionRefused));
        let at = |port| -> Multiaddr {
            let text = format!("/ip4/10.0.0.1/tcp/{port}");
            text.parse().expect("an address")
        };
        let tried = |count| DialError::Transport((0..count).map(|n| (at(n), refused())).collect());
        assert_eq!(
            why_not_reached(&tried(1)),
            "/ip4/10.0.0.1/tcp/0: connection refused"
        );
        let many = why_not_reached(&tried(40));
        assert!(many.ends_with("; and 37 more addresses"), "{many}");
        assert!(many.len() < 300, "{many}");
        let three = why_not_reached(&tried(3));
        assert!(three.ends_with("tcp/2: connection refused"), "{three}");
    }
}
