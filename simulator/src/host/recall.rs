//! Rows whose way through layers is known.
//!
//! As in a real node: what comes out of layers at a position is a function of what went into them
//! there and before, so rows that come again, as when another stage of the pipeline was lost, are
//! not computed again; and layers that stay on a device when others join them go on with what their
//! caches hold.

use potluck_protocol::LayerRange;

use super::arithmetic::mix;

/// A digest of each position, beside the row that is kept.
pub(super) const DIGEST_BYTES: u64 = 32;

/// What went into layers and what came out, for the first positions of a sequence.
#[derive(Debug)]
pub(super) struct Recall {
    layers: LayerRange,
    bytes: u64,
    /// For each position a digest of what went in there and before.
    inputs: Vec<u64>,
    outputs: Vec<u64>,
}

impl Recall {
    /// Nothing yet, of these layers; `bytes` are reserved for it.
    pub(super) fn new(layers: LayerRange, bytes: u64) -> Self {
        Self {
            layers,
            bytes,
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    pub(super) fn layers(&self) -> LayerRange {
        self.layers
    }

    /// Bytes reserved.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The positions before this one are known.
    pub(super) fn end(&self) -> usize {
        self.inputs.len()
    }

    /// What comes out for these words, from position `start` on, if they and all before are those
    /// that went in.
    pub(super) fn of(&self, start: usize, words: &[u64]) -> Option<&[u64]> {
        let range = start..start + words.len();
        let known = self.inputs.get(range.clone())?;
        let digests = self.digests(start, words)?;
        let same = digests.zip(known).all(|(now, before)| now == *before);
        same.then(|| &self.outputs[range])
    }

    /// These words went in from position `start` on, and these came out.
    pub(super) fn learn(&mut self, start: usize, words: &[u64], out: &[u64]) {
        let digests: Vec<_> = self.digests(start, words).into_iter().flatten().collect();
        self.forget(start);
        if self.inputs.len() == start {
            self.inputs.extend(digests);
            self.outputs.extend_from_slice(out);
        }
    }

    /// Nothing is known of positions from `start` on.
    pub(super) fn forget(&mut self, start: usize) {
        self.inputs.truncate(start);
        self.outputs.truncate(start);
    }

    fn digests<'a>(
        &self,
        start: usize,
        words: &'a [u64],
    ) -> Option<impl Iterator<Item = u64> + use<'a>> {
        let before = match start.checked_sub(1) {
            Some(before) => *self.inputs.get(before)?,
            None => 0,
        };
        Some(words.iter().scan(before, |before, word| {
            *before = mix(*before, *word);
            Some(*before)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_went_in_are_known() {
        let layers = LayerRange::new(2, 5).expect("forwards");
        let mut recall = Recall::new(layers, 0);
        recall.learn(0, &[1, 2, 3], &[10, 20, 30]);
        assert_eq!(recall.of(1, &[2, 3]), Some(&[20, 30][..]));
        assert_eq!(recall.of(2, &[3, 4]), None, "one of them is new");
        assert_eq!(recall.of(1, &[3]), None, "at another position");
        recall.learn(1, &[7], &[70]);
        assert_eq!((recall.end(), recall.of(0, &[1, 2])), (2, None));
        assert_eq!(recall.of(0, &[1, 7]), Some(&[10, 70][..]));
        recall.learn(5, &[9], &[90]);
        assert_eq!(recall.end(), 2, "rows behind a gap are not kept");
    }
}
