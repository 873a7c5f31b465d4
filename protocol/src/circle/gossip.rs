//! Gossip messages: a digest of one member's log, and the entries that another lacks.

use super::entry::EntryHash;
use super::log::Log;
use super::past::EntrySet;
use super::{CircleId, LogError, MAX_BATCH_BYTES, MAX_ENTRIES, MAX_LOG_BYTES};
use crate::reader::Reader;

const VERSION: u8 = 1;

/// What a member has of the log: its heads, and some older entries, ever further apart, by which
/// someone who does not know the heads can tell where the two logs part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    circle: CircleId,
    /// Ascending.
    heads: Vec<EntryHash>,
    /// Ascending.
    earlier: Vec<EntryHash>,
}

impl Digest {
    /// The longest digest in bytes: every entry a head.
    pub const MAX_BYTES: usize = 1 + 32 + 2 + 2 + 32 * MAX_ENTRIES;

    pub(super) fn of(circle: CircleId, log: &Log) -> Self {
        let hash = |&place: &usize| log.placed()[place].entry.hash();
        let head_places = log.heads();
        let mut heads: Vec<_> = head_places.iter().map(hash).collect();
        heads.sort_unstable();
        let last = log.placed().len() - 1;
        let steps = (0..usize::BITS).map(|i| 1_usize << i);
        let mut earlier: Vec<_> = steps
            .map_while(|step| last.checked_sub(step))
            .filter(|place| !head_places.contains(place))
            .map(|place| hash(&place))
            .collect();
        earlier.sort_unstable();
        Self {
            circle,
            heads,
            earlier,
        }
    }

    /// The circle that it is of.
    pub fn circle(&self) -> CircleId {
        self.circle
    }

    /// The bytes that travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.circle.as_bytes());
        for hashes in [&self.heads, &self.earlier] {
            let count = u16::try_from(hashes.len()).expect("a log has at most 1,024 entries");
            out.extend_from_slice(&count.to_le_bytes());
            hashes
                .iter()
                .for_each(|hash| out.extend_from_slice(hash.as_bytes()));
        }
        out
    }

    /// Reads the bytes of exactly one digest.
    ///
    /// # Errors
    /// [`LogError`] if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LogError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(LogError::Oversize);
        }
        let mut reader = Reader::new(bytes);
        match reader.u8().ok_or(LogError::Malformed)? {
            VERSION => {}
            0 => return Err(LogError::Malformed),
            newer => return Err(LogError::Newer(newer)),
        }
        let digest = Self::read(&mut reader).ok_or(LogError::Malformed)?;
        if reader.is_empty() && !digest.heads.is_empty() {
            Ok(digest)
        } else {
            Err(LogError::Malformed)
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            circle: CircleId(EntryHash(reader.array()?)),
            heads: read_hashes(reader)?,
            earlier: read_hashes(reader)?,
        })
    }

    /// The places of what its author lacks, ascending; too many rather than too few.
    pub(super) fn lacks<'a>(&self, log: &'a Log) -> impl Iterator<Item = usize> + use<'a> {
        let mut known = EntrySet::default();
        let named = self.heads.iter().chain(&self.earlier);
        for place in named.filter_map(|hash| log.place_of(hash)) {
            known.insert(place);
            known.union_with(&log.placed()[place].past);
        }
        (0..log.placed().len()).filter(move |&place| !known.contains(place))
    }

    /// Whether its author has entries that are not in `log`.
    pub(super) fn knows_more_than(&self, log: &Log) -> bool {
        let mut named = self.heads.iter().chain(&self.earlier);
        named.any(|hash| log.place_of(hash).is_none())
    }
}

fn read_hashes(reader: &mut Reader<'_>) -> Option<Vec<EntryHash>> {
    let count = usize::from(reader.u16()?);
    // Before allocating: the hashes are there.
    if count * 32 > reader.remaining() {
        return None;
    }
    let hashes: Vec<_> = (0..count)
        .map(|_| reader.array().map(EntryHash))
        .collect::<Option<_>>()?;
    hashes.is_sorted_by(|a, b| a < b).then_some(hashes)
}

/// Appends an entry with its length.
pub(super) fn write_entry(out: &mut Vec<u8>, entry: &[u8]) {
    let len = u16::try_from(entry.len()).expect("an entry has at most 2,248 bytes");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(entry);
}

/// Splits entries into batches of at most [`MAX_BATCH_BYTES`], in their order.
pub(super) fn batches(entries: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut batches: Vec<Vec<u8>> = Vec::new();
    for entry in entries {
        match batches.last_mut() {
            Some(batch) if batch.len() + 2 + entry.len() <= MAX_BATCH_BYTES => {
                write_entry(batch, &entry);
            }
            _ => {
                let mut batch = Vec::new();
                write_entry(&mut batch, &entry);
                batches.push(batch);
            }
        }
    }
    batches
}

/// The bytes of each entry of a batch or a log. Nothing of a batch that is cut off is looked at.
pub(super) fn split_entries(bytes: &[u8]) -> Result<Vec<&[u8]>, LogError> {
    if bytes.len() > MAX_LOG_BYTES {
        return Err(LogError::Oversize);
    }
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let len = reader.u16().ok_or(LogError::Malformed)?;
        let entry = reader.take(usize::from(len)).ok_or(LogError::Malformed)?;
        // No entry is shorter than its signature. Else each length of 0 would cost a slice of 16.
        if entry.len() < 64 {
            return Err(LogError::Malformed);
        }
        entries.push(entry);
    }
    Ok(entries)
}
