//! The file a model is assembled in before it is moved into place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// A file that grows at its end until it is a whole model.
///
/// INVARIANT: its bytes are a prefix of what sources delivered in order, so an interrupted fetch
/// goes on from `len()`. Whether they are the *right* bytes is decided once, by hashing the
/// finished file.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    len: u64,
    limit: u64,
}

impl Partial {
    /// Opens the file at `path`, keeping what an earlier fetch left there. A file longer than
    /// `limit`, the whole model's length, cannot be a prefix of it and is emptied.
    pub(super) fn open(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)?;
        let len = file.metadata()?.len();
        let mut partial = Self {
            path,
            file,
            len,
            limit,
        };
        if len > limit {
            partial.truncate(0)?;
        }
        Ok(partial)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole model's length.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// How much is still missing.
    pub(super) fn missing(&self) -> u64 {
        self.limit - self.len
    }

    /// Keeps the first `len` bytes only.
    pub(super) fn truncate(&mut self, len: u64) -> io::Result<()> {
        if len < self.len {
            self.file.set_len(len)?;
            self.len = len;
        }
        Ok(())
    }

    /// Writes `bytes` at the end. More than is missing is refused: no source may grow the file
    /// beyond the model's length.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.missing() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more bytes were delivered than the model has",
            ));
        }
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// How many of `bytes`, from `at` on, are here already. `at` is at most [`len`](Self::len).
    fn common(&mut self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let here = self.len.saturating_sub(at).min(bytes.len() as u64) as usize;
        let mut there = vec![0; here];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut there)?;
        let differs = there
            .iter()
            .zip(bytes)
            .position(|(there, byte)| there != byte);
        Ok(differs.unwrap_or(here))
    }

    /// Whether nothing here is other than these `bytes`, which belong at `at`.
    pub(super) fn agrees(&mut self, at: u64, bytes: &[u8]) -> io::Result<bool> {
        let common = self.common(at, bytes)?;
        Ok(common == bytes.len() || at + common as u64 == self.len)
    }

    /// Takes these `bytes`, which belong at `at`. What is here already and the same stays, with all that
    /// follows; from the first that differs on, what is here is cut.
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let common = self.common(at, bytes)?;
        if common == bytes.len() {
            return Ok(());
        }
        self.truncate(at + common as u64)?;
        self.append(&bytes[common..])
    }

    /// Flushes the file to the disk and gives it its final name in the same folder, so that the
    /// final name only ever belongs to a whole model, even after a power cut.
    pub(super) fn move_into_place(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        drop(self.file);
        fs::rename(&self.path, target)?;
        // The rename itself is durable once the folder is; not every platform can open a folder,
        // and there the file system's own ordering has to do.
        if let Some(folder) = target.parent()
            && let Ok(folder) = File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    /// Removes the file.
    pub(super) fn discard(self) -> io::Result<()> {
        drop(self.file);
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_and_the_same_stays_with_all_that_follows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut partial = Partial::open(folder.path().join(".partial"), 8).expect("opened");
        partial.append(b"abcdef").expect("appended");
        assert!(partial.agrees(1, b"bcd").expect("readable"));
        assert!(partial.agrees(4, b"efgh").expect("readable"));
        assert!(!partial.agrees(0, b"aX").expect("readable"));
        partial.put(0, b"abc").expect("nothing to do");
        assert_eq!(partial.len(), 6);
        partial.put(4, b"efg").expect("appended");
        assert_eq!(partial.len(), 7);
        partial.put(2, b"cX").expect("cut and appended");
        assert_eq!(fs::read(partial.path()).expect("readable"), b"abcX");
        assert!(partial.put(4, b"12345").is_err(), "too long");
    }

    #[test]
    fn keeps_a_prefix_and_never_outgrows_the_model() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(".partial");
        let mut partial = Partial::open(path.clone(), 6).expect("opened");
        partial.append(b"abcd").expect("appended");
        assert!(partial.append(b"efg").is_err());
        drop(partial);

        let mut partial = Partial::open(path.clone(), 6).expect("opened again");
        assert_eq!((partial.len(), partial.missing()), (4, 2));
        partial.truncate(3).expect("truncated");
        partial.append(b"DEF").expect("appended");
        let target = folder.path().join("model");
        partial.move_into_place(&target).expect("moved");
        assert_eq!(fs::read(&target).expect("readable"), b"abcDEF");
        assert!(!path.exists());

        fs::write(&path, b"far too long").expect("written");
        let partial = Partial::open(path.clone(), 6).expect("opened");
        assert_eq!(partial.len(), 0);
        partial.discard().expect("removed");
        assert!(!path.exists());
    }
}
