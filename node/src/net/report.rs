//! What a node tells those who use it: events and errors.

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
    /// What the protocol tells, except for pairing.
    Machine(Event),
    /// What the protocol tells of pairing.
    Pairing {
        /// Which invitation or joining it is of.
        of: PairingId,
        /// What happened.
        event: pairing::Event,
    },
    /// A joining has ended before the protocol began it: why.
    NotReached {
        /// Which.
        of: PairingId,
        /// In words.
        why: String,
    },
    /// A member is not reached: the first time, with another reason, and then once in a while.
    Unreached {
        /// Who.
        peer: PeerId,
        /// Why, in words.
        why: String,
    },
    /// Somebody was refused: the first time, for another reason, and then once in a while.
    Refused {
        /// Who, if that is known.
        peer: Option<PeerId>,
        /// What for.
        request: AskedFor,
        /// Why, in words.
        why: String,
        /// How often it was since it was told last.
        others: u32,
    },
    /// Layers are computed here for another device from now on.
    Helping {
        /// For whom.
        peer: PeerId,
        /// For which conversation of it.
        session: SessionId,
        /// Which.
        layers: LayerRange,
    },
    /// No more are, for this conversation.
    Helped {
        /// For whom they were.
        peer: PeerId,
        /// For which conversation.
        session: SessionId,
        /// Which.
        layers: LayerRange,
        /// Rows that went through them: tokens, and guesses of some.
        rows: u64,
        /// For how long.
        time: Duration,
    },
    /// Something that the owner should know.
    Problem(String),
}

/// What a device can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedFor {
    /// To connect.
    Connection,
    /// To pair.
    Pairing,
    /// To have layers computed here.
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

/// A node cannot start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its key or circle.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No encryption.
    #[error("cannot set up encryption")]
    Noise(#[from] libp2p::noise::Error),
    /// No way to find devices.
    #[error("cannot look for devices on the network: use --no-mdns")]
    Discovery(#[source] io::Error),
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// Why.
        #[source]
        source: listen::ListenError,
    },
    /// The system has no threads or no event queue for it.
    #[error("cannot start the node's threads")]
    Threads(#[source] io::Error),
    /// It has ended.
    #[error("the node has stopped")]
    Stopped,
    /// The circle cannot be changed so.
    #[error(transparent)]
    Circle(#[from] EntryError),
    /// An invitation cannot be made or used.
    #[error(transparent)]
    Pairing(#[from] BeginError),
    /// Another command uses an invitation at this node.
    #[error(
        "another command of this device uses an invitation now: end that one, or try again in a minute"
    )]
    Joins,
    /// An address of this device cannot be part of an invitation.
    #[error(transparent)]
    Invitation(#[from] pairing::InvitationError),
}
