//! What is told and sent of a model, whoever keeps it.

use potluck_protocol::LayerRange;
use potluck_protocol::wire::ByteRange;
use potluck_protocol::wire::limits::{MAX_LAYERS, MAX_RANGES};

/// Ascending numbers as ranges, as many as an offer may have.
pub(super) fn ranges(layers: impl Iterator<Item = u32>) -> Vec<LayerRange> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for layer in layers.filter(|layer| *layer < MAX_LAYERS) {
        match ranges.last_mut() {
            Some((_, end)) if *end == layer => *end += 1,
            _ => ranges.push((layer, layer + 1)),
        }
    }
    ranges.truncate(MAX_RANGES);
    let ranges = ranges.into_iter();
    ranges
        .filter_map(|(first, end)| LayerRange::new(first, end))
        .collect()
}

/// These of the bytes, if there are as many.
pub(super) fn cut(bytes: &[u8], range: ByteRange) -> Option<Vec<u8>> {
    let first = usize::try_from(range.first()).ok()?;
    let end = usize::try_from(range.end()).ok()?;
    bytes.get(first..end).map(<[u8]>::to_vec)
}
