//! What makes a ring of stages valid.

use std::collections::BTreeSet;

use super::{PlaceError, PlacedStage};

/// Whether these stages follow each other on different nodes.
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
