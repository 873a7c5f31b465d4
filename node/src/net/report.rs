//! Events and errors of a node.

use std::io;
use std::time::Duration;

use libp2p::Multiaddr;
use potluck_protocol::circle::EntryError;
use potluck_protocol::machine::Event;
use potluck_protocol::pairing::{self, BeginError};
use potluck_protocol::{LayerRange, PeerId, SessionId};

use super::listen;
use super::underway::PairingId;
use crate::device::DeviceError;

/// What happens at a node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEvent {
    /// An event of the protocol, except for pairing.
    Machine(Event),
    /// An event of pairing.
    Pairing {
        /// The invitation or joining.
        of: PairingId,
        /// What happened.
        event: pairing::Event,
    },
    /// A joining failed before it reached the inviter.
    NotReached {
        /// The joining.
        of: PairingId,
        /// Why, in words.
        why: String,
    },
    /// A member cannot be reached. Told the first time, for each new reason, and then now and then.
    Unreached {
        /// Who.
        peer: PeerId,
        /// Why, in words.
        why: String,
    },
    /// A device was refused. Told the first time, for each new reason, and then now and then.
    Refused {
        /// Its identity, if it is known.
        peer: Option<PeerId>,
        /// What it asked for.
        request: AskedFor,
        /// Why, in words.
        why: String,
        /// How many more refusals there were since the last such event.
        others: u32,
    },
    /// This device begins to compute layers for another device.
    Helping {
        /// The requester.
        peer: PeerId,
        /// Its session.
        session: SessionId,
        /// The layers.
        layers: LayerRange,
    },
    /// It computes no more for that session.
    Helped {
        /// The requester.
        peer: PeerId,
        /// Its session.
        session: SessionId,
        /// The layers.
        layers: LayerRange,
        /// Rows computed, drafts included.
        rows: u64,
        /// How long the stage was here.
        time: Duration,
    },
    /// A problem that the owner should know of.
    Problem(String),
}

/// Requests of a device that can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedFor {
    /// To connect.
    Connection,
    /// To pair.
    Pairing,
    /// To place layers on this device.
    Stage,
}

impl AskedFor {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Connection => "to connect",
            Self::Pairing => "to pair",
            Self::Stage => "to have layers computed here",
        }
    }
}

/// A node cannot start, has stopped, or refuses a request.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The device's key or circle.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Encryption cannot be set up.
    #[error("cannot set up encryption")]
    Noise(#[from] libp2p::noise::Error),
    /// mDNS cannot be used.
    #[error("cannot look for devices on the network: use --no-mdns")]
    Discovery(#[source] io::Error),
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// Why.
        #[source]
        source: listen::ListenError,
    },
    /// The system provides no more threads, or no event queue.
    #[error("cannot start the node's threads")]
    Threads(#[source] io::Error),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
    /// The circle refuses this change.
    #[error(transparent)]
    Circle(#[from] EntryError),
    /// An invitation cannot be created or used.
    #[error(transparent)]
    Pairing(#[from] BeginError),
    /// Another command is using an invitation at this node.
    #[error(
        "another command on this device is using an invitation: end it, or try again in a minute"
    )]
    Joins,
    /// An address of this device does not fit into an invitation.
    #[error(transparent)]
    Invitation(#[from] pairing::InvitationError),
}
