//! Opening files by path.

use std::path::PathBuf;

use super::super::{Foreign, Gguf, GgufError};
use super::{bytes_of, small_file};

/// A file that is removed when the test ends.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("potluck-gguf-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_mapped_file_reads_as_the_same_bytes_in_memory() {
    let bytes = bytes_of(&small_file());
    let file = TemporaryFile::new("same", &bytes);
    let gguf = Gguf::open(&file.0).unwrap();
    assert_eq!(gguf.path(), Some(&*file.0));
    assert_eq!(gguf.file_len(), bytes.len() as u64);
    let parsed = Gguf::parse(bytes).unwrap();
    assert_eq!(gguf.tensors(), parsed.tensors());
    for tensor in gguf.tensors() {
        assert_eq!(gguf.tensor_bytes(tensor), parsed.tensor_bytes(tensor));
    }
}

#[test]
fn a_tensor_outlives_the_file_it_came_from() {
    let file = TemporaryFile::new("outlives", &bytes_of(&small_file()));
    let gguf = Gguf::open(&file.0).unwrap();
    let data = gguf.tensor_bytes(&gguf.tensors()[1]);
    drop(gguf);
    drop(file);
    assert_eq!(data, vec![1; 60]);
}

#[test]
fn an_empty_file_is_not_gguf() {
    let file = TemporaryFile::new("empty", b"");
    assert!(matches!(
        Gguf::open(&file.0),
        Err(GgufError::NotGguf(Foreign::Empty))
    ));
}

#[test]
fn a_missing_file_is_named() {
    let path = std::env::temp_dir().join("potluck-gguf-that-is-not-there");
    let error = Gguf::open(&path).unwrap_err();
    assert!(matches!(&error, GgufError::Open { path: met, .. } if *met == path));
    assert!(error.to_string().contains("that-is-not-there"));
}

#[test]
fn a_folder_is_told_from_a_file_and_says_what_is_in_it() {
    let folder = std::env::temp_dir().join(format!("potluck-gguf-folder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let nothing = Gguf::open(&folder).unwrap_err().to_string();
    assert!(
        nothing.contains("is a folder: it has no .gguf file"),
        "{nothing}"
    );
    std::fs::write(folder.join("a.gguf"), b"").unwrap();
    let error = Gguf::open(&folder).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.ends_with("such as a.gguf"), "{error}");
}
