//! Read-only memory mapping of model files.

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps a whole file read-only; clones and slices of the result share the mapping, which ends with
/// the last of them.
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
pub(crate) fn map_file(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        // Mapping zero bytes is an error on most systems.
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private to this process, read-only and owned by the returned `Bytes`,
    // so it cannot be unmapped while a slice of it lives. That the file is not changed meanwhile
    // cannot be checked; it is the documented condition above, which the store keeps by placing
    // files by rename and never writing to one in place.
    let mapping = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(mapping))
}
