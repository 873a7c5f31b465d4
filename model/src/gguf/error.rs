//! What can be wrong with a GGUF file.

use std::io;
use std::path::PathBuf;

use super::{Foreign, OtherType, SplitError};
use crate::TensorType;

/// Why a GGUF file, or a field of it, was refused.
///
/// Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The system could not open or map the file.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is a pipe or a device.
    #[error("{} is not a regular file: give the path of a .gguf file", path.display())]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
    },
    /// A folder.
    #[error("{} is a folder: {}", path.display(), in_folder(models))]
    Folder {
        /// The path asked for.
        path: PathBuf,
        /// Names of GGUF files in it, a few at most.
        models: Vec<String>,
    },
    /// The first four bytes are not `GGUF`.
    #[error("{0}")]
    NotGguf(Foreign),
    /// Something about a model that is split into several files.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Something about one of the files that a model is split into.
    #[error("{}: {source}", path.display())]
    Part {
        /// That file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// Tensors are stored in types that this build does not compute with.
    #[error(
        "{}, which this build does not run: choose a file with {}",
        stored_as(types),
        TensorType::ALL.map(TensorType::name).join(", ")
    )]
    UnsupportedTypes {
        /// The types, and how many tensors have each.
        types: Vec<(OtherType, usize)>,
    },
    /// A file changed while it was mapped.
    #[error(
        "{} changed while it was in use{}: begin again, to use it as it is now",
        path.display(),
        cut(*was, *is)
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        was: u64,
        /// Its length now.
        is: u64,
    },
    /// A mapped file could not be read.
    #[error(
        "part of {} could not be read: it was cut short for a while, or its disk failed or is gone; \
         check it and begin again",
        path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// A file for big-endian machines.
    #[error("this GGUF file is big-endian: fetch or convert the little-endian one")]
    BigEndian,
    /// A version that is neither 2 nor 3.
    #[error(
        "GGUF version {version} is not supported: convert the file to version 3 (versions 2 and 3 are read)"
    )]
    UnsupportedVersion {
        /// The version met.
        version: u32,
    },
    /// The file ends before an item does.
    #[error(
        "{item} at byte {offset} needs {needed} bytes and the file has {available} left: the file is cut short or corrupt, fetch it again"
    )]
    Truncated {
        /// What was being read.
        item: String,
        /// Where it starts.
        offset: u64,
        /// Its length, saturated.
        needed: u64,
        /// Bytes from `offset` to the end.
        available: u64,
    },
    /// A count or a length beyond what any real file holds.
    #[error(
        "{item} at byte {offset} is {count}, and at most {limit} is accepted: the file is corrupt, fetch it again"
    )]
    TooMany {
        /// What is counted.
        item: String,
        /// Where the count stands.
        offset: u64,
        /// The count met.
        count: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// A key or a tensor name that is not UTF-8.
    #[error("{item} at byte {offset} is not valid UTF-8: the file is corrupt, fetch it again")]
    InvalidName {
        /// Which name.
        item: String,
        /// Where its bytes start.
        offset: u64,
    },
    /// Two metadata entries have one key.
    #[error(
        "metadata key `{key}` appears twice, and which value counts is not defined: choose another file"
    )]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A metadata value has a type that GGUF does not define.
    #[error("{item} at byte {offset} has value type {number}, which GGUF does not define")]
    UnknownValueType {
        /// Whose type it is.
        item: String,
        /// Where the type number stands.
        offset: u64,
        /// The number met.
        number: u32,
    },
    /// Arrays inside arrays, deeper than any real file nests them.
    #[error("{item} at byte {offset} nests arrays more than {limit} deep")]
    TooDeep {
        /// Whose value it is.
        item: String,
        /// Where the innermost array accepted starts.
        offset: u64,
        /// The greatest depth accepted.
        limit: u32,
    },
    /// `general.alignment` is not a power of two from 8 to 65,536.
    #[error("`general.alignment` is {alignment}: it must be a power of two from 8 to 65536")]
    InvalidAlignment {
        /// The alignment met.
        alignment: u32,
    },
    /// A metadata entry that must be there is not.
    #[error("metadata key `{key}` is missing: this file cannot be used as it is, choose another")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata entry has another type than its key calls for.
    #[error("metadata key `{key}` must be {expected}, and this file has {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What was asked for, with its article.
        expected: &'static str,
        /// What the file has, with its article.
        found: String,
    },
    /// A number that does not fit what its key calls for.
    #[error("metadata key `{key}` must be {expected}, and this file has {value}")]
    OutOfRange {
        /// The key.
        key: String,
        /// What was asked for, with its article.
        expected: &'static str,
        /// The number met.
        value: i128,
    },
    /// A text that is not UTF-8.
    #[error(
        "metadata key `{key}` must be UTF-8 text, and this file has text in another encoding: choose another file"
    )]
    InvalidText {
        /// The key.
        key: String,
    },
    /// An element of an array of texts that is not UTF-8.
    #[error(
        "metadata key `{key}` must be UTF-8 texts, and element {index} is in another encoding: choose another file"
    )]
    InvalidElement {
        /// The key.
        key: String,
        /// Which element, from 0.
        index: usize,
    },
    /// A tensor that must be there is not.
    #[error("tensor `{name}` is missing: this file cannot be used as it is, choose another")]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// Something about one tensor.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
}

/// What is wrong with one tensor's entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Another tensor has this name.
    #[error("the name appears twice")]
    DuplicateName,
    /// No dimension, or more than four.
    #[error("it has {count} dimensions, and 1 to 4 are accepted")]
    DimensionCount {
        /// The number of dimensions met.
        count: u32,
    },
    /// A dimension of length 0.
    #[error("dimension {index} is 0")]
    EmptyDimension {
        /// Which dimension, innermost first, from 0.
        index: usize,
    },
    /// The number of elements or bytes overflows.
    #[error("its dimensions {dimensions:?} multiply to more than this device can address")]
    TooLarge {
        /// The dimensions, innermost first.
        dimensions: Vec<u64>,
    },
    /// A row is not a whole number of blocks.
    #[error("rows of {columns} elements are not a whole number of {tensor_type} blocks of {}", tensor_type.block_elements())]
    PartialBlock {
        /// Elements of a row.
        columns: u64,
        /// The tensor's type.
        tensor_type: TensorType,
    },
    /// The data does not start at a multiple of the file's alignment.
    #[error("its data offset {offset} is not a multiple of the alignment {alignment}")]
    Misaligned {
        /// Offset from the start of the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u32,
    },
    /// The data reaches past the end of the file.
    #[error(
        "its {bytes} bytes at byte {offset} reach past the end of the file, which has {file_len}: the file is cut short (its download did not finish), fetch it again"
    )]
    OutOfFile {
        /// Absolute offset, saturated.
        offset: u64,
        /// Length of the data.
        bytes: u64,
        /// Length of the file.
        file_len: u64,
    },
    /// The data shares bytes with another tensor's.
    #[error("its data at byte {offset} overlaps that of `{other}`")]
    Overlap {
        /// Absolute offset.
        offset: u64,
        /// The tensor that starts before it.
        other: String,
    },
}

/// "120 tensors are stored as IQ1_S and 1 as type number 99".
fn stored_as(types: &[(OtherType, usize)]) -> String {
    let mut text = String::new();
    for (index, (other, count)) in types.iter().enumerate() {
        let words = match (index, count) {
            (0, 1) => "1 tensor is stored as ".to_owned(),
            (0, _) => format!("{count} tensors are stored as "),
            (last, _) if last + 1 == types.len() => format!(" and {count} as "),
            _ => format!(", {count} as "),
        };
        text.push_str(&words);
        text.push_str(&other.to_string());
    }
    text
}

fn cut(was: u64, is: u64) -> String {
    if is < was {
        return format!(" (another program cut it from {was} to {is} bytes)");
    }
    " (another program wrote into it or set its date)".to_owned()
}

fn in_folder(models: &[String]) -> String {
    if models.is_empty() {
        return "it has no .gguf file, give the path of one".to_owned();
    }
    format!(
        "give the path of a file in it, such as {}",
        models.join(" or ")
    )
}
