//! Memo of layer outputs, keyed by a hash chain of inputs.

use potluck_protocol::LayerRange;

use super::{MemoryBudget, Reservation};

/// The inputs and outputs of layers, for every position of a sequence in their caches.
///
/// The output of layers at a position is a pure function of the inputs at this position and all
/// before. When a requester sends rows again, as after it lost another stage of its pipeline, it
/// gets the earlier outputs without computation. When a device gets additional layers, the layers
/// it already has continue from their caches.
#[derive(Debug)]
pub(super) struct Recall {
    layers: LayerRange,
    row_bytes: usize,
    /// For each position, a digest of the inputs there and before.
    inputs: Vec<blake3::Hash>,
    /// `[positions, d_model]`.
    outputs: Vec<u8>,
    _memory: Reservation,
}

impl Recall {
    /// An empty memo for up to `context` positions; `None` if there is not enough spare memory.
    pub(super) fn new(
        layers: LayerRange,
        row_bytes: usize,
        context: u32,
        memory: &MemoryBudget,
    ) -> Option<Self> {
        let row = row_bytes + size_of::<blake3::Hash>();
        let memory = memory.reserve_spare(u64::from(context) * row as u64)?;
        Some(Self {
            layers,
            row_bytes,
            inputs: Vec::new(),
            outputs: Vec::new(),
            _memory: memory,
        })
    }

    pub(super) fn layers(&self) -> LayerRange {
        self.layers
    }

    /// The number of known positions.
    pub(super) fn end(&self) -> usize {
        self.inputs.len()
    }

    /// The outputs for these rows from position `start` on, if these inputs and all before are the
    /// known ones.
    pub(super) fn of(&self, start: usize, rows: &[u8]) -> Option<&[u8]> {
        let count = rows.len() / self.row_bytes;
        let known = self.inputs.get(start..start + count)?;
        let digests = self.digests(start, rows)?;
        let same = digests.zip(known).all(|(now, before)| now == *before);
        let bytes = start * self.row_bytes..(start + count) * self.row_bytes;
        same.then(|| self.outputs.get(bytes)).flatten()
    }

    /// Records inputs and outputs from position `start` on, replacing all that was known from
    /// there.
    pub(super) fn learn(&mut self, start: usize, rows: &[u8], out: &[u8]) {
        let digests: Vec<_> = self.digests(start, rows).into_iter().flatten().collect();
        self.forget(start);
        // Rows after a gap cannot be verified later, so skip them.
        if self.inputs.len() == start && rows.len() == out.len() {
            self.inputs.extend(digests);
            self.outputs.extend_from_slice(out);
        }
    }

    /// Forgets positions from `start` on.
    pub(super) fn forget(&mut self, start: usize) {
        self.inputs.truncate(start);
        self.outputs.truncate(start.saturating_mul(self.row_bytes));
    }

    /// The digests of rows from position `start` on; `None` if the position before is not known.
    fn digests<'a>(
        &self,
        start: usize,
        rows: &'a [u8],
    ) -> Option<impl Iterator<Item = blake3::Hash> + use<'a>> {
        let before = match start.checked_sub(1) {
            Some(before) => *self.inputs.get(before)?,
            None => blake3::Hash::from_bytes([0; blake3::OUT_LEN]),
        };
        let rows = rows.chunks_exact(self.row_bytes);
        Some(rows.scan(before, |before, row| {
            *before = blake3::keyed_hash(before.as_bytes(), row);
            Some(*before)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recall() -> Recall {
        let layers = LayerRange::new(2, 5).expect("forwards");
        let recall = Recall::new(layers, 4, 100, &MemoryBudget::new(None));
        let mut recall = recall.expect("there is room");
        recall.learn(0, b"aaaabbbbcccc", b"AAAABBBBCCCC");
        recall
    }

    #[test]
    fn rows_that_went_in_are_known() {
        let recall = recall();
        assert_eq!(recall.of(0, b"aaaabbbbcccc"), Some(&b"AAAABBBBCCCC"[..]));
        assert_eq!(recall.of(1, b"bbbb"), Some(&b"BBBB"[..]));
        assert_eq!(recall.of(2, b"ccccdddd"), None, "one of them is new");
        assert_eq!(recall.of(3, b"dddd"), None);
        assert_eq!(recall.of(7, b"dddd"), None);
        assert_eq!(recall.of(1, b"cccc"), None, "at another position");
    }

    #[test]
    fn another_row_makes_all_behind_it_unknown() {
        let mut recall = recall();
        recall.learn(1, b"xxxx", b"XXXX");
        assert_eq!(recall.end(), 2);
        assert_eq!(recall.of(1, b"bbbb"), None);
        recall.learn(2, b"cccc", b"QQQQ");
        assert_eq!(recall.of(0, b"aaaaxxxxcccc"), Some(&b"AAAAXXXXQQQQ"[..]));
        assert_eq!(recall.of(2, b"cccc"), Some(&b"QQQQ"[..]));
    }

    #[test]
    fn rows_behind_a_gap_are_not_kept() {
        let mut recall = recall();
        recall.learn(5, b"eeee", b"EEEE");
        assert_eq!(recall.end(), 3);
        recall.learn(2, b"cccc", b"");
        assert_eq!(recall.end(), 2, "it could not be computed");
    }

    #[test]
    fn it_takes_no_room_that_others_may_need() {
        let layers = LayerRange::new(0, 1).expect("forwards");
        let budget = MemoryBudget::new(Some(10_000));
        let of = |context| Recall::new(layers, 68, context, &budget);
        assert!(of(100).is_none());
        assert!(of(80).is_some());
    }
}
