//! Rows that wait for their answer.

use crate::Branch;
use crate::wire::{Answer, FrameHeader, Kind};

/// Submitted rows without an answer yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    pub(super) branch: Branch,
    pub(super) start_position: u32,
    pub(super) rows: u32,
    pub(super) answer: Answer,
}

impl Awaited {
    /// Whether a header belongs to the expected answer.
    pub(super) fn is(&self, header: &FrameHeader) -> bool {
        let last = self.start_position + self.rows - 1;
        let (start, rows, hidden) = match self.answer {
            Answer::AllRows => (self.start_position, self.rows, true),
            Answer::LastRow => (last, 1, true),
            Answer::Done | Answer::Nothing => (self.start_position, self.rows, false),
        };
        let kind = match header.kind {
            Kind::Hidden { .. } => hidden,
            Kind::Done => !hidden,
            Kind::KeepAlive => false,
        };
        kind && (header.branch, header.start_position, header.rows) == (self.branch, start, rows)
    }
}
