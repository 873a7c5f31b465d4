//! What a stream between two nodes is for, and how one is asked for.

use std::convert::Infallible;
use std::future::{Ready, ready};

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::{Stream, StreamProtocol};

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// Control messages of paired nodes, one way.
    Control,
    /// Frames of hidden states of paired nodes, one way.
    Data,
    /// Weights of paired nodes, and requests for them, one way.
    Transfer,
    /// Pairing, both ways.
    Pairing,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Control, Self::Data, Self::Transfer, Self::Pairing];

    /// As a log has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
            Self::Transfer => "transfer",
            Self::Pairing => "pairing",
        }
    }

    fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Control => "/potluck/control/1",
            Self::Data => "/potluck/data/1",
            Self::Transfer => "/potluck/weights/1",
            Self::Pairing => "/potluck/pairing/2",
        })
    }
}

/// Negotiates one of these purposes.
#[derive(Debug)]
pub(super) struct Upgrade(Vec<Purpose>);

impl Upgrade {
    pub(super) fn any() -> Self {
        Self(Purpose::ALL.to_vec())
    }

    pub(super) fn only(purpose: Purpose) -> Self {
        Self(vec![purpose])
    }
}

/// A purpose, by the name that libp2p negotiates.
#[derive(Debug, Clone)]
pub(super) struct Named(Purpose, StreamProtocol);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for Upgrade {
    type Info = Named;
    type InfoIter = std::vec::IntoIter<Named>;

    fn protocol_info(&self) -> Self::InfoIter {
        let named = |&purpose: &Purpose| Named(purpose, purpose.protocol());
        self.0.iter().map(named).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Purpose, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.0, stream)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Purpose, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.0, stream)))
    }
}
