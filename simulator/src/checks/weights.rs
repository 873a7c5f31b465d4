//! No stage runs with weights that were not checked and kept. A device that lacks weights receives those of
//! the layers that it was asked to hold, each piece once.

use super::Finding;

const NAME: &str = "weights";

/// A piece of weights that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CameOf {
    /// Whether its device was ever asked to hold the layer.
    pub(crate) asked: bool,
    /// Whether it had kept the piece before.
    pub(crate) again: bool,
}

pub(super) fn came(host: u32, of: CameOf) -> Option<Finding> {
    let words = match of {
        CameOf { asked: false, .. } => "weights came that it was never asked to hold",
        CameOf { again: true, .. } => "weights came that it has",
        CameOf { .. } => return None,
    };
    Some(Finding::of_device(NAME, host, words.to_owned()))
}

pub(super) fn too_little(host: u32) -> Finding {
    let words = "it takes weights for fetched that are not there".to_owned();
    Finding::of_device(NAME, host, words)
}

pub(super) fn wrong(host: u32, wrong: u64) -> Finding {
    let words = format!("{wrong} wrong pieces came in one fetch: it asks on whoever sends them");
    Finding::of_device(NAME, host, words)
}

pub(super) fn stage_lacks(host: u32) -> Finding {
    let words = "its stage is ready without weights that were checked".to_owned();
    Finding::of_device(NAME, host, words)
}
