//! The weights stream of one connection, and the requests under way on it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::reader::take_up_to;
use crate::wire::{
    ContentHash, Control, ControlError, ControlReader, Hello, Received, ShardHeader, ShardRefused,
    ShardRequest,
};

/// What of a connection is about weights.
#[derive(Debug, Default)]
pub(super) struct Channel {
    reader: ControlReader,
    /// The piece that is arriving.
    arriving: Option<Arriving>,
    /// What the peer was asked for and has not answered.
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Since when nothing came of it, though it owes something.
    pub(super) silent_since: Option<Duration>,
    /// Whether that is too long.
    pub(super) stalled: bool,
    /// It said that it has too many transfers: it is left alone until then.
    pub(super) busy_until: Duration,
    /// Pieces that are read for it.
    pub(super) reading: usize,
    /// Whether this node has greeted on its own stream.
    pub(super) greeted: bool,
}

/// What a peer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) manifest: ContentHash,
    pub(super) what: What,
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Bytes of the manifest, from here on.
    Manifest { first: u64 },
    /// A piece of an object.
    Piece { content: ContentHash, piece: u32 },
}

impl Asked {
    /// What the bytes are of.
    pub(super) fn content(&self) -> ContentHash {
        match self.what {
            What::Manifest { .. } => self.manifest,
            What::Piece { content, .. } => content,
        }
    }
}

#[derive(Debug)]
struct Arriving {
    asked: Asked,
    /// INVARIANT: no longer than what was asked for, which is at most `MAX_PIECE_BYTES`.
    bytes: Vec<u8>,
}

/// What came on a stream.
#[derive(Debug)]
pub(super) enum Came {
    /// A request.
    Request(ShardRequest),
    /// What was asked for.
    Bytes(Asked, Vec<u8>),
    /// It does not come.
    Refused(Asked, ShardRefused),
    /// The peer talks no more: why.
    Over(String),
}

/// Why a stream for weights is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// It is no stream of control messages.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Bytes that were not asked for.
    #[error("weights that were not asked for: the peer is faulty, drop it")]
    Unasked,
    /// It refused to go on: why.
    #[error("it refused: {0}")]
    Refused(String),
}

impl Channel {
    /// Takes bytes from the front of `input` until something came; `None` once `input` is empty.
    pub(super) fn read(
        &mut self,
        now: Duration,
        input: &mut &[u8],
    ) -> Result<Option<Came>, ChannelError> {
        loop {
            if let Some(arriving) = &mut self.arriving {
                let left = arriving.asked.bytes - arriving.bytes.len() as u64;
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                arriving.bytes.extend_from_slice(take_up_to(input, left));
                if (arriving.bytes.len() as u64) < arriving.asked.bytes {
                    return Ok(None);
                }
                let arrived = self.arriving.take();
                self.heard(now);
                return Ok(arrived.map(|arrived| Came::Bytes(arrived.asked, arrived.bytes)));
            }
            let came = match self.reader.read(input)? {
                None => return Ok(None),
                Some(Received::Unknown) => None,
                Some(Received::Message(message)) => self.receive(now, message)?,
            };
            if came.is_some() {
                return Ok(came);
            }
        }
    }

    fn receive(&mut self, now: Duration, message: Control) -> Result<Option<Came>, ChannelError> {
        Ok(match message {
            Control::ShardRequest(request) => Some(Came::Request(request)),
            Control::ShardHeader(ShardHeader { id, bytes }) => {
                let asked = self.asked.remove(&id);
                let asked = asked.filter(|asked| asked.bytes == bytes);
                let asked = asked.ok_or(ChannelError::Unasked)?;
                // Bounded by what this node asked for.
                let length = usize::try_from(bytes).map_err(|_| ChannelError::Unasked)?;
                self.arriving = Some(Arriving {
                    asked,
                    bytes: Vec::with_capacity(length),
                });
                None
            }
            Control::ShardRefused(refused) => {
                let asked = self.asked.remove(&refused.id);
                let asked = asked.ok_or(ChannelError::Unasked)?;
                self.heard(now);
                Some(Came::Refused(asked, refused))
            }
            Control::Refuse(refuse) => Some(Came::Over(refuse.words)),
            // The greeting; and what belongs on the other stream is nothing here.
            _ => None,
        })
    }

    /// Anything came.
    pub(super) fn heard(&mut self, now: Duration) {
        self.stalled = false;
        self.silent_since = self.owes().then_some(now);
    }

    /// The peer is asked for something.
    pub(super) fn ask(&mut self, now: Duration, id: u64, asked: Asked) {
        self.asked.insert(id, asked);
        self.silent_since.get_or_insert(now);
    }

    /// Whether something is to come of it.
    pub(super) fn owes(&self) -> bool {
        !self.asked.is_empty() || self.arriving.is_some()
    }

    /// How many pieces are on their way, or asked for.
    pub(super) fn under_way(&self) -> usize {
        self.asked.len() + usize::from(self.arriving.is_some())
    }

    /// Messages, and bytes behind them, as they go on this node's stream.
    pub(super) fn write(&mut self, hello: &Hello, message: impl Into<Control>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        if !self.greeted {
            Control::from(hello.clone()).encode(&mut bytes).ok()?;
        }
        message.into().encode(&mut bytes).ok()?;
        self.greeted = true;
        Some(bytes)
    }
}
