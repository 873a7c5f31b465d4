//! How much room a disk has.

use std::path::Path;

/// The bytes that are free for this user on the disk of a folder, where the system says so: on Unix.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The bytes that are free for this user on the disk of a folder, where the system says so: not here.
#[cfg(not(unix))]
pub fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}
