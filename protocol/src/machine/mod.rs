//! The one machine that a node is.
//!
//! [`Machine`] joins all that a node does with others: pairing, the circle's gossip, greetings, links,
//! profiles, the sessions that it asks for and the stages that it computes. Sockets, clocks and
//! computing are its driver's, who hands in [`Input`]s with the time, does the [`Output`]s in their
//! order, and calls [`Machine::handle_timeout`] when [`Machine::poll_timeout`] says. Bytes that go in
//! and come out are those of the wire; what [`wire`](crate::wire) says of them is not repeated here.
//! What a node has for itself, as its own stage of its own session, is handed on inside, unencoded.
//!
//! # A connection
//! Only to members, one to each, at most [`MAX_MEMBERS`](crate::circle::MAX_MEMBERS).
//! - **Greeting.** Each side says `Hello` at once. Whoever has not greeted after ten seconds is let go.
//! - **Greeted.** On the other's `Hello` a node sends its `CircleDigest`, its `ProfileUpdate` if it
//!   has measured itself, and pings. All messages are taken in any order from then on.
//! - **Gone.** The connection ended, or the peer was dropped: sessions place what it had elsewhere;
//!   what it asked for here is freed unless it opens it again, as [`stage`](crate::stage) says.
//!
//! # The circle
//! As [`circle`](crate::circle) says. Whatever changes the log, a pairing, a member's entries, this
//! node's own act, is stored first ([`Output::CircleChanged`]): nothing that follows from it is said
//! before the driver asks for the next output. What this node did itself and cannot be stored is undone
//! ([`Machine::circle_not_stored`]); what a member wrote holds in memory. Then the digest goes to all
//! others, and the owner hears who came, and by whom, and who left. Who is no member any more gets the
//! entries that say so, a refusal and no more; its stages here are freed. A node that hears of its own
//! revocation does the same with all its peers. Entries or a digest of a version that this program
//! cannot read may revoke somebody: the person is told ([`Event::Outdated`]), and until the program is
//! begun anew, updated, no stage is placed on others, and none of theirs is opened here.
//!
//! # Links
//! Three small pings, a tenth of a second apart, then one with 8 KiB and two with 64 KiB, or with what
//! takes 50 ms where that is less, and another two some seconds later; from then on a small one every
//! five seconds and two large ones every other minute, but no large one while another is under way, or
//! a session of this node goes over the peer. Of two large ones the second is sent when the first was
//! answered and has opened TCP's window; of 14 KiB and less, which need no open window, one is sent.
//! Of two nodes one begins with large ones 50 ms later than the other. The round trip is the least of
//! the last eight; the bandwidth the best of the last four, of the bytes over what they took longer than
//! the round trip. Where a large one took half a second, others need the way: the next has 8 KiB again,
//! and the difference to small pings, which waited, too, does not show that the way is fast. A peer of
//! which nothing at all is heard for 15 seconds while a ping waits is dropped; time in which this node
//! did not run does not count. Pings are answered at once.
//!
//! # Profiles
//! Others hear of this device when something differs by more than a tenth from what they heard last,
//! or the power, heat, budget or owner's limits do at all, at most once a second; a new peer at once.
//! Revisions count up on a connection; an older one is dropped. Measurements of others count as old
//! as they were when they were sent.
//!
//! # A session
//! [`Machine::start`] looks for a placement at once over all devices whose profile is known, and then
//! whenever a device, profile or link changes by more than a tenth, at most every 50 ms:
//! - **Waiting.** There is none: [`SessionEvent::Waiting`] says why, once for each reason. For the best
//!   placement the machine also waits [`PLAN_GRACE`] for what peers have yet to tell that were
//!   connected when the session began.
//! - **Placed.** The stages open, then [`SessionEvent::Ready`] says which rows are to be submitted.
//!   What the [session](crate::session) then notices is its own page.
//!   Devices that are not in the ring then stand by: each opens what it would be given first if a
//!   device of the ring were lost, and is freed when it is not needed any more.
//! - **Broken.** A stage failed. Its device is left out of this session, and, but for a connection that
//!   ended and what it lacks for this one, also of those that begin later, unless a person names it:
//!
//!   | it failed by | time | and is used again |
//!   |---|---|---|
//!   | rows lost on the way to it, any refusal but these | 5 s | if it was heard since |
//!   | its connection, and then is heard on another within 2 s: it has only changed its way | 1 s, then 2, 4 and 5 within a minute | |
//!   | its connection, and then is heard later | 5 s | if it was heard since |
//!   | silence, and then is heard on the same connection: it has lost nothing | 1 s, then 2, 4 and 5 within a minute | |
//!   | answers that were not due, values that are no numbers, work that comes no further | 10 s, doubled each time within an hour, at most 10 min | |
//!   | no weights, or nothing to compute them with | 1 min | or when it tells of another profile |
//!   | memory that others have | 10 s | or likewise; until then with what it says is free |
//!
//!   Another placement is looked for at once, the best one that there is then. If the requester's own
//!   stage failed, it keeps embedding and head alone.
//! - **Named.** What a person named is never widened. Where a written placement fails, layers go only to
//!   devices that it names and to this one, whose owner asked and who has embedding and head anyway; so
//!   do those of standbys. Others take part only if it ends with `,*`.
//! - **Given up.** A session that waited for a placement as long as [`Request::patience`] says, with no
//!   stage that was ready meanwhile, ends with the last reason: [`SessionEvent::GivenUp`].
//! - **Leaving.** A stage hands over: the layers move at once if they can, and the session goes on as
//!   it is if not. Its device is left out for a minute or until it tells of another profile
//!   by which it is willing.
//!
//! A session that works is not moved for a better placement.
//!
//! Who has the weights is asked for only when [`Machine::find_weights`] is called, best before a plan
//! or a session, and known from then on, of the last few models: each peer that has greeted is sent a
//! `ModelQuery`, and this device's store is asked, too. Offers that come count as the newest,
//! whoever asked for them; a peer that is gone has nothing.
//!
//! # A stage
//! As [`stage`](crate::stage) says. A peer's `OpenStage` is refused as unwilling by the owner's limits
//! or heat, or after [`Input::HandOver`] until the device measures itself as willing again; as
//! unsupported if a neighbour that it names is not another member; and if its session is one of this
//! node's own. A node's own sessions are never refused so.
//!
//! A device that becomes unwilling hands the stages over that it has for others. After
//! [`Input::HandOver`] the profile that it tells others says that it is leaving, so that no plan of theirs
//! names it; its own sessions may still use it.
//!
//! # Weights
//! As [`transfer`](crate::transfer) says. If a stage of another's session lacks weights, they are
//! fetched from all who have them, and the stage is loaded then; if they are not to be had, or what the
//! requester says that the stage takes is not free, it is refused. Whoever asked for the stage hears
//! how far that is, at most every [`TELL_EVERY`], and its session tells it. Of a peer so many pieces are
//! under way as its link takes in [`AHEAD`] and two round trips; one, while a session or stage of this
//! node goes over it.
//!
//! # Limits
//! [`MAX_REQUESTS`] sessions that it asks for; what [`StageLimits`] says that others may have here;
//! one message and one frame that are under way on each connection; 100 pings, digests and questions
//! for models a second of a peer, after which it is refused as too many. What a peer says makes this
//! node say a few short messages at most; but a digest is answered with all that its sender lacks of
//! the log, and who wants a stage here may have all peers asked for its weights.
//!
//! # Failures
//! | what | then |
//! |---|---|
//! | bytes that a reader refuses, a digest or batch that is none | `Refuse` with the reader's words, dropped |
//! | another major version | `Refuse` with who should update, dropped; a newer minor one is passed over |
//! | no member | `Refuse`, dropped, no event |
//! | a run of a peer's node greets that had given way to another | `Refuse` to each of the two, once; the one that is connected then stays |
//! | a `Refuse` of the peer | dropped, its words in [`Event::PeerGone`] |
//! | silence, no greeting, too many questions | dropped |
//! | more waits to be sent to a peer than it takes | no rows are computed that go to it; other sessions go on |
//! | a message or frame for who is not connected | lost: its session notices by silence or missing rows |
//!
//! Who is dropped may connect again. No other peer and no other session feels any of it.

mod addresses;
mod control;
mod copies;
mod exclusions;
mod gossip;
mod helping;
mod holders;
mod links;
#[expect(
    clippy::module_inception,
    reason = "the file of the type that the module is about"
)]
mod machine;
mod pairing;
mod peer;
mod profiles;
mod requested;
mod requests;
#[cfg(test)]
mod tests;
mod weights;
mod words;

use std::num::NonZeroU32;
use std::time::Duration;

pub use helping::Asked;
pub use machine::Machine;
pub use peer::PeerStatus;
pub use weights::{AHEAD, TELL_EVERY};
use words::{software_for_peer, words_for_peer};

use crate::circle::{Circle, DeviceName, Identity, Member};
use crate::pairing as pair;
use crate::pairing::Address;
use crate::placement::{Forced, ModelShape, PlacementOptions, Prediction};
use crate::profile::Profile;
use crate::session::Cause;
use crate::stage::{Load, StageLimits, Step};
use crate::transfer::{Progress, StoreAnswer, StoreOrder};
use crate::wire::{ContentHash, HandOverReason, HiddenShape, StageRefusedCode};
use crate::{PeerId, PlanEpoch, SessionId};

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
    /// Bytes of its data stream. While [`Machine::wants_data`] says no, they should wait.
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
    /// told now and then while [`Machine::is_inviting`], and before [`PairingOpened`](Self::PairingOpened).
    Clock {
        /// Seconds since 1970 (UTC).
        unix_s: u64,
    },
    /// An [`Output::Load`] is done: so many bytes are reserved, or it cannot be.
    Loaded {
        /// Of the load.
        session: SessionId,
        /// Of the load.
        epoch: PlanEpoch,
        /// Reserved bytes, or why not.
        result: Result<u64, LoadRefused>,
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
    /// Free a session's caches, and its weights if no other has them. Waits for the step that is
    /// being computed.
    Free(SessionId),
    /// Do something with the weights that are kept on this device.
    Store(StoreOrder),
    /// Store the circle's log; who is a member may have changed. All that follows from it comes after;
    /// if it cannot be stored, [`Machine::circle_not_stored`] is to be called before anything else.
    CircleChanged,
    /// A member listens there: to be dialled if it is not connected, and to be remembered.
    PeerAddresses(PeerId, Vec<Address>),
    /// Tell whom it concerns.
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
        /// What for.
        asked: Asked,
        /// Why, in words.
        why: String,
    },
    /// Of a session that this node asked for.
    Session(SessionId, SessionEvent),
}

/// What came of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEvent {
    /// The layers are being placed so, as `Ready` will tell. Until then nothing can be submitted, and
    /// no answer comes to what was.
    Placed(Box<Prediction>),
    /// All stages are open: rows from `from` on are to be submitted.
    Ready {
        /// Those before are held. Whatever was submitted from here on is to be submitted again.
        from: u32,
        /// How many rows prefill steps should have.
        prefill_rows: NonZeroU32,
    },
    /// Between `Placed` and `Ready`: a stage waits for weights that come to it from other devices, and
    /// this is how far it says that it is. Each thousandth is told at most once.
    Fetching {
        /// Whose.
        peer: PeerId,
        /// Bytes that have come, at most `total_bytes`.
        received_bytes: u64,
        /// Those, and the bytes that are still missing: at least 1.
        total_bytes: u64,
    },
    /// Rows went through all layers.
    Answered {
        /// Position of the first row.
        start_position: u32,
        /// Hidden states `[rows, d_model]`; none if they were not asked for.
        hidden: Vec<u8>,
    },
    /// Rows of others wait at this stage, too: drafts should not be sent for
    /// [`DRAFTS_PAUSE`](crate::session::DRAFTS_PAUSE).
    Shared {
        /// Whose.
        peer: PeerId,
    },
    /// A stage will leave. The machine places anew by itself: `Placed` and `Ready` follow if there is
    /// another placement, else the session goes on as it is until the stage is gone.
    Leaving {
        /// Whose.
        peer: PeerId,
        /// Why.
        reason: HandOverReason,
        /// How long it stays.
        within: Duration,
    },
    /// A stage failed. The machine places anew by itself (`Placed` and `Ready` follow) or waits.
    Broken {
        /// Whose.
        peer: PeerId,
        /// What is wrong.
        cause: Cause,
    },
    /// No placement is possible now: why, in words. The session is kept, and goes on when one is.
    Waiting(String),
    /// None was possible for as long as the session may wait: why, in words. Nothing comes of it any
    /// more; it is to be finished.
    GivenUp(String),
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

/// Whom a revocation ends the membership of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The device. Whom it admitted stays.
    Alone,
    /// The device and all whom it made members, and whom those did.
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

/// The most sessions that a node asks for at once.
pub const MAX_REQUESTS: usize = 64;
/// How long after a peer's greeting a session that takes the best placement waits for the peer's
/// profile and the way to it, if it was connected when the session began: so whoever asks right after
/// connecting does not stay alone. As long as measuring takes, and some.
pub const PLAN_GRACE: Duration = Duration::from_secs(1);

/// A time as the wire has it.
fn microseconds(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Whether the second is more than a tenth off the first.
fn differ(before: u64, after: u64) -> bool {
    before.abs_diff(after) > before / 10
}
