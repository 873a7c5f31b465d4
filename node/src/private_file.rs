//! Files that only their owner may read, and that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` to `path` in place of what was there, readable by the owner only.
///
/// # Errors
/// What the system says. The file is then as it was, or has `bytes` if only its folder could not be
/// written: whoever must know writes again what the file is to have.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_beside(path, bytes)?;
    fs::rename(&written, path).inspect_err(|_| forget(&written))?;
    sync_folder(path)
}

/// Writes `bytes` to `path` unless there is a file; false if there is.
///
/// # Errors
/// What the system says. There is no file then, or it has `bytes` if only its folder could not be
/// written.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let written = write_beside(path, bytes)?;
    // A link, unlike a rename, does not take an existing file's place.
    let linked = fs::hard_link(&written, path);
    forget(&written);
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file's bytes, if there is one and it has no more than `most`.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > most as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read(path).map(Some)
}

/// Makes a folder that only its owner may enter, and those above it.
///
/// # Errors
/// What the system says.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{number}", process::id()));
    let beside = path.with_file_name(name);
    // Of a process with this id that was stopped here.
    forget(&beside);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.inspect_err(|_| forget(&beside))?;
    Ok(beside)
}

/// Has the system write which file the name stands for, too: else the old one may be back after the
/// power failed.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().map(File::open);
    // Systems that do not open folders, and file systems that do not sync them, have ways of their own.
    let Some(Ok(folder)) = folder else {
        return Ok(());
    };
    match folder.sync_all().map_err(|error| (error.kind(), error)) {
        Err((io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported, _)) | Ok(()) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

/// What stays is only clutter.
fn forget(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_whole_and_created_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("inner").join("key");
        assert_eq!(read(&path, 10).expect("readable"), None);
        assert!(create(&path, b"first").expect("writable"));
        assert!(!create(&path, b"second").expect("writable"));
        assert_eq!(
            read(&path, 5).expect("readable").as_deref(),
            Some(&b"first"[..])
        );
        replace(&path, b"third one").expect("writable");
        assert_eq!(
            read(&path, 5).expect_err("too long").kind(),
            io::ErrorKind::FileTooLarge
        );
        let left: Vec<_> = fs::read_dir(path.parent().expect("a parent"))
            .expect("readable")
            .collect();
        assert_eq!(left.len(), 1);
        // What is no folder cannot hold a file.
        assert!(replace(&path.join("below"), b"").is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode =
                |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(path.parent().expect("a parent")), 0o700);
        }
    }
}
