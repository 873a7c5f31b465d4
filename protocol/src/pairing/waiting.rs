//! Those who opened a pairing stream and have not said anything whole.
//!
//! Anybody on the network can open a stream, and it proves nothing. So a stranger is served only when its
//! first message is there: until then it holds no more than a place among [`MOST_WAITING`], for
//! [`FIRST_WITHIN`], and its going costs no try.

use std::collections::BTreeMap;
use std::time::Duration;

use super::frame::{Frame, FrameReader, MAX_HANDSHAKE_FRAME};
use crate::PeerId;

/// How long a stranger has for its first message, which a joiner sends with the stream.
pub const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// Strangers that wait at once; one more takes the place of the oldest.
pub const MOST_WAITING: usize = 8;

/// The strangers.
#[derive(Debug, Default)]
pub(crate) struct Waiting(BTreeMap<PeerId, Stranger>);

#[derive(Debug)]
struct Stranger {
    until: Duration,
    ephemeral: [u8; 32],
    frames: FrameReader,
    /// All that it said: at most one frame, and what came behind it.
    said: Vec<u8>,
}

/// What a stranger's bytes were.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Not a whole message yet, or nobody who waits.
    Waits,
    /// A whole message: to be tried, with the random bytes of its stream.
    Whole { ephemeral: [u8; 32], bytes: Vec<u8> },
    /// Nothing that a joiner says first.
    Nonsense,
}

impl Waiting {
    /// A stranger opened a stream; who lost its place to it.
    pub(crate) fn open(
        &mut self,
        now: Duration,
        peer: PeerId,
        ephemeral: [u8; 32],
    ) -> Option<PeerId> {
        let full = self.0.len() >= MOST_WAITING && !self.0.contains_key(&peer);
        let oldest = self.0.iter().min_by_key(|(_, stranger)| stranger.until);
        let oldest = oldest.map(|(peer, _)| *peer).filter(|_| full);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
        let stranger = Stranger {
            until: now.saturating_add(FIRST_WITHIN),
            ephemeral,
            frames: FrameReader::default(),
            said: Vec::new(),
        };
        self.0.insert(peer, stranger);
        oldest
    }

    pub(crate) fn contains(&self, peer: PeerId) -> bool {
        self.0.contains_key(&peer)
    }

    /// Bytes of a stranger came. Unless it still waits, it does not any more.
    pub(crate) fn take(&mut self, peer: PeerId, bytes: &[u8]) -> First {
        let Some(stranger) = self.0.get_mut(&peer) else {
            return First::Waits;
        };
        let mut rest = bytes;
        let read = stranger.frames.read(&mut rest, MAX_HANDSHAKE_FRAME);
        let first = match read {
            Ok(None) => {
                stranger.said.extend_from_slice(bytes);
                return First::Waits;
            }
            Ok(Some(Frame::Noise(_))) => {
                let mut said = std::mem::take(&mut stranger.said);
                said.extend_from_slice(bytes);
                First::Whole {
                    ephemeral: stranger.ephemeral,
                    bytes: said,
                }
            }
            Ok(Some(Frame::Refusal(_))) | Err(_) => First::Nonsense,
        };
        self.0.remove(&peer);
        first
    }

    /// A stranger is gone; whether it waited.
    pub(crate) fn close(&mut self, peer: PeerId) -> bool {
        self.0.remove(&peer).is_some()
    }

    /// Those whose time is over.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<PeerId> {
        let late = self.0.extract_if(.., |_, stranger| stranger.until <= now);
        late.map(|(peer, _)| peer).collect()
    }

    /// When the next one's time is over.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.0.values().map(|stranger| stranger.until).min()
    }

    /// All, as nobody can pair any more.
    pub(crate) fn end(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}
