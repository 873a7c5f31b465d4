//! Models that are split into several files.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::synth::SynthSpec;
use super::super::{Gguf, GgufError, Layout, Value, files_at, part_path};
use crate::gguf::GgufWriter;

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("potluck-split-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes these as the parts of `model.gguf`, and gives their paths.
    fn write(&self, parts: &[Bytes]) -> Vec<PathBuf> {
        let count = parts.len() as u32;
        let write = |(part, bytes): (u32, &Bytes)| {
            let path = part_path(&self.0.join("model.gguf"), part, count);
            fs::write(&path, bytes).unwrap();
            path
        };
        (1..).zip(parts).map(write).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn spec() -> SynthSpec {
    SynthSpec::preset("tiny").unwrap()
}

#[test]
fn any_part_opens_the_whole_which_is_the_single_file() {
    let folder = Folder::new("any");
    let whole_bytes = spec().to_bytes().unwrap();
    let whole = Gguf::parse(whole_bytes.clone()).unwrap();
    for count in [2, 3, 7] {
        for path in folder.write(&spec().to_parts(count).unwrap()) {
            let gguf = Gguf::open(&path).unwrap();
            assert_eq!(gguf.files().count(), count as usize);
            assert_eq!(gguf.file_len(), whole.file_len());
            assert_eq!(gguf.data_offset(), whole.data_offset());
            assert!(gguf.metadata().iter().eq(whole.metadata().iter()));
            for (split, single) in gguf.tensors().iter().zip(whole.tensors()) {
                assert_eq!(split.name, single.name);
                assert_eq!(split.offset, single.offset);
                assert_eq!(gguf.tensor_bytes(split), whole.tensor_bytes(single));
            }
            assert_eq!(gguf.tensors().len(), whole.tensors().len());
            gguf.watch().check().unwrap();
        }
    }
}

#[test]
fn a_split_models_bytes_are_read_as_those_of_the_single_file() {
    let folder = Folder::new("read");
    let whole = spec().to_bytes().unwrap();
    let paths = folder.write(&spec().to_parts(3).unwrap());
    let mut reader = Layout::at(&paths[1]).unwrap().open().unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == whole, "other bytes");
    for at in [0, 1000, whole.len() / 2, whole.len() - 3] {
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut three = [0; 3];
        reader.read_exact(&mut three).unwrap();
        assert_eq!(three, whole[at..at + 3]);
    }
}

#[test]
fn paths_are_those_of_parts_only_if_they_are_named_so() {
    let parts = files_at(Path::new("a/b-00002-of-00003.gguf"));
    let expected = ["00001", "00002", "00003"].map(|n| format!("a/b-{n}-of-00003.gguf"));
    assert_eq!(parts, expected.map(PathBuf::from));
    for single in [
        "b.gguf",
        "b-00004-of-00003.gguf",
        "b-00001-of-00001.gguf",
        "b-1-of-3.gguf",
        "b-00000-of-00003.gguf",
        "b-00001-of-99999.gguf",
        "b-00001-of-00003.bin",
    ] {
        assert_eq!(files_at(Path::new(single)), [PathBuf::from(single)]);
    }
}

fn refused(path: &Path) -> String {
    Gguf::open(path).unwrap_err().to_string()
}

#[test]
fn missing_and_renamed_parts_are_named() {
    let folder = Folder::new("missing");
    let paths = folder.write(&spec().to_parts(3).unwrap());
    fs::remove_file(&paths[1]).unwrap();
    for path in [&paths[0], &paths[2]] {
        let message = refused(path);
        let expected = "split into 3 files, and model-00002-of-00003.gguf is not in";
        assert!(message.contains(expected), "{message}");
    }
    let renamed = folder.0.join("renamed.gguf");
    fs::rename(&paths[2], &renamed).unwrap();
    let message = refused(&renamed);
    assert!(message.contains("part 3 of 3"), "{message}");
    assert!(
        message.contains("must end in -00003-of-00003.gguf"),
        "{message}"
    );
}

#[test]
fn parts_of_other_models_are_refused() {
    let folder = Folder::new("others");
    let parts = spec().to_parts(3).unwrap();
    let paths = folder.write(&parts);
    let with = |at: usize, bytes: &[u8]| {
        fs::write(&paths[at], bytes).unwrap();
        let messages = [0, 2].map(|opened| refused(&paths[opened]));
        fs::write(&paths[at], &parts[at]).unwrap();
        messages
    };
    for message in with(1, &parts[2]) {
        assert!(message.contains("should be part 2 of 3"), "{message}");
        assert!(message.contains("part 3 of 3"), "{message}");
    }
    for message in with(1, &spec().to_bytes().unwrap()) {
        assert!(message.contains("a whole model"), "{message}");
    }
    let mut other = spec();
    other.layers += 1;
    for message in with(1, &other.to_parts(3).unwrap()[1]) {
        let named = message.contains("in two of") || message.contains("tensors together");
        assert!(named, "{message}");
    }
    for message in with(1, &parts[1][..parts[1].len() / 2]) {
        assert!(message.contains("model-00002-of-00003.gguf"), "{message}");
        assert!(message.contains("cut short"), "{message}");
    }
    assert!(matches!(
        Gguf::parse(parts[0].clone()),
        Err(GgufError::Split(_))
    ));
}

#[test]
fn impossible_numbers_are_refused() {
    let folder = Folder::new("impossible");
    for (number, count) in [(3_u16, 3_u16), (0, 60_000)] {
        let mut writer = GgufWriter::new();
        writer
            .metadata("split.no", &Value::U16(number))
            .metadata("split.count", &Value::U16(count));
        let path = folder.0.join("x-00001-of-00003.gguf");
        fs::write(&path, writer.header()).unwrap();
        assert!(refused(&path).contains("cannot be"), "{}", refused(&path));
    }
    // What llama.cpp's tool leaves in a file that it put together.
    let mut writer = GgufWriter::new();
    writer.metadata("split.count", &Value::U16(0));
    assert!(Gguf::parse(writer.header().into()).is_ok());
}
