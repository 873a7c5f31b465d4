//! A manifest as bytes.

use potluck_protocol::wire::ByteRange;
use potluck_protocol::wire::limits::{MAX_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES};

use super::{Manifest, Object, bytes_of, pieces_of};

const MAGIC: [u8; 16] = *b"potluck-manifest";
const VERSION: u32 = 1;
const RANGE_BYTES: usize = 16;
const HASH_BYTES: u64 = 32;

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They begin otherwise.
    #[error("this is not the manifest of a model")]
    Magic,
    /// Of another version.
    #[error("the manifest is of version {0}, this build knows {VERSION}: update Potluck")]
    Version(u32),
    /// More than [`MAX_MANIFEST_BYTES`].
    #[error("a manifest of {0} bytes is of a larger model than devices can share")]
    TooLong(usize),
    /// They end too early.
    #[error("the manifest ends too early")]
    Short,
    /// They go on after the end.
    #[error("{0} bytes follow the manifest's end")]
    Trailing(usize),
    /// No layers, or too many.
    #[error("a model of {0} layers: from 1 to {MAX_LAYERS} are possible")]
    Layers(u32),
    /// An impossible length of the file.
    #[error("a file of {0} bytes is longer than any model")]
    FileBytes(u64),
    /// An object without ranges, or whose ranges are empty, out of order, touching or beyond the
    /// file.
    #[error("the byte ranges of object {object} are not in order or not in the file")]
    Ranges {
        /// Which, in the order of the manifest.
        object: usize,
    },
    /// A byte is of two objects.
    #[error("byte {at} of the file is of two objects")]
    Shared {
        /// Which byte.
        at: u64,
    },
}

impl Manifest {
    /// The canonical bytes; see the module's page.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(count(self.layers()));
        bytes.extend(self.file_bytes.to_le_bytes());
        for object in &self.objects {
            bytes.extend(count(object.ranges.len()));
            for range in &object.ranges {
                bytes.extend(range.first().to_le_bytes());
                bytes.extend(range.end().to_le_bytes());
            }
            bytes.extend(object.pieces.as_flattened());
        }
        bytes
    }

    /// The manifest of these bytes. It is for the caller to have checked that they are what was asked
    /// for, by [`content_of`](super::content_of).
    ///
    /// # Errors
    /// Whatever is not as the module's page says. Memory taken is bounded by the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let mut reader = Reader(bytes);
        if !bytes.starts_with(&MAGIC) {
            return Err(Malformed::Magic);
        }
        let _magic: [u8; 16] = reader.take()?;
        match reader.u32()? {
            VERSION => {}
            other => return Err(Malformed::Version(other)),
        }
        let layers = reader.u32()?;
        if !(1..=MAX_LAYERS).contains(&layers) {
            return Err(Malformed::Layers(layers));
        }
        let file_bytes = reader.u64()?;
        if file_bytes > MAX_BYTES {
            return Err(Malformed::FileBytes(file_bytes));
        }
        let objects = (0..layers as usize + 2).map(|object| reader.object(object));
        let objects = objects.collect::<Result<_, _>>()?;
        if !reader.0.is_empty() {
            return Err(Malformed::Trailing(reader.0.len()));
        }
        Self::new(file_bytes, objects)
    }

    /// The manifest of these objects: common, ends, each layer.
    ///
    /// # Errors
    /// Their ranges are not as the module's page says.
    pub(super) fn new(file_bytes: u64, objects: Vec<Object>) -> Result<Self, Malformed> {
        for (object, Object { ranges, .. }) in objects.iter().enumerate() {
            let apart = ranges.is_sorted_by(|a, b| a.end() < b.first());
            let inside = ranges.last().is_some_and(|last| last.end() <= file_bytes);
            if !apart || !inside {
                return Err(Malformed::Ranges { object });
            }
        }
        let ranges = objects.iter().flat_map(|object| &object.ranges);
        let mut ranges: Vec<_> = ranges.copied().collect();
        ranges.sort_unstable_by_key(|range| range.first());
        for pair in ranges.windows(2) {
            if pair[0].end() > pair[1].first() {
                let at = pair[1].first();
                return Err(Malformed::Shared { at });
            }
        }
        Ok(Self {
            file_bytes,
            objects,
        })
    }
}

/// As four bytes. Counts are of tensors and layers, of which a file has 65,536 at most.
fn count(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

/// The bytes that are left.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_le_bytes)
    }

    fn object(&mut self, object: usize) -> Result<Object, Malformed> {
        let count = self.u32()? as usize;
        // Before anything is allocated for them.
        if count > self.0.len() / RANGE_BYTES {
            return Err(Malformed::Short);
        }
        let range = |_| {
            let (first, end) = (self.u64()?, self.u64()?);
            ByteRange::new(first, end).ok_or(Malformed::Ranges { object })
        };
        let ranges: Vec<_> = (0..count).map(range).collect::<Result<_, _>>()?;
        let pieces = pieces_of(bytes_of(&ranges));
        if pieces > self.0.len() as u64 / HASH_BYTES {
            return Err(Malformed::Short);
        }
        let pieces = (0..pieces).map(|_| self.take());
        let pieces = pieces.collect::<Result<_, _>>()?;
        Ok(Object::new(ranges, pieces))
    }
}
