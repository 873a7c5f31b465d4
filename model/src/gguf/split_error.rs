//! What is wrong with a model that is split into several files.

use std::path::PathBuf;

/// More than any model has; each takes a mapping and an open file.
pub(super) const MOST_FILES: u32 = 1024;

/// What is wrong with a model that is split into several files.
///
/// Parts are counted from 1, as in the files' names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// `split.no` and `split.count` contradict each other, or are beyond bounds.
    #[error(
        "this file says that it is part {part} of {count}, which cannot be (a model has {MOST_FILES} \
         parts at most): choose another file"
    )]
    Impossible {
        /// Which part it says it is.
        part: u64,
        /// How many parts it says there are.
        count: u32,
    },
    /// The file's name does not say what its metadata says, so the other parts cannot be found.
    #[error(
        "this file is part {part} of {count} of a model, and the others are found by its name, which \
         must end in {}: give all parts the names that they were published with",
        ending(*part, *count)
    )]
    Name {
        /// Which part it is.
        part: u32,
        /// How many parts there are.
        count: u32,
    },
    /// Not read from a file.
    #[error("these bytes are one part of a model that is split: open it by the path of a part")]
    Bytes,
    /// Some files are not there.
    #[error(
        "the model is split into {count} files, and {} {} not in {}: fetch all of them into one folder",
        names.join(", "),
        if names.len() == 1 { "is" } else { "are" },
        folder.display()
    )]
    Missing {
        /// How many there are.
        count: u32,
        /// The missing ones' names, a few at most.
        names: Vec<String>,
        /// Where they should be.
        folder: PathBuf,
    },
    /// A file is not the part that its name says.
    #[error(
        "{} should be part {part} of {count}, and says that it is {}: fetch all parts of one model \
         from one place",
        path.display(),
        said(*says)
    )]
    OtherPart {
        /// The file.
        path: PathBuf,
        /// Which part its name says.
        part: u32,
        /// How many there are.
        count: u32,
        /// Which part of how many its metadata says; `None` if it says that it is no part.
        says: Option<(u64, u32)>,
    },
    /// A tensor is in two files.
    #[error(
        "tensor `{name}` is in two of the model's files, the second time in {}: fetch all parts of \
         one model from one place",
        path.display()
    )]
    TensorTwice {
        /// The tensor.
        name: String,
        /// The second file.
        path: PathBuf,
    },
    /// The files have more or fewer tensors than they say.
    #[error(
        "the {count} files of the model have {found} tensors together, and {} says {expected}: fetch \
         all parts of one model from one place",
        path.display()
    )]
    TensorCount {
        /// How many files there are.
        count: u32,
        /// How many tensors they have.
        found: usize,
        /// How many one of them says.
        expected: u64,
        /// That file.
        path: PathBuf,
    },
}

/// `-00002-of-00003.gguf`
pub(super) fn ending(part: u32, count: u32) -> String {
    format!("-{part:05}-of-{count:05}.gguf")
}

fn said(says: Option<(u64, u32)>) -> String {
    match says {
        Some((part, count)) => format!("part {part} of {count}"),
        None => "a whole model".to_owned(),
    }
}
