//! Validation of a ring of stages.

use std::collections::BTreeSet;

use super::{PlaceError, PlacedStage};

/// Checks that the stages are consecutive and on different nodes.
pub(super) fn check(ring: &[PlacedStage]) -> Result<(), PlaceError> {
    let mut layer = ring.first().ok_or(PlaceError::Empty)?.stage.layers.first();
    let mut peers = BTreeSet::new();
    for PlacedStage { stage, .. } in ring {
        if stage.layers.is_empty() || stage.layers.first() != layer {
            return Err(PlaceError::Gap);
        }
        if !peers.insert(stage.peer) {
            return Err(PlaceError::Twice(stage.peer));
        }
        layer = stage.layers.end();
    }
    Ok(())
}
