//! What commands ask of a node, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::views::{MemberView, PlacementView, PlanView, ProposalView};
use crate::log::{Level, Page};
use crate::net::Announces;
use crate::words::{Kind, Words};

/// What a command asks. On one connection one thing at a time, but for what belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Where the node listens, and who it is: [`Reply::Node`].
    Node,
    /// The circle's members: [`Reply::Members`].
    Members,
    /// The command's own program computes something for this device's owner, until the connection
    /// ends: others wait more. [`Reply::Done`].
    ComputeHere,
    /// Another process of this home is to be its node: [`Reply::Done`] once this one has ended for
    /// that, if it is only a command's.
    GiveWay,
    /// End a membership: [`Reply::Forgotten`], once it is stored.
    Forget {
        /// A name, a PeerId or `self`.
        device: String,
        /// Also those of all whom it made members, and whom those did.
        #[serde(default)]
        with_admitted: bool,
    },
    /// Whose membership [`Forget`](Self::Forget) would end: [`Reply::WouldForget`].
    WouldForget {
        /// A name, a PeerId or `self`.
        device: String,
        /// Also those of all whom it made members, and whom those did.
        with_admitted: bool,
    },
    /// Leave the circle and begin a new one of this device alone: [`Reply::Done`], once it is stored.
    NewCircle,
    /// Open pairing: [`Reply::Invitation`]; then [`Reply::Proposed`], which is to be answered, and
    /// [`Reply::Paired`] or [`Reply::PairingOver`]. Ends with the connection.
    Invite {
        /// For so many seconds.
        seconds: u64,
        /// What this device is called from now on.
        name: Option<String>,
        /// Who is to join whose circle.
        #[serde(default)]
        wish: PairingWish,
    },
    /// Pair by an invitation: [`Reply::Proposed`], which is to be answered, then [`Reply::Paired`] or
    /// [`Reply::Failed`]. Ends with the connection.
    Join {
        /// The text.
        invitation: String,
        /// What this device is called from now on.
        name: Option<String>,
        /// Who is to join whose circle.
        #[serde(default)]
        wish: PairingWish,
    },
    /// The owner's answer to [`Reply::Proposed`] of this connection's pairing;
    /// [`Reply::AnswerTooLate`] if that is over, else nothing.
    AnswerPairing {
        /// Of the other device.
        peer_id: String,
        /// Whether to pair.
        agrees: bool,
    },
    /// What the node did last: [`Reply::Log`].
    Log {
        /// After the event of this number; 0 for all that are kept.
        after: u64,
        /// Those that matter as much as this.
        least: Level,
    },
    /// Where a model's layers should run: [`Reply::Plan`].
    Plan {
        /// What for.
        #[serde(flatten)]
        request: SessionRequest,
    },
    /// Begin a conversation: [`Reply::Started`], then its events, until the connection ends.
    Session {
        /// What for.
        #[serde(flatten)]
        request: SessionRequest,
    },
    /// Rows of the conversation; the payload are their hidden states. Nothing answers rows that are
    /// not those that follow: [`Reply::Ready`] says which are.
    Submit {
        /// Position of the first.
        start_position: u32,
        /// How many.
        rows: u32,
        /// Whether these are the last for now, whose hidden states are wanted.
        last: bool,
    },
    /// Drop the conversation's positions from this one on: [`Reply::RolledBack`].
    RollBack {
        /// The first that is dropped.
        position: u32,
    },
    /// What the conversation has sent and received: [`Reply::Traffic`].
    Traffic,
}

/// What a node was told when it started. It holds for all commands that use the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Threads that it computes with; of one that runs, as many as it has.
    pub threads: Option<usize>,
    /// Where it was told to listen; nothing for any free port.
    pub listen: Vec<String>,
    /// Whether it neither looks for devices on the local network nor is found there.
    pub no_mdns: bool,
    /// When it is found there.
    #[serde(default)]
    pub announces: Announces,
    /// Where it was told that paired devices may be.
    pub peers: Vec<String>,
    /// The memory that its owner allows, in bytes, if that was said.
    pub memory: Option<u64>,
}

/// A model, and where its layers may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// The model's file.
    pub model: PathBuf,
    /// Positions to reserve.
    pub context: u32,
    /// Who may compute.
    pub placement: PlacementChoice,
    /// `latency`, `throughput` or `energy`.
    pub objective: String,
}

/// Who joins whose circle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingWish {
    /// As it may be: the owner is asked.
    #[default]
    Asks,
    /// The other device joins this one's.
    Admits,
    /// This device joins the other's.
    Joins,
}

impl From<PairingWish> for potluck_protocol::pairing::Wish {
    fn from(wish: PairingWish) -> Self {
        match wish {
            PairingWish::Asks => Self::Asks,
            PairingWish::Admits => Self::Admits,
            PairingWish::Joins => Self::Joins,
        }
    }
}

/// Who may compute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementChoice {
    /// Whoever is best.
    Best,
    /// Only this device.
    Alone,
    /// As a person wrote it: `self:0..6,kitchen:6..30`.
    Forced(String),
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It cannot be done: why.
    Failed {
        /// Of what kind the reason is.
        kind: Kind,
        /// In words.
        words: String,
    },
    /// Who the node is.
    Node {
        /// Its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// Where it listens.
        listening: Vec<String>,
        /// Whether it places layers. The node of a command that pairs does not on a device that was
        /// never measured.
        computes: bool,
        /// What it was told when it started.
        settings: NodeSettings,
    },
    /// The circle's members, this device among them.
    Members {
        /// By their names.
        members: Vec<MemberView>,
    },
    /// A membership has ended.
    Forgotten {
        /// Whose: its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
    },
    /// Whose membership would end.
    WouldForget {
        /// The device that was named: its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// All who would go, that device among them unless it has left already.
        members: Vec<MemberView>,
    },
    /// The owner is to be asked whether to pair so.
    Proposed {
        /// What.
        proposal: ProposalView,
    },
    /// To be shown to the owner of the other device.
    Invitation {
        /// The text.
        text: String,
        /// When it expires, in seconds since 1970 (UTC).
        expires: u64,
    },
    /// Both devices are in one circle.
    Paired {
        /// The other's PeerId.
        peer_id: String,
        /// What it calls itself.
        name: String,
    },
    /// The owner's answer comes too late: nothing is proposed by this device any more.
    AnswerTooLate {
        /// The other's PeerId.
        peer_id: String,
    },
    /// One attempt to pair failed.
    PairingFailed {
        /// Who tried.
        peer_id: String,
        /// Why.
        words: String,
    },
    /// The invitation cannot be used any more.
    PairingOver {
        /// Why.
        words: String,
    },
    /// What the node did.
    Log {
        /// Some of it.
        page: Page,
    },
    /// Where the layers should run.
    Plan {
        /// Where.
        plan: Box<PlanView>,
    },
    /// The conversation has begun.
    Started,
    /// The layers are placed so.
    Placed {
        /// Where.
        placement: PlacementView,
    },
    /// Rows from `from` on are to be submitted.
    Ready {
        /// Those before are held.
        from: u32,
        /// How many rows a prefill step should have.
        prefill_rows: u32,
    },
    /// A device fetches the weights of its layers, before it can begin.
    Fetching {
        /// Its PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// What has come of them.
        received_bytes: u64,
        /// Those, and what is still missing.
        total_bytes: u64,
    },
    /// Rows went through all layers; the payload are the hidden states that were wanted.
    Answered {
        /// Position of the first row.
        start_position: u32,
    },
    /// Positions were dropped: answers before this may be of them, those after it are not.
    RolledBack,
    /// Rows of others wait at a device of the ring, too: no drafts for a while.
    Shared,
    /// A device wants to leave.
    Leaving {
        /// Its name.
        name: String,
    },
    /// A stage failed.
    Broken {
        /// The device's PeerId.
        peer_id: String,
        /// Its name.
        name: String,
        /// Why.
        cause: String,
    },
    /// No placement is possible now.
    Waiting {
        /// Why.
        words: String,
    },
    /// Bytes to and from peers.
    Traffic {
        /// To peers.
        bytes_sent: u64,
        /// From peers.
        bytes_received: u64,
    },
}

impl From<Words> for Reply {
    fn from(Words { kind, words }: Words) -> Self {
        Self::Failed { kind, words }
    }
}
