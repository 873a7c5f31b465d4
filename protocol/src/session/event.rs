//! Events of a session, for its requester.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PeerId;
use crate::placement::Prediction;
use crate::wire::{HandOverReason, StageRefusedCode};

/// What came of a session.
///
/// This is the one type of it from the session to the screen: the session and its
/// [`machine`](crate::machine) make events, drivers hand them on, and only who shows them puts them
/// into words. Between two processes they are serialised as they are, hidden states apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Between `Placed` and `Ready`: a stage waits for weights that other nodes send it, and this is
    /// how far it says that it is. Each thousandth is told at most once.
    Fetching {
        /// Whose.
        peer: PeerId,
        /// Bytes that have come, at most `total_bytes`.
        received_bytes: u64,
        /// Those, and the bytes that are still missing: at least 1.
        total_bytes: u64,
    },
    /// Rows went through all layers, and these came back.
    Answered {
        /// Position of the first row.
        start_position: u32,
        /// Hidden states `[rows, d_model]`; none if they were not asked for. They are too large for
        /// text: who serialises an event [takes them out](SessionEvent::take_hidden) and sends them
        /// beside it.
        #[serde(skip)]
        hidden: Vec<u8>,
    },
    /// Positions were [rolled back](super::Session::roll_back): answers before this event may
    /// be of them, those after it are not.
    RolledBack,
    /// Rows of others wait at this stage, too: drafts should not be sent for
    /// [`DRAFTS_PAUSE`](super::DRAFTS_PAUSE). Told at most every
    /// [`SHARED_EVERY`](crate::stage::SHARED_EVERY), whatever stages say.
    Shared {
        /// Whose.
        peer: PeerId,
    },
    /// A stage will leave; it works until then. The machine places anew by itself: `Placed` and
    /// `Ready` follow if there is another placement, else the session goes on as it is until the stage
    /// is gone.
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

impl SessionEvent {
    /// Takes the hidden states out of an answer, for who sends them beside the serialised event; none
    /// of other events.
    pub fn take_hidden(&mut self) -> Vec<u8> {
        match self {
            Self::Answered { hidden, .. } => std::mem::take(hidden),
            Self::Placed(_)
            | Self::Ready { .. }
            | Self::Fetching { .. }
            | Self::RolledBack
            | Self::Shared { .. }
            | Self::Leaving { .. }
            | Self::Broken { .. }
            | Self::Waiting(_)
            | Self::GivenUp(_) => Vec::new(),
        }
    }

    /// The event with the hidden states that were taken out of it; other events than answers stay as
    /// they are.
    pub fn with_hidden(mut self, came: Vec<u8>) -> Self {
        if let Self::Answered { hidden, .. } = &mut self {
            *hidden = came;
        }
        self
    }
}

/// Why a pipeline does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing was heard for so long, which is at least [`FAIL_AFTER`](super::FAIL_AFTER).
    #[error("nothing was heard of it for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The connection to it ended.
    #[error("the connection to it ended")]
    Disconnected,
    /// It said that it cannot be a stage, or not any longer.
    #[error("it refused: {words}")]
    Refused {
        /// Why.
        code: StageRefusedCode,
        /// In its words.
        words: String,
        /// What it has room for, in bytes.
        available_bytes: u64,
    },
    /// It says that it does not have the session: it was idle for too long, or began anew.
    #[error("it does not have the session any more")]
    Forgotten,
    /// Its answer was not the one that was due.
    #[error("it answered what was not asked")]
    Faulty,
    /// It sent hidden states that are not numbers.
    #[error("it sent values that are not numbers")]
    NotFinite,
    /// It says that it works, and came no further for so long.
    #[error("it says that it works, and came no further for {} s", .0.as_secs())]
    Stuck(Duration),
    /// Rows on their way to it were lost.
    #[error("rows on the way to it were lost")]
    RowsLost,
}
