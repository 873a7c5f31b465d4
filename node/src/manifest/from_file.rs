//! The manifest of a file on this device.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use potluck_model::gguf::{Gguf, ModelReader};
use potluck_model::{ModelConfig, ModelError};
use potluck_protocol::wire::ByteRange;
use potluck_protocol::wire::limits::{MAX_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES, MAX_PIECE_BYTES};

use super::{Malformed, Manifest, Object, bytes_of, index, pieces_of};
use crate::{Cancel, Part};

/// A file has no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not a model that this build runs.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More layers than devices can share.
    #[error("the model has {layers} layers: devices share models of up to {MAX_LAYERS}")]
    TooManyLayers {
        /// Its layers.
        layers: usize,
    },
    /// Its tensors do not make objects as manifests have them.
    #[error("the model's file is laid out as devices cannot share it: {0}")]
    Layout(#[from] Malformed),
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another program wrote into it meanwhile.
    #[error("{} changed while it was read: try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl Manifest {
    /// The manifest of the model file at `path`, or of the split model of which it is a part: that of
    /// the file that its parts would be when put together. It is read whole: about a second a gigabyte, and
    /// what the disk takes. `on_progress` is told the bytes read so far; `None` when cancelled.
    /// [`ManifestCache::get`](super::ManifestCache::get) does this once for each file.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn of_file(
        path: &Path,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Self>, ManifestError> {
        let gguf = Gguf::open(path).map_err(ModelError::from)?;
        let layers = ModelConfig::from_gguf(&gguf)?.layers;
        if layers > MAX_LAYERS as usize {
            return Err(ManifestError::TooManyLayers { layers });
        }
        let read = |source| ManifestError::Read {
            path: path.into(),
            source,
        };
        let mut reading = Reading {
            // Read, not mapped: pages of a mapping would count as this program's memory.
            file: gguf.layout().open().map_err(read)?,
            piece: vec![0; MAX_PIECE_BYTES as usize],
            done: 0,
            cancel,
            on_progress,
        };
        let mut objects = Vec::with_capacity(layers + 2);
        for ranges in ranges(&gguf, layers)? {
            let Some(pieces) = reading.pieces(&ranges).map_err(read)? else {
                return Ok(None);
            };
            objects.push(Object::new(ranges, pieces));
        }
        let manifest = Self::new(gguf.file_len(), objects)?;
        let bytes = manifest.to_bytes().len();
        if bytes as u64 > MAX_MANIFEST_BYTES {
            return Err(Malformed::TooLong(bytes).into());
        }
        Ok(Some(manifest))
    }
}

/// The ranges of each object: common, ends, each layer.
fn ranges(gguf: &Gguf, layers: usize) -> Result<Vec<Vec<ByteRange>>, Malformed> {
    let file_bytes = gguf.file_len();
    if file_bytes > MAX_BYTES {
        return Err(Malformed::FileBytes(file_bytes));
    }
    let mut objects = vec![Vec::new(); layers + 2];
    let header = gguf.data_offset().min(file_bytes);
    objects[index(Part::Common)].push((0, header));
    for tensor in gguf.tensors() {
        let part = Part::of_tensor(&tensor.name, layers);
        let end = tensor.offset + tensor.bytes as u64;
        objects[index(part)].push((tensor.offset, end));
    }
    let objects = objects.into_iter().map(|mut ranges| {
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let touches = next.0 == before.1;
            if touches {
                before.1 = next.1;
            }
            touches
        });
        // The parser has checked that tensors are in the file and not empty.
        let ranges = ranges.into_iter();
        ranges
            .filter_map(|(first, end)| ByteRange::new(first, end))
            .collect()
    });
    Ok(objects.collect())
}

/// A file that is read, a range after the other.
struct Reading<'a> {
    file: ModelReader,
    piece: Vec<u8>,
    done: u64,
    cancel: &'a Cancel,
    on_progress: &'a mut dyn FnMut(u64),
}

impl Reading<'_> {
    /// BLAKE3 of each piece of these ranges' bytes; `None` when cancelled.
    fn pieces(&mut self, ranges: &[ByteRange]) -> io::Result<Option<Vec<[u8; 32]>>> {
        let count = pieces_of(bytes_of(ranges));
        let mut pieces = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        let mut filled = 0;
        for range in ranges {
            self.file.seek(SeekFrom::Start(range.first()))?;
            let mut left = range.bytes();
            while left > 0 {
                if self.cancel.is_cancelled() {
                    return Ok(None);
                }
                let free = &mut self.piece[filled..];
                let length = left.min(free.len() as u64) as usize;
                self.file.read_exact(&mut free[..length])?;
                filled += length;
                left -= length as u64;
                self.done += length as u64;
                if filled == self.piece.len() {
                    pieces.push(*blake3::hash(&self.piece).as_bytes());
                    filled = 0;
                    (self.on_progress)(self.done);
                }
            }
        }
        if filled > 0 {
            pieces.push(*blake3::hash(&self.piece[..filled]).as_bytes());
        }
        (self.on_progress)(self.done);
        Ok(Some(pieces))
    }
}
