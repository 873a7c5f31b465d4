//! Options of a plan: objective, context and headroom.

use std::num::NonZeroU32;

/// What to make as small as possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// The time of a step: all stages and hops, one after the other. One conversation's speed.
    #[default]
    Latency,
    /// The time of the slowest stage or hop, which is the pace of a pipeline that many
    /// conversations keep full; among equals, the time of a step.
    Throughput,
    /// The energy of a step on all devices together.
    Energy,
}

/// What a placement is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacementOptions {
    /// What to make as small as possible.
    pub objective: Objective,
    /// Memory to leave free on every device, in percent of what is placed there.
    pub headroom_percent: u32,
    /// Positions to reserve KV caches for, of all sessions together.
    pub context: u32,
    /// Positions before those of the step whose time is predicted; more make attention slower.
    pub positions: u32,
    /// Rows of a step: 1 in decode, more with a draft or with sessions stepped together.
    pub rows_per_step: NonZeroU32,
}

impl Default for PlacementOptions {
    /// Decode of one conversation in the middle of 2,048 positions, and 20 % headroom.
    fn default() -> Self {
        Self {
            objective: Objective::Latency,
            headroom_percent: 20,
            context: 2_048,
            positions: 1_024,
            rows_per_step: NonZeroU32::MIN,
        }
    }
}
