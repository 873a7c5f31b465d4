//! Files that only their owner may read, and that are there whole or not at all.
//!
//! What is to be written goes into a temporary file beside the one that it shall be. That file stays if
//! the process ends in between, so
//! - a program that is about to end calls [`finish_writing`] first: what is being written is finished, and
//!   nothing more is begun;
//! - what a process left that was killed, or whose power failed, is removed when the same file is written
//!   next, once it is [old](OLD): a younger one may be another process's that is just writing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Held while a file is written.
static WRITES: RwLock<()> = RwLock::new(());
/// Nothing more is to be written.
static ENDING: AtomicBool = AtomicBool::new(false);
/// A program that ends waits at most so long: a disk may hang.
const FINISH: Duration = Duration::from_secs(1);
/// A temporary file of this age is nobody's: writing one takes a moment.
const OLD: Duration = Duration::from_secs(60);

/// To be called before the program ends, by whichever thread ends it: waits until what other threads
/// write is whole, and lets them begin nothing more.
pub fn finish_writing() {
    ENDING.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    while begin.elapsed() < FINISH {
        match WRITES.try_write() {
            Ok(_) | Err(TryLockError::Poisoned(_)) => return,
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Whoever holds what comes back may write. Once the program ends, nothing comes back.
fn begin_writing() -> RwLockReadGuard<'static, ()> {
    let writes = WRITES.read().unwrap_or_else(PoisonError::into_inner);
    if ENDING.load(Ordering::SeqCst) {
        drop(writes);
        loop {
            thread::park();
        }
    }
    writes
}

/// Writes `bytes` to `path` in place of what was there, readable by the owner only.
///
/// # Errors
/// What the system says. The file is then as it was, or has `bytes` if only its folder could not be
/// written: whoever must know writes again what the file is to have.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _writes = begin_writing();
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
    let _writes = begin_writing();
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

/// Makes a folder that only its owner may enter, and those above it. On Windows who may enter it, and read
/// the files in it, is as for the folder above: an account's own data folder is its alone.
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
    let mut name = beside_name(path);
    forget_old(path, &name);
    name.push(format!("{}-{number}", process::id()));
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

/// How the temporary files of this one begin; a process's id and a number follow, as in `.key.123-4`.
fn beside_name(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

/// Removes what processes left that ended while they wrote this file.
fn forget_old(path: &Path, beside: &OsString) {
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else {
        return;
    };
    let begin = beside.as_encoded_bytes();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(begin);
        let is_ours = rest.is_some_and(|rest| {
            !rest.is_empty() && rest.iter().all(|b| b.is_ascii_digit() || *b == b'-')
        });
        if is_ours && is_old(&entry).unwrap_or(false) {
            forget(&entry.path());
        }
    }
}

fn is_old(entry: &fs::DirEntry) -> io::Result<bool> {
    let age = entry.metadata()?.modified()?.elapsed();
    Ok(age.is_ok_and(|age| age >= OLD))
}

/// What stays is only clutter.
fn forget(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has threads write all the time and ends this process.
    fn end_while_others_write(folder: &Path) -> ! {
        for thread in 0..4_u8 {
            let path = folder.join(format!("file-{thread}"));
            thread::spawn(move || {
                loop {
                    replace(&path, &[thread; 10_000]).expect("writable");
                }
            });
        }
        while !folder.join("file-0").exists() {
            thread::sleep(Duration::from_millis(1));
        }
        finish_writing();
        process::exit(0)
    }

    #[test]
    fn a_program_that_ends_leaves_nothing_half_written() {
        let test = "private_file::tests::a_program_that_ends_leaves_nothing_half_written";
        let variable = "POTLUCK_TEST_WRITES_IN";
        if let Some(folder) = std::env::var_os(variable) {
            end_while_others_write(Path::new(&folder));
        }
        for _ in 0..4 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let this = std::env::current_exe().expect("this test");
            let status = process::Command::new(this)
                .args(["--exact", test])
                .env(variable, folder.path())
                .stdout(process::Stdio::null())
                .status();
            assert!(status.expect("it runs").success());
            let entries = fs::read_dir(folder.path()).expect("readable");
            let names: Vec<_> = entries
                .map(|entry| entry.expect("readable").file_name())
                .collect();
            let is_whole = |name: &OsString| name.as_encoded_bytes().starts_with(b"file-");
            assert!(!names.is_empty() && names.iter().all(is_whole), "{names:?}");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_removed_once_it_is_old() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            let file = File::create(&path).expect("writable");
            let then = std::time::SystemTime::now() - age;
            file.set_modified(then).expect("a time");
            path
        };
        let left = [".key.1-0", ".key.77777-12"].map(|name| file(name, 2 * OLD));
        let (none, old) = (Duration::ZERO, 2 * OLD);
        let others = [
            file(".key.2-1", none),
            file(".key.old", old),
            file(".key.", old),
            file(".other.1-0", old),
            file("key.1-0", old),
        ];
        replace(&folder.path().join("key"), b"new").expect("writable");
        assert!(left.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.exists()));
    }

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
