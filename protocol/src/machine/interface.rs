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

/// What a node is before anything happens.
#[derive(Debug)]
pub struct MachineSetup {
    /// Its key.
    pub identity: Identity,
    /// Its circle, as it was stored.
    pub circle: Circle,
    /// What this device calls itself when it pairs.
    pub name: DeviceName,
    /// Its program and version, for people; what does not fit into a greeting is cut off.
    pub software: String,
    /// What it computes for others at most.
    pub stages: StageLimits,
    /// Random, for this run of the node: how others notice that two run with one key. 0 says nothing.
    pub run: u64,
}

/// What happened to a node.
#[derive(Debug)]
pub enum Input {
    /// A connection to a member is up; it has proved who the peer is and hides what it carries. At
    /// most one to a peer counts: a second one stands for `Disconnected` and `Connected`. A device
    /// that is only here to pair is not reported.
    Connected(PeerId),
    /// The connection in force has ended.
    Disconnected(PeerId),
    /// Bytes of the control stream of the connection in force.
    ControlBytes(PeerId, Vec<u8>),
    /// Bytes of its data stream. While [`Machine::wants_data`](super::Machine::wants_data) says no, they should wait.
    DataBytes(PeerId, Vec<u8>),
    /// Bytes of its stream for weights.
    TransferBytes(PeerId, Vec<u8>),
    /// A peer, maybe of no circle of ours, opened a pairing stream. There is at most one with a peer.
    PairingOpened {
        /// Who, as the link proved.
        peer: PeerId,
        /// 32 random bytes that are used for nothing else.
        ephemeral: [u8; 32],
    },
    /// Bytes of the pairing stream with a peer.
    PairingBytes(PeerId, Vec<u8>),
    /// The pairing stream with a peer was closed by the other side.
    PairingClosed(PeerId),
    /// The system's clock, which goes on while a device sleeps and the time of inputs may stand still:
    /// told now and then while [`Machine::is_inviting`](super::Machine::is_inviting), and before
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
    /// So much waits to be sent to a peer that nothing more should be computed for it; or it does not
    /// any more, as at the beginning of a connection.
    Congested {
        /// Who.
        peer: PeerId,
        /// Whether too much waits.
        congested: bool,
    },
    /// An [`Output::Store`] is done.
    Stored(StoreAnswer),
    /// This node listens there now; those behind the eighth are not told to others.
    Listening(Vec<Address>),
    /// This device measured itself. Nothing of it was measured later than now.
    Profile(Profile),
    /// This device's owner computes something beside the stages, or has stopped: others wait more.
    OwnerBusy(bool),
    /// The node is about to stop helping. It refuses stages from now on, until a
    /// [`Profile`](Self::Profile) comes by which it is willing.
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

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send bytes on the control stream.
    SendControl(PeerId, Vec<u8>),
    /// Send bytes on the data stream.
    SendData(PeerId, Vec<u8>),
    /// Send bytes on the stream for weights, which is to be opened if it is not.
    SendTransfer(PeerId, Vec<u8>),
    /// End the connection after what was to be sent. The machine already treats the peer as gone.
    Disconnect(PeerId),
    /// Send bytes on the pairing stream.
    SendPairing(PeerId, Vec<u8>),
    /// Close the pairing stream after what was to be sent.
    ClosePairing(PeerId),
    /// Make a stage ready, then answer with [`Input::Loaded`]. A session that had the same layers of
    /// the same model keeps its caches. Waits for the step that is being computed.
    Load(Load),
    /// Compute, then answer with [`Input::Computed`].
    Compute(Step),
    /// Free a stage's caches, and its weights if no other has them. Waits for the step that is being
    /// computed.
    Free(StageId),
    /// Do something with the weights that are kept on this device.
    Store(StoreOrder),
    /// Store the circle's log; who is a member may have changed. All that follows from it comes after;
    /// if it cannot be stored, [`Machine::circle_not_stored`](super::Machine::circle_not_stored) is to be called before anything else.
    CircleChanged,
    /// A member listens there: to be dialled if it is not connected, and to be remembered.
    PeerAddresses(PeerId, Vec<Address>),
    /// Tell those concerned: the owner, or the driver of a session.
    Event(Event),
}

/// What a person or the node's own program should know.
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
    /// A peer is gone that was connected, whether or not it had greeted.
    PeerGone {
        /// Who.
        peer: PeerId,
        /// Why, in words, if it was dropped or it refused; `None` if the connection ended.
        why: Option<String>,
    },
    /// This device was revoked by another member: it has no peers any more.
    Revoked,
    /// Another device became a member of this device's circle.
    MemberJoined(Member),
    /// Another device is no member of it any more.
    MemberLeft(PeerId),
    /// Two nodes run with a member's key, as when a home was copied. Told once.
    Copied(PeerId),
    /// A peer says that of this device. It is to be left in peace for a while.
    ThisIsCopied {
        /// Who says so.
        told_by: PeerId,
    },
    /// A member's log of the circle has entries that this program is too old to read. They may say that
    /// a device was removed, so no layers go to others, and none of theirs are computed here, until it is
    /// updated. Told once.
    Outdated {
        /// Whose log it is.
        told_by: PeerId,
    },
    /// Weights of a model are fetched, for a stage: how far that is.
    Fetching(Progress),
    /// They are here.
    Fetched(ContentHash),
    /// They are not to be had: why, in words.
    NotFetched(ContentHash, String),
    /// A device asked for something here and was refused. As often as it asks.
    Refused {
        /// Who.
        peer: PeerId,
        /// What it asked for.
        asked: Asked,
        /// Why, in words.
        why: String,
    },
    /// Of a session that this node asked for.
    Session(SessionId, SessionEvent),
}

/// A conversation that this node asks for.
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
    /// What the placement is wanted for; `context` is the session's context.
    pub options: PlacementOptions,
    /// Who may compute.
    pub choice: Choice,
    /// How long it may be without a placement before it is given up; as long as it takes if `None`.
    pub patience: Option<Duration>,
}

/// Who may compute for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The best by the objective, staying alone among the candidates.
    Best,
    /// Only this device.
    Alone,
    /// As a person wrote it; when a device of it fails or leaves, the best over this device and those
    /// it names that are left, or over all if it [allows others](Forced::allows_others).
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
    /// As many as there may be.
    #[error("this device has {MAX_REQUESTS} conversations open: finish one first")]
    TooMany,
    /// One with this id is open.
    #[error("a conversation with this id is open: choose another at random")]
    InUse,
}

/// What a device can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A stage of its session, whether or not it had one until then.
    Stage(SessionId),
    /// To pair. Once its handshake has begun, [`Event::Pairing`] says how it ends.
    Pairing,
}

/// The most sessions that a node asks for at once.
pub const MAX_REQUESTS: usize = 64;
/// How long after a peer's greeting a session that takes the best placement waits for the peer's
/// profile and the way to it, if it was connected when the session began: so whoever asks right after
/// connecting does not stay alone. As long as measuring takes, and some.
pub const PLAN_GRACE: Duration = Duration::from_secs(1);
