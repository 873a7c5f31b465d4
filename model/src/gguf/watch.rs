//! Noticing that a mapped file changes.
//!
//! A mapping shows what the file has now, so a model file that another program overwrites in place
//! would answer with other weights, and one that it cuts short raises `SIGBUS`. Neither can be
//! prevented: no system offers a portable lock. What is done instead:
//!
//! | what | how | so that |
//! |---|---|---|
//! | the header: settings, vocabulary, chat template | copied when the file is opened | text is never read from another file's vocabulary |
//! | weights | length, time of change and (Unix) time of the inode's change are compared with those at opening, before and after every step, which takes about a microsecond | a step's result is given out only if its weights were those that were opened |
//! | a part of the file that is gone | the page that was touched, and those after it, become zeros, and the mapping is marked (`kernels::lost`) | the step ends, its result is refused, and the program goes on |
//!
//! A private copy of the weights would make both impossible, and take the model's size in memory
//! that the system cannot take back. Ending the program at `SIGBUS` would end everybody else's
//! session, too.
//!
//! The time of the inode's change alone also changes when the file is renamed, linked or removed,
//! which does no harm. If only that is new, the header in the file is compared with the copy. So what
//! is left unnoticed is a program that writes into the weights only, and sets the time of change back.
//!
//! A file replaced by rename is not changed: the mapping stays that of the old one.

use std::fs::{File, Metadata};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use super::GgufError;
use crate::kernels::mapping::Mapping;

/// The mapped files of a model, to ask whether they have changed. Clones watch the same files.
///
/// What was computed from a file is to be used only if it had not changed when it was computed: writing
/// changes a file's times before it changes its bytes.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    files: Vec<Arc<Watched>>,
}

/// A mapped file, open, and how it looked when it was mapped.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) mapping: Mapping,
    /// Its first bytes, as they were read.
    pub(super) header: Bytes,
    pub(super) bytes: u64,
    /// `None` if this program itself writes other parts of it.
    pub(super) modified: Option<SystemTime>,
    /// Nanoseconds; 0 where the system does not tell.
    pub(super) inode_changed: AtomicI64,
}

impl Watch {
    pub(super) fn of(files: Vec<Arc<Watched>>) -> Self {
        Self { files }
    }

    /// Whether all files are as they were when they were mapped.
    ///
    /// # Errors
    /// [`GgufError::Changed`] or [`GgufError::Lost`], which names the file.
    pub fn check(&self) -> Result<(), GgufError> {
        self.files.iter().try_for_each(|file| file.check())
    }
}

impl Watched {
    fn check(&self) -> Result<(), GgufError> {
        let path = || self.path.clone();
        let lost = |source| GgufError::Open {
            path: path(),
            source,
        };
        let now = self.file.metadata().map_err(lost)?;
        let same_time = self.modified.is_none() || now.modified().ok() == self.modified;
        if now.len() != self.bytes || !same_time {
            return Err(GgufError::Changed {
                path: path(),
                was: self.bytes,
                is: now.len(),
            });
        }
        // After the length, which says more.
        if self.mapping.is_lost() {
            return Err(GgufError::Lost { path: path() });
        }
        let inode_changed = inode_changed(&now);
        if self.modified.is_none() || inode_changed == self.inode_changed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.mapping.as_ref()[..self.header.len()] != self.header {
            return Err(GgufError::Changed {
                path: path(),
                was: self.bytes,
                is: now.len(),
            });
        }
        self.inode_changed.store(inode_changed, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(unix)]
pub(super) fn inode_changed(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = metadata.ctime().wrapping_mul(1_000_000_000);
    seconds.wrapping_add(metadata.ctime_nsec())
}

#[cfg(not(unix))]
pub(super) fn inode_changed(_metadata: &Metadata) -> i64 {
    0
}
