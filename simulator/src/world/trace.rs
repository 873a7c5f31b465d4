//! The trace of a run: a hash of everything that happened, and in words the events of one session that
//! somebody looks at.

use potluck_protocol::made_up::mix;

use crate::network::Piece;

/// Bytes of a piece that are hashed, beside its length: a frame's header and its first row.
const HASHED: usize = 48;

#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    /// The session that is looked at.
    session: Option<usize>,
    lines: Vec<String>,
}

impl Trace {
    pub(super) fn new(session: Option<usize>) -> Self {
        Self {
            hash: 0x706F_746C_7563_6B00,
            session,
            lines: Vec::new(),
        }
    }

    /// Something of a kind happened, with these numbers.
    pub(super) fn event(&mut self, now: u64, kind: u64, of: u64) {
        self.hash = mix(mix(self.hash, now), (kind << 56) ^ of);
    }

    /// These bytes arrived.
    pub(super) fn bytes(&mut self, piece: &Piece) {
        let head = &piece.bytes[..piece.bytes.len().min(HASHED)];
        let (words, rest) = head.as_chunks::<8>();
        let mut hash = mix(self.hash, piece.bytes.len() as u64);
        for word in words {
            hash = mix(hash, u64::from_le_bytes(*word));
        }
        let rest = rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.hash = mix(hash, rest);
    }

    /// A line about a session, if it is the one.
    pub(super) fn line(&mut self, now: u64, session: usize, words: impl FnOnce() -> String) {
        if self.session == Some(session) {
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            self.lines
                .push(format!("{seconds}.{micros:06} {}", words()));
        }
    }

    pub(super) fn finish(&mut self) -> (String, Vec<String>) {
        (
            format!("{:016x}", self.hash),
            std::mem::take(&mut self.lines),
        )
    }
}
