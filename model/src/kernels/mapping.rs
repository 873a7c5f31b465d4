//! Read-only memory mapping of model files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

/// A mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Mapping(Arc<Mmap>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapping {
    /// The file's bytes; clones and slices share the mapping, which ends with the last of them.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// These bytes will be read soon: the system may bring them from disk before. Nothing waits for
    /// that, and where the system does not know how, it is left out.
    pub(crate) fn will_need(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        let _ = self
            .0
            .advise_range(memmap2::Advice::WillNeed, bytes.start, bytes.len());
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
/// The file must stay as it is while it is mapped. If another program truncates it, touching a
/// page past the new end raises `SIGBUS` on Unix (a structured exception on Windows), which ends
/// the program; if another program writes into it, the bytes change under the reader. No system
/// offers a portable lock against either. So model files are moved into place whole, by rename,
/// and never edited: replacing a file by rename leaves the mapped one intact.
///
/// # Errors
/// What the system says when it cannot tell the length or cannot map: a length beyond the address
/// space on 32-bit devices, no address space left, a file system without mapping.
pub(crate) fn map_file(file: &File) -> io::Result<Option<Mapping>> {
    if file.metadata()?.len() == 0 {
        // Mapping zero bytes is an error on most systems.
        return Ok(None);
    }
    // SAFETY: the mapping is private to this process, read-only and owned by the `Bytes` of it, so it cannot be unmapped while a slice of it lives. That the file is not changed meanwhile
    // cannot be checked; it is the documented condition above, which the store keeps by placing
    // files by rename and never writing to one in place.
    let mapping = unsafe { Mmap::map(file)? };
    Ok(Some(Mapping(Arc::new(mapping))))
}
