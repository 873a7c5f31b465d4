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

/// A node's state before the first input.
#[derive(Debug)]
pub struct MachineSetup {
    /// Its key.
    pub identity: Identity,
    /// Its circle, as stored.
    pub circle: Circle,
    /// The name that this device offers when it pairs.
    pub name: DeviceName,
    /// Its program and version, for people; truncated to fit into a greeting.
    pub software: String,
    /// Limits of what it computes for others.
    pub stages: StageLimits,
    /// A random number for this run of the node, by which others notice that two run with one key; 0 for
    /// none.
    pub run: u64,
}

/// Inputs of a machine.
#[derive(Debug)]
pub enum Input {
    /// A connection to a member is up. It is encrypted and has proved who the peer is. A peer has at most
    /// one: a second one counts as `Disconnected` and `Connected`. Devices that only pair are not
    /// reported.
    Connected(PeerId),
    /// The connection in force has ended.
    Disconnected(PeerId),
    /// Bytes of the control stream of the connection in force.
    ControlBytes(PeerId, Vec<u8>),
    /// Bytes of its data stream. They should wait while
    /// [`Machine::wants_data`](super::Machine::wants_data) says no.
    DataBytes(PeerId, Vec<u8>),
    /// Bytes of its weights stream.
    TransferBytes(PeerId, Vec<u8>),
    /// A peer, which need not be a member, opened a pairing stream. There is at most one with a peer.
    PairingOpened {
        /// The peer, as the link proved.
        peer: PeerId,
        /// 32 random bytes that are used for nothing else.
        ephemeral: [u8; 32],
    },
    /// Bytes of the pairing stream with a peer.
    PairingBytes(PeerId, Vec<u8>),
    /// The pairing stream with a peer was closed by the other side.
    PairingClosed(PeerId),
    /// The system's clock, which goes on while a device sleeps, when the time of inputs may stand still. It
    /// is to be told regularly while [`Machine::is_inviting`](super::Machine::is_inviting), and before
    /// [`PairingOpened`](Self::PairingOpened) and [`Machine::join`](super::Machine::join).
    Clock {
        /// Seconds since 1970 (UTC).
        unix_s: u64,
    },
    /// An [`Output::Load`] is done: weights are mapped and memory is reserved, or it cannot be.
    Loaded {
        /// Of the load.
        stage: StageId,
        /// Of the load.
        epoch: PlanEpoch,
        /// Why not, if it cannot be.
        result: Result<(), LoadRefused>,
    },
    /// An [`Output::Compute`] is done.
    Computed {
        /// Of the step.
        number: u64,
        /// For each of its parts the hidden states behind the layers, `[rows, d_model]`.
        hidden: Vec<Vec<u8>>,
    },
    /// Whether so much waits to be sent to a peer that nothing more should be computed for it. A connection
    /// begins without congestion.
    Congested {
        /// Who.
        peer: PeerId,
        /// Whether too much waits.
        congested: bool,
    },
    /// An [`Output::Store`] is done.
    Stored(StoreAnswer),
    /// The addresses at which this node listens now; others are told the first eight.
    Listening(Vec<Address>),
    /// This device measured itself; no measurement is later than now.
    Profile(Profile),
    /// Whether this device's owner computes something beside the stages; then others wait longer.
    OwnerBusy(bool),
    /// The node is about to stop helping. It refuses stages until a [`Profile`](Self::Profile) makes it
    /// willing again.
    HandOver {
        /// Why.
        reason: HandOverReason,
        /// How long it computes on.
        within: Duration,
    },
}

/// Why a stage cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRefused {
    /// Why, for programs.
    pub code: StageRefusedCode,
    /// Why, for people.
    pub words: String,
    /// What a stage could have here now, in bytes.
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
    /// End the connection after everything was sent. The machine already treats the peer as gone.
    Disconnect(PeerId),
    /// Send bytes on the pairing stream.
    SendPairing(PeerId, Vec<u8>),
    /// Close the pairing stream after everything was sent.
    ClosePairing(PeerId),
    /// Make a stage ready, then answer with [`Input::Loaded`]. A session that had the same layers of
    /// the same model keeps its caches. Waits for the step that is being computed.
    Load(Load),
    /// Compute, then answer with [`Input::Computed`].
    Compute(Step),
    /// Free a stage's caches, and its weights if no other has them. Waits for the step that is being
    /// computed.
    Free(StageId),
    /// An order to the store of weights.
    Store(StoreOrder),
    /// Store the circle's log; its members may have changed. Outputs that depend on the change come after.
    /// If storing fails, [`Machine::circle_not_stored`](super::Machine::circle_not_stored) is to be called
    /// before anything else.
    CircleChanged,
    /// Addresses of a member, to be remembered, and dialled if it is not connected.
    PeerAddresses(PeerId, Vec<Address>),
    /// Tell those concerned: the owner, or the driver of a session.
    Event(Event),
}

/// Events for the owner or the node's program.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Of a pairing.
    Pairing(pair::Event),
    /// A peer has greeted.
    PeerConnected {
        /// Who.
        peer: PeerId,
        /// Its program.
        software: String,
    },
    /// A connected peer is gone, whether or not it had greeted.
    PeerGone {
        /// Who.
        peer: PeerId,
        /// Why, in words, if it was dropped or it refused; `None` if the connection ended.
        why: Option<String>,
    },
    /// Another member revoked this device, which has no peers any more.
    Revoked,
    /// Another device became a member of this device's circle.
    MemberJoined(Member),
    /// Another device is no member of it any more.
    MemberLeft(PeerId),
    /// Two nodes run with a member's key, as when a home was copied. Told once.
    Copied(PeerId),
    /// A peer says that of this device. The node should not connect to it for a while.
    ThisIsCopied {
        /// Who says so.
        told_by: PeerId,
    },
    /// A member's log of the circle has entries that this program is too old to read. They may remove a
    /// device. So until the program is updated, it places no layers on others and computes none for them.
    /// Told once.
    Outdated {
        /// Whose log it is.
        told_by: PeerId,
    },
    /// Progress of fetching a model's weights for a stage.
    Fetching(Progress),
    /// The weights have arrived.
    Fetched(ContentHash),
    /// The weights cannot be fetched: why, in words.
    NotFetched(ContentHash, String),
    /// A device asked for something here and was refused. Told each time.
    Refused {
        /// Who.
        peer: PeerId,
        /// What it asked for.
        asked: Asked,
        /// Why, in words.
        why: String,
    },
    /// Of a session of this node.
    Session(SessionId, SessionEvent),
}

/// What a session of this node needs to start.
#[derive(Debug, Clone)]
pub struct Request {
    /// Chosen at random.
    pub id: SessionId,
    /// The model.
    pub manifest: ContentHash,
    /// What frames carry.
    pub hidden: HiddenShape,
    /// The model in numbers.
    pub model: ModelShape,
    /// The objective of the placement, and the session's context.
    pub options: PlacementOptions,
    /// Who may compute.
    pub choice: Choice,
    /// How long it may wait for a placement before it is given up; for ever if `None`.
    pub patience: Option<Duration>,
}

/// Who may compute for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best placement by the objective; this device alone is one of the candidates.
    Best,
    /// Only this device.
    Alone,
    /// A placement that a person wrote. When one of its devices fails or leaves: the best placement over
    /// this device and the other devices that it names, or over all devices if it [allows
    /// others](Forced::allows_others).
    Forced(Forced),
}

/// The devices whose membership a revocation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The device. Devices that it admitted stay.
    Alone,
    /// The device, all devices that it admitted, those that they admitted, and so on.
    WithAdmitted,
}

/// Why a session cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The limit is reached.
    #[error("this device has {MAX_REQUESTS} conversations open: finish one first")]
    TooMany,
    /// One with this id is open.
    #[error("a conversation with this id is open: choose another at random")]
    InUse,
}

/// What a device asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A stage of its session, which it may have had until then.
    Stage(SessionId),
    /// To pair. Once its handshake has begun, [`Event::Pairing`] says how it ends.
    Pairing,
}

/// The most sessions that a node has of its own at once.
pub const MAX_REQUESTS: usize = 64;
/// How long after a peer's greeting a session waits for its profile and link, if it takes the best
/// placement and the peer was connected when it started. So a session that starts right after connecting
/// does not stay alone. Somewhat longer than measuring takes.
pub const PLAN_GRACE: Duration = Duration::from_secs(1);
