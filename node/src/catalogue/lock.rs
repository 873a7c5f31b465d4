//! One fetch of a model at a time, across this device's processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::Cancel;

const POLL: Duration = Duration::from_millis(200);

/// An exclusive lock, held until dropped and released by the system if the process dies.
///
/// The lock file itself stays: removing it would let two processes lock two different files of
/// the same name.
#[derive(Debug)]
pub(super) struct FetchLock {
    _file: File,
}

impl FetchLock {
    /// Waits for the lock at `path`; `on_wait` is called once if another process holds it. `None`
    /// when cancelled.
    pub(super) fn acquire(
        path: &Path,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                Err(TryLockError::WouldBlock) => {}
                // Some network file systems have no locks. Two fetches at once are then possible
                // and waste work, but the hash still decides what is moved into place.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Some(Self { _file: file }));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if cancel.is_cancelled() {
                return Ok(None);
            }
            if !told {
                on_wait();
                told = true;
            }
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_until_the_first_lets_go() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(".lock");
        let first = FetchLock::acquire(&path, &Cancel::new(), &mut || ()).expect("locked");
        assert!(first.is_some());

        let cancel = Cancel::new();
        let mut waited = 0;
        let second = FetchLock::acquire(&path, &cancel.clone(), &mut || {
            waited += 1;
            cancel.cancel();
        });
        assert!(
            second.expect("no failure").is_none(),
            "cancelled while waiting"
        );
        assert_eq!(waited, 1);

        drop(first);
        let third = FetchLock::acquire(&path, &Cancel::new(), &mut || ()).expect("locked");
        assert!(third.is_some());
    }
}
