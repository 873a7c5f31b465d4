//! The streams of one connection.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use libp2p::Stream;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};

use super::stream::{Purpose, Upgrade};

/// Inbound streams of one connection. A correct node opens fewer.
const MOST_INBOUND: usize = 8;

/// Opens the requested streams and reports those that the peer opens.
#[derive(Debug)]
pub(super) struct Handler {
    to_open: VecDeque<Purpose>,
    opened: VecDeque<Opened>,
    inbound: usize,
    waker: Option<Waker>,
}

/// What became of a stream.
#[derive(Debug)]
pub(super) enum Opened {
    /// This node opened it.
    Outbound(Purpose, Stream),
    /// The peer opened it.
    Inbound(Purpose, Stream),
    /// The peer does not support this purpose, or the connection is closing.
    Failed(Purpose),
}

impl Handler {
    pub(super) fn opening(purposes: &[Purpose]) -> Self {
        Self {
            to_open: purposes.iter().copied().collect(),
            opened: VecDeque::new(),
            inbound: 0,
            waker: None,
        }
    }

    fn tell(&mut self, opened: Opened) {
        self.opened.push_back(opened);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Purpose;
    type ToBehaviour = Opened;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Purpose;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(Upgrade::any(), ())
    }

    fn connection_keep_alive(&self) -> bool {
        // The driver closes connections.
        true
    }

    fn on_behaviour_event(&mut self, purpose: Purpose) {
        self.to_open.push_back(purpose);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Upgrade, Purpose, Opened>> {
        if let Some(opened) = self.opened.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(opened));
        }
        if let Some(purpose) = self.to_open.pop_front() {
            let protocol = SubstreamProtocol::new(Upgrade::only(purpose), purpose);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), Purpose>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (purpose, stream),
                ..
            }) => {
                self.inbound += 1;
                if self.inbound <= MOST_INBOUND {
                    self.tell(Opened::Inbound(purpose, stream));
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (purpose, stream),
                ..
            }) => self.tell(Opened::Outbound(purpose, stream)),
            ConnectionEvent::DialUpgradeError(error) => self.tell(Opened::Failed(error.info)),
            _ => {}
        }
    }
}
