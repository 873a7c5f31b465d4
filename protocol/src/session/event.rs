//! Events of a session for its requester.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PeerId;
use crate::placement::Prediction;
use crate::wire::{HandOverReason, StageRefusedCode};

/// An event of a session.
///
/// All code from the session to the screen uses this type: the session and its
/// [`machine`](crate::machine) create events, drivers pass them on, and only the user interface
/// turns them into text. Between two processes they are serialised as they are, except for hidden
/// states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// A placement is being set up, as `Ready` will confirm. Until then nothing can be submitted,
    /// and no more answers to submitted rows will arrive.
    Placed(Box<Prediction>),
    /// All stages are open: submit rows from `from` on.
    Ready {
        /// The stages hold the rows before. All rows submitted from here on must be submitted
        /// again.
        from: u32,
        /// Recommended number of rows per prefill step.
        prefill_rows: NonZeroU32,
    },
    /// Between `Placed` and `Ready`: a stage fetches weights from other nodes and reports its
    /// progress. Each thousandth is reported at most once.
    Fetching {
        /// The stage's peer.
        peer: PeerId,
        /// Received bytes, at most `total_bytes`.
        received_bytes: u64,
        /// Received and missing bytes: at least 1.
        total_bytes: u64,
    },
    /// The answer to rows that passed through all layers.
    Answered {
        /// Position of the first row.
        start_position: u32,
        /// Hidden states `[rows, d_model]`; empty if they were not requested. Too large for text:
        /// code that serialises an event [takes them out](SessionEvent::take_hidden) and sends them
        /// separately.
        #[serde(skip)]
        hidden: Vec<u8>,
    },
    /// Positions were [rolled back](super::Session::roll_back). Answers before this event may
    /// belong to them, answers after it do not.
    RolledBack,
    /// Rows of other sessions also wait at this stage: do not send drafts for
    /// [`DRAFTS_PAUSE`](super::DRAFTS_PAUSE). Reported at most every
    /// [`SHARED_EVERY`](crate::stage::SHARED_EVERY), however often stages send it.
    Shared {
        /// The stage's peer.
        peer: PeerId,
    },
    /// A stage will leave, but works until then. The machine searches for another placement by
    /// itself: `Placed` and `Ready` follow if there is one, otherwise the session continues until
    /// the stage is gone.
    Leaving {
        /// The stage's peer.
        peer: PeerId,
        /// The reason.
        reason: HandOverReason,
        /// How long it stays.
        within: Duration,
    },
    /// A stage failed. The machine places the layers again by itself (`Placed` and `Ready` follow)
    /// or waits.
    Broken {
        /// The stage's peer.
        peer: PeerId,
        /// The cause.
        cause: Cause,
    },
    /// No placement is possible now, for this reason. The session is kept, and continues when one
    /// is.
    Waiting(String),
    /// No placement was possible for as long as the session may wait, for this reason. The session
    /// will not continue; finish it.
    GivenUp(String),
}

impl SessionEvent {
    /// Takes the hidden states out of an answer, so that they can be sent apart from the serialised
    /// event; empty for other events.
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

    /// Puts the hidden states back into an answer; other events stay unchanged.
    pub fn with_hidden(mut self, came: Vec<u8>) -> Self {
        if let Self::Answered { hidden, .. } = &mut self {
            *hidden = came;
        }
        self
    }
}

/// Why a pipeline failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing was heard for this long, which is at least [`FAIL_AFTER`](super::FAIL_AFTER).
    #[error("nothing was heard of it for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The connection to it ended.
    #[error("the connection to it ended")]
    Disconnected,
    /// It cannot be a stage, or no longer.
    #[error("it refused: {words}")]
    Refused {
        /// The reason, for programs.
        code: StageRefusedCode,
        /// The reason, in the peer's words.
        words: String,
        /// The bytes that it has available.
        available_bytes: u64,
    },
    /// It no longer has the session: it was idle for too long, or restarted.
    #[error("it does not have the session any more")]
    Forgotten,
    /// Its answer was not the expected one.
    #[error("it answered what was not asked")]
    Faulty,
    /// It sent hidden states that are not numbers.
    #[error("it sent values that are not numbers")]
    NotFinite,
    /// It reported work without progress for this long.
    #[error("it says that it works, and came no further for {} s", .0.as_secs())]
    Stuck(Duration),
    /// Rows on their way to it were lost.
    #[error("rows on the way to it were lost")]
    RowsLost,
}
