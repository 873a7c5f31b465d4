//! Free disk space.

use std::path::Path;

/// Bytes available to this user on the disk of a folder. Only Unix reports them.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes available to this user on the disk of a folder. Unavailable on this system.
#[cfg(not(unix))]
pub fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}
