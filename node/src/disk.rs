//! Free disk space.

use std::path::Path;

/// The most that a store keeps unless its owner says otherwise.
const MOST_BYTES: u64 = 20_000_000_000;

/// What a store keeps unless its owner says otherwise: half of what is free on its disk without its
/// `kept_bytes`, and 20 GB at most. A folder that is not there yet will be on the disk of the nearest
/// that is.
pub(crate) fn usual_quota(folder: &Path, kept_bytes: u64) -> u64 {
    let there = folder.ancestors().find(|folder| folder.exists());
    let free = there.and_then(free_bytes);
    let half = free.map_or(MOST_BYTES, |free| free.saturating_add(kept_bytes) / 2);
    half.min(MOST_BYTES)
}

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
