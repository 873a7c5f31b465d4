//! What a file is that is no GGUF file: people give what a download left them.

use std::fmt;

/// How much of a file's beginning [`Foreign::recognise`] looks at.
const LOOKED_AT: usize = 4096;

/// A file of another kind, by how it begins.
///
/// Its text says what the file is and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// No bytes at all.
    Empty,
    /// The beginning of `GGUF`, and nothing after it.
    CutShort,
    /// A pointer of Git LFS.
    LfsPointer {
        /// Length of the file that it stands for, if it says so.
        bytes: Option<u64>,
    },
    /// HTML.
    WebPage,
    /// Text in a format that servers answer with, such as XML or JSON.
    Answer(&'static str),
    /// Weights of PyTorch.
    PyTorch,
    /// A zip archive of something else.
    Zip,
    /// Another archive or compressed file.
    Archive(&'static str),
    /// Weights in the safetensors format.
    Safetensors,
    /// A format that came before GGUF.
    OldGgml(&'static str),
    /// Only zeros where the magic number should be.
    Zeros,
    /// Anything else.
    Other {
        /// The first bytes, at most four.
        start: Vec<u8>,
    },
}

impl Foreign {
    /// What a file is whose bytes do not begin with `GGUF`.
    pub(super) fn recognise(bytes: &[u8]) -> Self {
        let start = &bytes[..bytes.len().min(LOOKED_AT)];
        if start.is_empty() {
            return Self::Empty;
        }
        if b"GGUF".starts_with(start) {
            return Self::CutShort;
        }
        if start.starts_with(b"version https://git-lfs.github.com/spec/") {
            return Self::LfsPointer {
                bytes: lfs_size(start),
            };
        }
        text(start)
            .or_else(|| archive(start))
            .or_else(|| weights(bytes))
            .unwrap_or_else(|| Self::Other {
                start: start[..start.len().min(4)].to_vec(),
            })
    }
}

/// The `size` line of a Git LFS pointer.
fn lfs_size(pointer: &[u8]) -> Option<u64> {
    let text = str::from_utf8(pointer).ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("size ")?.trim().parse().ok())
}

/// Texts that a server may have sent in place of a file.
fn text(start: &[u8]) -> Option<Foreign> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let start = start.trim_ascii_start();
    let begins = |with: &str| {
        let head = start.get(..with.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") || begins("<head") || begins("<!--") {
        return Some(Foreign::WebPage);
    }
    if begins("<?xml") {
        return Some(Foreign::Answer("XML"));
    }
    (begins("{\"") || begins("{\n") || begins("[{")).then_some(Foreign::Answer("JSON"))
}

fn archive(start: &[u8]) -> Option<Foreign> {
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        let pickle = memchr::memmem::find(start, b"data.pkl").is_some();
        return Some(if pickle {
            Foreign::PyTorch
        } else {
            Foreign::Zip
        });
    }
    // The older format of PyTorch is a pickle, of protocol 2 as a rule.
    if start.starts_with(b"\x80\x02") {
        return Some(Foreign::PyTorch);
    }
    let known: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
    ];
    let mut known = known.iter();
    if let Some((_, name)) = known.find(|(magic, _)| start.starts_with(magic)) {
        return Some(Foreign::Archive(name));
    }
    let is_tar = start.get(257..262) == Some(b"ustar");
    is_tar.then_some(Foreign::Archive("tar"))
}

/// Weights in other formats, and places where weights were to come.
fn weights(bytes: &[u8]) -> Option<Foreign> {
    // Read as numbers, so with their letters in reverse.
    let old = [
        (b"lmgg", "GGML"),
        (b"fmgg", "GGMF"),
        (b"tjgg", "GGJT"),
        (b"algg", "GGLA"),
    ];
    if let Some((_, name)) = old.iter().find(|(magic, _)| bytes.starts_with(*magic)) {
        return Some(Foreign::OldGgml(name));
    }
    // The length of a JSON header, and the header.
    if let Some((length, header)) = bytes.split_first_chunk()
        && header.first() == Some(&b'{')
        && (2..=100_000_000).contains(&u64::from_le_bytes(*length))
    {
        return Some(Foreign::Safetensors);
    }
    let start = &bytes[..bytes.len().min(LOOKED_AT)];
    start
        .iter()
        .all(|&byte| byte == 0)
        .then_some(Foreign::Zeros)
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("the file is empty: its download has not begun, fetch it again")
            }
            Self::CutShort => f.write_str(
                "the file is cut short after its first bytes: its download did not finish, fetch it \
                 again",
            ),
            Self::LfsPointer { bytes } => {
                f.write_str("this is a Git LFS pointer, a note in place of the model")?;
                match bytes {
                    Some(bytes @ 1_000_000..) => write!(f, " of {} MB", bytes.div_ceil(1_000_000))?,
                    Some(bytes) => write!(f, " of {bytes} bytes")?,
                    None => {}
                }
                f.write_str(
                    ": run `git lfs pull` in its repository, or download the file itself",
                )
            }
            Self::WebPage => f.write_str(
                "this is a web page (HTML), not a model: a page was saved in place of the file, such \
                 as a login or an error; download the file itself",
            ),
            Self::Answer(format) => write!(
                f,
                "this is {format} text, not a model: if a server sent it in place of the file, open \
                 it to read why, and download the file itself"
            ),
            Self::PyTorch => f.write_str(
                "this is a PyTorch file, not GGUF: fetch the model as GGUF, or convert it with \
                 llama.cpp's convert_hf_to_gguf.py",
            ),
            Self::Zip => f.write_str(
                "this is a zip archive, not a model: unpack it and use the .gguf file in it",
            ),
            Self::Archive(format) => write!(
                f,
                "this is a {format} file, not a model: unpack it and use the .gguf file in it"
            ),
            Self::Safetensors => f.write_str(
                "this is a safetensors file, not GGUF: fetch the model as GGUF, or convert it with \
                 llama.cpp's convert_hf_to_gguf.py",
            ),
            Self::OldGgml(format) => write!(
                f,
                "this is a {format} file, the format that GGUF replaced in 2023: fetch the model as \
                 GGUF"
            ),
            Self::Zeros => f.write_str(
                "the file begins with zeros: a download reserved its place and did not finish, fetch \
                 it again",
            ),
            Self::Other { start } => write!(
                f,
                "not a GGUF file: it starts with \"{}\", not \"GGUF\"",
                start.escape_ascii()
            ),
        }
    }
}
