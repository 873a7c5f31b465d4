//! The fixed header of a frame.

use super::error::FrameError;
use super::shape::Dtype;
use crate::wire::limits::{MAX_PAYLOAD_BYTES, MAX_POSITIONS, MAX_ROWS};
use crate::wire::version::{MAJOR, OtherMajor};
use crate::{Branch, PlanEpoch, SessionId};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;

/// The header of a data frame.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | major version of the protocol |
/// | 1 | 1 | kind: 1 hidden states, 2 done, 3 keep-alive |
/// | 2 | 1 | dtype of the payload: 0 without one, 1 f32; 2 (f16) and 3 (int8 in blocks of 32) set aside |
/// | 3 | 1 | flags: bits 0 and 1 the [`Answer`] of hidden states, all others 0 |
/// | 4 | 8 | session |
/// | 12 | 4 | plan epoch |
/// | 16 | 4 | branch |
/// | 20 | 4 | start position |
/// | 24 | 4 | rows |
/// | 28 | 4 | bytes of the payload, which follows |
///
/// All little-endian. `start position + rows` is at most
/// [`MAX_POSITIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is.
    pub kind: Kind,
    /// The session that it belongs to.
    pub session: SessionId,
    /// The placement that the sender knows.
    pub epoch: PlanEpoch,
    /// The continuation that the rows are of.
    pub branch: Branch,
    /// Position of the first row.
    pub start_position: u32,
    /// How many positions.
    pub rows: u32,
    /// Bytes that follow.
    pub payload_bytes: u32,
}

/// What a frame is.
///
/// There is no frame that ends or truncates: a session ends by a control message, and a start
/// position below what a KV cache holds truncates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hidden states of the rows, at least one, to be computed by the receiver, or to be sampled
    /// from if the receiver is the requester.
    Hidden {
        /// How the values travel.
        dtype: Dtype,
        /// What is to come back.
        answer: Answer,
    },
    /// From the last stage: these rows, at least one, went through all layers, and their hidden
    /// states are not wanted.
    Done,
    /// Nothing new, to show within a step that the way between two neighbours works. The start
    /// position is the sender's next, rows are none.
    KeepAlive,
}

/// What of a step's rows comes back to the requester. Each stage passes it on unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All rows, as to verify drafts.
    AllRows,
    /// The last row alone, as at the end of a prompt. Stages before the last pass all rows on.
    LastRow,
    /// No row but [`Kind::Done`], as for a prompt's earlier rows.
    Done,
    /// Nothing, and nothing to the successor either: the receiver fills its KV caches again from
    /// rows that its successors already have.
    Nothing,
}

impl Answer {
    fn flags(self) -> u8 {
        match self {
            Self::AllRows => 0,
            Self::LastRow => 1,
            Self::Done => 2,
            Self::Nothing => 3,
        }
    }

    fn from_flags(flags: u8) -> Option<Self> {
        [Self::AllRows, Self::LastRow, Self::Done, Self::Nothing]
            .into_iter()
            .find(|answer| answer.flags() == flags)
    }
}

const HIDDEN: u8 = 1;
const DONE: u8 = 2;
const KEEP_ALIVE: u8 = 3;

impl FrameHeader {
    /// The position after the last row's. Does not overflow in a header that a
    /// [`Frame`](super::Frame) or [`decode`](Self::decode) has checked.
    pub fn end_position(&self) -> u32 {
        self.start_position + self.rows
    }

    /// The error of a frame that is not of the shape that its session agreed to.
    pub(crate) fn not_agreed(&self) -> FrameError {
        FrameError::NotAgreed {
            rows: self.rows,
            payload_bytes: self.payload_bytes,
        }
    }

    /// The bytes that travel.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let (kind, dtype, flags) = match self.kind {
            Kind::Hidden { dtype, answer } => (HIDDEN, dtype.number(), answer.flags()),
            Kind::Done => (DONE, 0, 0),
            Kind::KeepAlive => (KEEP_ALIVE, 0, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&[MAJOR, kind, dtype, flags]);
        bytes[4..12].copy_from_slice(&self.session.0.to_le_bytes());
        let rest = [
            self.epoch.0,
            self.branch.0,
            self.start_position,
            self.rows,
            self.payload_bytes,
        ];
        for (bytes, value) in bytes[12..].chunks_exact_mut(4).zip(rest) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Reads a header. It does not check that the payload is what the session agreed to.
    ///
    /// # Errors
    /// [`FrameError`] if it is of another major version, contradicts itself or breaks a limit.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [version, kind, dtype, flags, ..] = *bytes;
        if version != MAJOR {
            return Err(FrameError::OtherMajor(OtherMajor {
                theirs: version.into(),
                software: String::new(),
            }));
        }
        let (words, _) = bytes[4..].as_chunks::<4>();
        let word = |i: usize| u32::from_le_bytes(words[i]);
        let header = Self {
            kind: read_kind(kind, dtype, flags)?,
            session: SessionId(u64::from(word(0)) | u64::from(word(1)) << 32),
            epoch: PlanEpoch(word(2)),
            branch: Branch(word(3)),
            start_position: word(4),
            rows: word(5),
            payload_bytes: word(6),
        };
        header.check()?;
        Ok(header)
    }

    /// What every header must be, whatever its session agreed to.
    pub(super) fn check(&self) -> Result<(), FrameError> {
        let rows = match self.kind {
            Kind::Hidden { .. } | Kind::Done => 1..=MAX_ROWS,
            Kind::KeepAlive => 0..=0,
        };
        if !rows.contains(&self.rows) {
            return Err(FrameError::Rows(self.rows));
        }
        let end = self.start_position.checked_add(self.rows);
        if end.is_none_or(|end| end > MAX_POSITIONS) {
            return Err(FrameError::Positions);
        }
        let bytes = self.payload_bytes;
        let possible = match self.kind {
            Kind::Hidden { .. } => bytes > 0 && bytes.is_multiple_of(self.rows),
            Kind::Done | Kind::KeepAlive => bytes == 0,
        };
        if !possible || bytes > MAX_PAYLOAD_BYTES {
            return Err(FrameError::Length(bytes));
        }
        Ok(())
    }
}

fn read_kind(kind: u8, dtype: u8, flags: u8) -> Result<Kind, FrameError> {
    let plain = match kind {
        HIDDEN => {
            return Ok(Kind::Hidden {
                dtype: Dtype::from_number(dtype).ok_or(FrameError::Dtype(dtype))?,
                answer: Answer::from_flags(flags).ok_or(FrameError::Flags(flags))?,
            });
        }
        DONE => Kind::Done,
        KEEP_ALIVE => Kind::KeepAlive,
        unknown => return Err(FrameError::Kind(unknown)),
    };
    if dtype != 0 {
        return Err(FrameError::Dtype(dtype));
    }
    if flags != 0 {
        return Err(FrameError::Flags(flags));
    }
    Ok(plain)
}
