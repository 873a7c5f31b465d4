//! The step that is being computed.

use std::time::Duration;

use crate::{PlanEpoch, StageId};

/// A step that is being computed.
#[derive(Debug)]
pub(super) struct Computing {
    pub(super) number: u64,
    pub(super) begun_at: Duration,
    pub(super) parts: Vec<Part>,
}

/// The stages whose rows it has, and how many rows.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: StageId,
    pub(super) epoch: PlanEpoch,
    pub(super) rows: u32,
}
