//! What a stage holds of a session: the question and the answer.

use std::ops::Range;

use super::proto;
use crate::wire::check::{Checked, Malformed, Problem, layers, positions};
use crate::{LayerRange, PlanEpoch, SessionId};

/// From the requester: what do you have of this session?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionQuery {
    /// The requester's session.
    pub session: SessionId,
}

impl From<&SessionQuery> for proto::SessionQuery {
    fn from(query: &SessionQuery) -> Self {
        Self {
            session: query.session.0,
        }
    }
}

impl TryFrom<proto::SessionQuery> for SessionQuery {
    type Error = Malformed;

    fn try_from(query: proto::SessionQuery) -> Checked<Self> {
        Ok(Self {
            session: SessionId(query.session),
        })
    }
}

/// What a stage has of a session; no layers and no positions if nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// The requester's session.
    pub session: SessionId,
    /// The highest epoch seen.
    pub epoch: PlanEpoch,
    /// The stage's layers.
    pub layers: LayerRange,
    /// The KV caches hold the positions before this.
    pub held_positions: u32,
    /// The rows that it can send to its successor again.
    pub logged: Range<u32>,
}

impl From<&SessionState> for proto::SessionState {
    fn from(state: &SessionState) -> Self {
        Self {
            session: state.session.0,
            epoch: state.epoch.0,
            first_layer: state.layers.first(),
            end_layer: state.layers.end(),
            held_positions: state.held_positions,
            first_logged: state.logged.start,
            end_logged: state.logged.end,
        }
    }
}

impl TryFrom<proto::SessionState> for SessionState {
    type Error = Malformed;

    fn try_from(state: proto::SessionState) -> Checked<Self> {
        const LOGGED: &str = "SessionState.end_logged";
        const LAYERS: &str = "SessionState.end_layer";
        positions(LOGGED, state.end_logged)?;
        if state.first_logged > state.end_logged {
            return Err(Problem::Order.of(LOGGED));
        }
        Ok(Self {
            session: SessionId(state.session),
            epoch: PlanEpoch(state.epoch),
            layers: layers(LAYERS, state.first_layer, state.end_layer)?,
            held_positions: positions("SessionState.held_positions", state.held_positions)?,
            logged: state.first_logged..state.end_logged,
        })
    }
}
