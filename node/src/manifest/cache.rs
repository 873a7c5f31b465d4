//! ManifestCache of this device's files, each made once.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use potluck_model::gguf::files_at;

use super::{Manifest, ManifestError, content_of};
use crate::home::Home;
use crate::{Cancel, private_file};

/// The manifests that this home remembers. Folders are made when the first is.
#[derive(Debug, Clone)]
pub struct ManifestCache {
    folder: PathBuf,
}

/// What the files of a model looked like. Those that look the same are taken to be unchanged: same
/// length, time of modification and place on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look(Vec<FileLook>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileLook {
    bytes: u64,
    modified_ns: u128,
    device: u64,
    inode: u64,
}

impl ManifestCache {
    /// Those of this home.
    pub fn of(home: &Home) -> Self {
        Self {
            folder: home.root().join("manifests"),
        }
    }

    /// The manifest of the model file at `path`: as it was found the last time, or read anew if the
    /// file has changed since. As [`Manifest::of_file`] else.
    ///
    /// # Errors
    /// [`ManifestError`]. That a manifest cannot be remembered is none; it is made again the next
    /// time.
    pub fn get(
        &self,
        path: &Path,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<Option<Manifest>, ManifestError> {
        let look = || {
            Look::at(path).map_err(|source| ManifestError::Read {
                path: path.into(),
                source,
            })
        };
        let before = look()?;
        let memory = self.memory_of(path);
        if let Some(manifest) = recall(&memory, &before) {
            return Ok(Some(manifest));
        }
        let Some(manifest) = Manifest::of_file(path, cancel, on_progress)? else {
            return Ok(None);
        };
        if look()? != before {
            return Err(ManifestError::Changed { path: path.into() });
        }
        let bytes = manifest.to_bytes();
        let line = format!("{before} {}\n", content_of(&bytes));
        let _ = private_file::replace(&memory, &[line.as_bytes(), &bytes].concat());
        Ok(Some(manifest))
    }

    /// The manifest of the model file at `path`, if it is remembered and the file has not changed.
    pub fn remembered(&self, path: &Path) -> Option<Manifest> {
        recall(&self.memory_of(path), &Look::at(path).ok()?)
    }

    /// Where the manifest of the file at `path` is remembered.
    fn memory_of(&self, path: &Path) -> PathBuf {
        // The same for all parts of a split model.
        let first = files_at(path).swap_remove(0);
        let absolute = first.canonicalize().unwrap_or(first);
        let name = content_of(absolute.as_os_str().as_encoded_bytes());
        self.folder.join(name.to_string())
    }
}

/// The manifest that was remembered of a file that looked so.
fn recall(memory: &Path, look: &Look) -> Option<Manifest> {
    let remembered = fs::read(memory).ok()?;
    let end_of_line = remembered.iter().position(|&byte| byte == b'\n')?;
    let (line, bytes) = (&remembered[..end_of_line], &remembered[end_of_line + 1..]);
    let expected = format!("{look} {}", content_of(bytes));
    if line != expected.as_bytes() {
        return None;
    }
    Manifest::parse(bytes).ok()
}

impl Look {
    /// Of the file at `path`, or of all parts of the split model of which it is one.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let files = files_at(path);
        let files = files.iter().map(|file| FileLook::at(file));
        Ok(Self(files.collect::<Result<_, _>>()?))
    }
}

impl FileLook {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        let (device, inode) = place(&metadata);
        Ok(Self {
            bytes: metadata.len(),
            modified_ns: modified.unwrap_or_default().as_nanos(),
            device,
            inode,
        })
    }
}

#[cfg(unix)]
fn place(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

/// Where the system does not tell, length and time must do.
#[cfg(not(unix))]
fn place(_metadata: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            file.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for FileLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bytes,
            modified_ns,
            device,
            inode,
        } = self;
        write!(f, "{bytes} {modified_ns} {device} {inode}")
    }
}
