//! The machine's inputs and outputs.

use std::time::Duration;

use crate::circle::{Circle, DeviceName, Identity, Member};
use crate::pairing as pair;
use crate::pairing::Address;
use crate::placement::{Forced, ModelShape, PlacementOptions};
use crate::profile::Profile;
use crate::session::SessionEvent;
use crate::stage::{Load, StageLimits, Step};
use crate::transfer::{Progress, StoreAnswer, StoreOrder};
use crate::wire::{ContentHash, HandOverReason, HiddenShape, StageRefusedCode};
use crate::{PeerId, PlanEpoch, SessionId, StageId};

/// The initial state of a node.
#[derive(Debug)]
pub struct MachineSetup {
    /// The node's key.
    pub identity: Identity,
    /// The circle, as stored.
    pub circle: Circle,
    /// The name that this device offers when it pairs.
    pub name: DeviceName,
    /// Program name and version, for display; truncated to fit into a greeting.
    pub software: String,
    /// Limits on stages for other devices.
    pub stages: StageLimits,
    /// A random number for this run of the node, so that others notice if two nodes run with the
    /// same key; 0 for none.
    pub run: u64,
}

/// Inputs of a machine.
#[derive(Debug)]
pub enum Input {
    /// A connection to a member is up. It is encrypted and has authenticated the peer. A peer has
    /// at most one: a second one counts as `Disconnected` and `Connected`. Connections that only
    /// pair are not reported.
    Connected(PeerId),
    /// The current connection has ended.
    Disconnected(PeerId),
    /// Bytes of the control stream of the current connection.
    ControlBytes(PeerId, Vec<u8>),
    /// Bytes of its data stream. Hold them back while
    /// [`Machine::wants_data`](super::Machine::wants_data) returns false.
    DataBytes(PeerId, Vec<u8>),
    /// Bytes of its weights stream.
    TransferBytes(PeerId, Vec<u8>),
    /// A peer, which need not be a member, opened a pairing stream. There is at most one per peer.
    PairingOpened {
        /// The peer, as authenticated by the link.
        peer: PeerId,
        /// 32 random bytes that are used for nothing else.
        ephemeral: [u8; 32],
    },
    /// Bytes of the pairing stream with a peer.
    PairingBytes(PeerId, Vec<u8>),
    /// The other side closed the pairing stream.
    PairingClosed(PeerId),
    /// The system's clock, which continues while a device sleeps, when the time of inputs may stand
    /// still. Pass it regularly while [`Machine::is_inviting`](super::Machine::is_inviting), and
    /// before [`PairingOpened`](Self::PairingOpened) and [`Machine::join`](super::Machine::join).
    Clock {
        /// Seconds since 1970 (UTC).
        unix_s: u64,
    },
    /// An [`Output::Load`] is done: weights are mapped and memory is reserved, or it failed.
    Loaded {
        /// The stage of the load.
        stage: StageId,
        /// The epoch of the load.
        epoch: PlanEpoch,
        /// The result.
        result: Result<(), LoadRefused>,
    },
    /// An [`Output::Compute`] is done.
    Computed {
        /// The number of the step.
        number: u64,
        /// For each part, the hidden states after the layers, `[rows, d_model]`.
        hidden: Vec<Vec<u8>>,
    },
    /// A stage cannot compute its rows of the step that is being computed, because its caches have
    /// overwritten positions that these see. It holds nothing any more. The [`Input::Computed`] of the
    /// step follows, with no hidden states for them.
    Overwritten {
        /// Whose caches.
        stage: StageId,
    },
    /// Whether the send queue of a peer is so long that no more should be computed for the peer.
    /// Initially false for each connection.
    Congested {
        /// The peer.
        peer: PeerId,
        /// Whether it is congested.
        congested: bool,
    },
    /// An [`Output::Store`] is done.
    Stored(StoreAnswer),
    /// The addresses on which this node listens now; other nodes receive the first eight.
    Listening(Vec<Address>),
    /// This device's new profile. No measurement may be later than now.
    Profile(Profile),
    /// Whether the owner computes something besides the stages; other devices then wait longer.
    OwnerBusy(bool),
    /// The node is about to stop helping. It refuses stages until a [`Profile`](Self::Profile)
    /// makes it willing again.
    HandOver {
        /// The reason.
        reason: HandOverReason,
        /// How long the node continues to compute.
        within: Duration,
    },
}

/// Why a stage could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRefused {
    /// The reason, for programs.
    pub code: StageRefusedCode,
    /// The reason, for people.
    pub words: String,
    /// Bytes now available to a stage.
    pub available_bytes: u64,
}

/// Outputs of a machine, to be carried out in order.
#[derive(Debug)]
pub enum Output {
    /// Send bytes on the control stream.
    SendControl(PeerId, Vec<u8>),
    /// Send bytes on the data stream.
    SendData(PeerId, Vec<u8>),
    /// Send bytes on the weights stream; open it first if it is not open.
    SendTransfer(PeerId, Vec<u8>),
    /// End the connection after all data has been sent. The machine already treats the peer as
    /// gone.
    Disconnect(PeerId),
    /// Send bytes on the pairing stream.
    SendPairing(PeerId, Vec<u8>),
    /// Close the pairing stream after all data has been sent.
    ClosePairing(PeerId),
    /// Make a stage ready, then answer with [`Input::Loaded`]. If a session already had the same
    /// layers of the same model, it keeps its caches. Waits for the step that is being computed.
    Load(Load),
    /// Compute, then answer with [`Input::Computed`].
    Compute(Step),
    /// Free a stage's caches, and its weights unless another stage uses them. Waits for the step
    /// that is being computed.
    Free(StageId),
    /// An order for the weight store.
    Store(StoreOrder),
    /// Store the circle's log; its members may have changed. Outputs that depend on the change
    /// follow. If storing fails, the next call must be
    /// [`Machine::circle_not_stored`](super::Machine::circle_not_stored).
    CircleChanged,
    /// Remember a member's addresses, and dial them if it is not connected.
    PeerAddresses(PeerId, Vec<Address>),
    /// Report an event to the owner, or to the driver of a session.
    Event(Event),
}

/// Events for the owner or the node's program.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A pairing event.
    Pairing(pair::Event),
    /// A peer has greeted.
    PeerConnected {
        /// The peer.
        peer: PeerId,
        /// Its program name and version.
        software: String,
    },
    /// A connected peer is gone, whether or not it had greeted.
    PeerGone {
        /// The peer.
        peer: PeerId,
        /// The reason if it was dropped or refused us; `None` if the connection ended.
        why: Option<String>,
    },
    /// Another member revoked this device. It has no more peers.
    Revoked,
    /// Another device joined this device's circle.
    MemberJoined(Member),
    /// Another device left this device's circle.
    MemberLeft(PeerId),
    /// Two nodes run with a member's key, for example after a home was copied. Reported once.
    Copied(PeerId),
    /// A peer reports two nodes with this device's key. The node should not dial that peer for a
    /// while.
    ThisIsCopied {
        /// The reporting peer.
        told_by: PeerId,
    },
    /// A member's log of the circle has entries that this program is too old to read. They may
    /// revoke a device. So until the program is updated, it places no layers on other devices and
    /// computes none for them. Reported once.
    Outdated {
        /// The member with that log.
        told_by: PeerId,
    },
    /// Progress of fetching a model's weights for a stage.
    Fetching(Progress),
    /// All weights of a model have arrived.
    Fetched(ContentHash),
    /// The weights could not be fetched, with the reason.
    NotFetched(ContentHash, String),
    /// A device's request was refused here. Reported each time.
    Refused {
        /// The device.
        peer: PeerId,
        /// The request.
        asked: Asked,
        /// The reason.
        why: String,
    },
    /// An event of one of this node's sessions.
    Session(SessionId, SessionEvent),
}

/// Parameters of a new session.
#[derive(Debug, Clone)]
pub struct Request {
    /// Chosen at random.
    pub id: SessionId,
    /// The model's manifest.
    pub manifest: ContentHash,
    /// The shape of frames.
    pub hidden: HiddenShape,
    /// The model's sizes.
    pub model: ModelShape,
    /// The placement's objective, and the session's context.
    pub options: PlacementOptions,
    /// The devices that may compute.
    pub choice: Choice,
    /// How long the session may wait for a placement before it is given up; no limit if `None`.
    pub patience: Option<Duration>,
}

/// The devices that may compute for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best placement by the objective, including this device alone.
    Best,
    /// Only this device.
    Alone,
    /// A placement from the user. When one of its devices fails or leaves, the best placement over
    /// this device and the other devices that it names replaces it, or over all devices if it
    /// [allows others](Forced::allows_others).
    Forced(Forced),
}

/// Which devices a revocation removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only the device. Devices that it admitted stay members.
    Alone,
    /// The device, all devices that it admitted, those that they admitted, and so on.
    WithAdmitted,
}

/// Why a session cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The maximum number of sessions is open.
    #[error("this device has {MAX_REQUESTS} conversations open: finish one first")]
    TooMany,
    /// A session with this id is open.
    #[error("a conversation with this id is open: choose another at random")]
    InUse,
}

/// A device's refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A stage of its session, which may have been open until then.
    Stage(SessionId),
    /// A pairing. Once its handshake has begun, [`Event::Pairing`] reports the result instead.
    Pairing,
}

/// Maximum number of a node's own sessions at a time.
pub const MAX_REQUESTS: usize = 64;
/// How long after a peer's greeting a session waits for its profile and link, if it takes the best
/// placement and the peer was connected when it started. Otherwise a session that starts right
/// after connecting would run on this device alone. Slightly longer than measuring takes.
pub const PLAN_GRACE: Duration = Duration::from_secs(1);
