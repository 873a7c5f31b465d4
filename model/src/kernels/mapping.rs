//! Read-only memory mapping of model files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::lost::{self, Guarded};

/// A mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Mapping(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    // INVARIANT: dropped before the mapping, whose addresses are another's afterwards.
    guarded: Guarded,
    bytes: Mmap,
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Mapping {
    /// The file's bytes; clones and slices share the mapping, which ends with the last of them.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// Whether part of the file was gone when it was to be read, and reads as zeros since.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.guarded.is_lost()
    }

    /// These bytes will be read soon: the system may bring them from disk before. Nothing waits for
    /// that, and where the system does not know how, it is left out.
    pub(crate) fn will_need(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        let _ = self
            .0
            .bytes
            .advise_range(memmap2::Advice::WillNeed, bytes.start, bytes.len());
        #[cfg(not(unix))]
        let _ = bytes;
    }

    /// These bytes will hardly be read again, so they need not count as this program's memory.
    pub(crate) fn not_needed(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            let Range { start, end } = bytes;
            // SAFETY: the mapping is of a file and never written to, so pages that are dropped come
            // back with the file's bytes when they are read again.
            let _ = unsafe {
                self.0
                    .bytes
                    .unchecked_advise_range(advice, start, end - start)
            };
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

/// Maps a whole file read-only; `None` if it is empty.
///
/// Nothing is read here: a page comes from disk when it is first touched, stays in the system's
/// page cache, and can be dropped by the system at any time, because it is never written to.
///
/// # What a changing file does
/// If another program writes into the file, the bytes change under the reader. If another program cuts
/// it short, pages past the new end read as zeros, and the mapping [`is_lost`](Mapping::is_lost): see
/// `lost`. `gguf::watch` notices both before anything that was computed from them is used. Replacing a
/// file by rename leaves the mapped one intact.
///
/// # Errors
/// What the system says when it cannot tell the length or cannot map: a length beyond the address
/// space on 32-bit devices, no address space left, a file system without mapping.
pub(crate) fn map_file(file: &File) -> io::Result<Option<Mapping>> {
    if file.metadata()?.len() == 0 {
        // Mapping zero bytes is an error on most systems.
        return Ok(None);
    }
    // SAFETY: the mapping is private to this process, read-only and owned by the `Bytes` of it, so it
    // cannot be unmapped while a slice of it lives. That the file is not changed meanwhile cannot be
    // ensured. Readers take what they read for bytes and numbers of any value, and nothing that a
    // changed file says is trusted to be what it was when it was checked: headers are copied first.
    let bytes = unsafe { Mmap::map(file)? };
    let guarded = lost::guard(bytes.as_ptr_range());
    Ok(Some(Mapping(Arc::new(Mapped { guarded, bytes }))))
}
