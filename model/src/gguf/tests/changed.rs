//! Mapped files that change.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use super::super::{Gguf, GgufError};
use super::{bytes_of, small_file};

struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("potluck-changed-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn file(&self) -> File {
        File::options().write(true).open(&self.0).unwrap()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A file of several pages, the last byte of which is that of a tensor.
fn long_file() -> Vec<u8> {
    let mut file = bytes_of(&small_file()).to_vec();
    file.resize(100_000, 7);
    file
}

fn is_changed(gguf: &Gguf) -> bool {
    matches!(gguf.watch().check(), Err(GgufError::Changed { .. }))
}

#[test]
fn what_is_written_into_a_file_is_noticed_and_the_header_stays() {
    let file = TemporaryFile::new("written", &long_file());
    let gguf = Gguf::open(&file.0).unwrap();
    gguf.watch().check().unwrap();
    let modified = fs::metadata(&file.0).and_then(|m| m.modified()).unwrap();
    let mut writing = file.file();
    writing.write_all(&[b'x'; 2000]).unwrap();
    assert!(is_changed(&gguf));
    let texts = gguf.metadata().require_strings("texts").unwrap();
    assert_eq!(texts.iter_bytes().next(), Some(&b"a"[..]));

    // Even if the time of change is set back.
    writing.set_modified(modified).unwrap();
    if cfg!(unix) {
        assert!(is_changed(&gguf));
    }
}

#[test]
fn renaming_linking_and_removing_are_no_changes() {
    let file = TemporaryFile::new("renamed", &long_file());
    let gguf = Gguf::open(&file.0).unwrap();
    let link = file.0.with_extension("link");
    fs::hard_link(&file.0, &link).unwrap();
    gguf.watch().check().unwrap();
    // Replaced, as downloads replace files.
    fs::write(file.0.with_extension("new"), b"another").unwrap();
    fs::rename(file.0.with_extension("new"), &file.0).unwrap();
    gguf.watch().check().unwrap();
    fs::remove_file(link).unwrap();
    gguf.watch().check().unwrap();
    assert_eq!(gguf.tensor_bytes(&gguf.tensors()[1]), vec![1; 60]);
}

#[test]
fn a_file_that_grows_elsewhere_is_watched_for_its_length_only() {
    let file = TemporaryFile::new("grows", &long_file());
    let gguf = Gguf::open_growing(&file.0).unwrap();
    let mut writing = file.file();
    writing.seek(SeekFrom::Start(50_000)).unwrap();
    writing.write_all(b"more").unwrap();
    gguf.watch().check().unwrap();
    writing.set_len(60_000).unwrap();
    assert!(is_changed(&gguf));
}

/// The process goes on, reads zeros, and is told.
#[test]
#[cfg(unix)]
fn pages_that_are_gone_read_as_zeros_and_are_told() {
    let file = TemporaryFile::new("cut", &long_file());
    let gguf = Gguf::open(&file.0).unwrap();
    let other = TemporaryFile::new("other", &long_file());
    let untouched = Gguf::open(&other.0).unwrap();
    file.file().set_len(10_000).unwrap();
    let last = gguf.files[0].bytes.slice(90_000..);
    let sums: Vec<u32> = std::thread::scope(|scope| {
        let read = || last.iter().map(|&byte| u32::from(byte)).sum();
        let threads = [0; 4].map(|_| scope.spawn(read));
        threads.map(|thread| thread.join().unwrap()).to_vec()
    });
    assert_eq!(sums, [0; 4]);
    let error = gguf.watch().check().unwrap_err().to_string();
    assert!(
        error.contains("cut it from 100000 to 10000 bytes"),
        "{error}"
    );

    // Long again, but what was mapped is lost.
    file.file().set_len(100_000).unwrap();
    assert!(gguf.watch().check().is_err());
    untouched.watch().check().unwrap();
    assert_eq!(untouched.files[0].bytes[90_000], 7);
    drop((gguf, last));
    Gguf::open(&file.0).unwrap().watch().check().unwrap();
}
