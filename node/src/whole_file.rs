//! Small files that are there whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` beside `path`, then renames: whoever reads it at the same time, or after this
/// program was killed, finds the old content or the new. Makes the folder if it is missing.
///
/// # Errors
/// The system refuses.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{number}", process::id()));
    let beside = path.with_file_name(name);
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new").join("file");
        for content in ["first", "second, which is longer", ""] {
            write(&path, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("there"), content);
        }
        let folder = path.parent().expect("it has one");
        assert_eq!(fs::read_dir(folder).expect("readable").count(), 1);
        // What is no folder cannot hold a file.
        assert!(write(&path.join("below"), b"").is_err());
    }
}
