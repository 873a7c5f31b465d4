//! Ranges of layers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Transformer blocks `first..end`, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(u32, u32)", try_from = "(u32, u32)")]
pub struct LayerRange {
    first: u32,
    end: u32,
}

impl LayerRange {
    /// The layers `first..end`; `None` if that is backwards.
    pub fn new(first: u32, end: u32) -> Option<Self> {
        (first <= end).then_some(Self { first, end })
    }

    /// The first layer.
    pub fn first(self) -> u32 {
        self.first
    }

    /// The layer after the last.
    pub fn end(self) -> u32 {
        self.end
    }

    /// Number of layers.
    pub fn len(self) -> u32 {
        self.end - self.first
    }

    /// Whether all layers of another range are among these.
    pub fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.end <= self.end
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.first == self.end
    }
}

impl From<LayerRange> for (u32, u32) {
    fn from(layers: LayerRange) -> Self {
        (layers.first, layers.end)
    }
}

impl TryFrom<(u32, u32)> for LayerRange {
    type Error = Backwards;

    fn try_from((first, end): (u32, u32)) -> Result<Self, Backwards> {
        Self::new(first, end).ok_or(Backwards)
    }
}

/// A range of layers ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range of layers ends before it begins")]
pub struct Backwards;

impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_half_open_and_never_backwards() {
        let range = LayerRange::new(6, 18).expect("forwards");
        assert_eq!((range.len(), range.to_string()), (12, "6..18".to_owned()));
        assert!(LayerRange::new(6, 6).is_some_and(LayerRange::is_empty));
        assert_eq!(LayerRange::new(7, 6), None);
    }
}
