//! Draft heads: which one belongs to a model file.
//!
//! Some heads are built in (`model/heads`). A file `NAME.draft.safetensors` beside the model file
//! `NAME.gguf` takes their place. A head is used only with the model file that it was trained for,
//! which its metadata names by the SHA-256.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use potluck_model::{DraftHeadError, HeadFile};

use crate::Cancel;
use crate::catalogue::Sha256;

/// The built-in heads.
const BUILT_IN: [&[u8]; 1] = [include_bytes!(
    "../../model/heads/smollm2-135m-instruct.safetensors"
)];

/// Why a model's draft head cannot be used. Answers come without it, only slower.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The head beside the model file cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    Head {
        /// The head's file.
        path: PathBuf,
        /// Why not.
        error: DraftHeadError,
    },
}

/// The draft head of the model file at `path`: the one beside it, or a built-in one. `None` if there
/// is none, or if cancelled.
///
/// # Errors
/// [`HeadError`].
pub fn of_model(path: &Path, cancel: &Cancel) -> Result<Option<HeadFile>, HeadError> {
    let read = |path: &Path, error| HeadError::Read {
        path: path.to_owned(),
        error,
    };
    let beside = path.with_extension("draft.safetensors");
    if beside.is_file() {
        let length = fs::metadata(&beside).map_err(|error| read(&beside, error))?;
        let failed = |error| HeadError::Head {
            path: beside.clone(),
            error,
        };
        HeadFile::check_length(length.len()).map_err(failed)?;
        let bytes = fs::read(&beside).map_err(|error| read(&beside, error))?;
        let head = HeadFile::parse(bytes).map_err(failed)?;
        let sha256 = sha256_of(path, cancel).map_err(|error| read(path, error))?;
        let Some(sha256) = sha256 else {
            return Ok(None);
        };
        head.check_base(&sha256.to_string()).map_err(failed)?;
        return Ok(Some(head));
    }
    let Ok(length) = fs::metadata(path).map(|file| file.len()) else {
        // Opening the model reports it.
        return Ok(None);
    };
    let mut built_in = BUILT_IN
        .iter()
        .filter_map(|&bytes| HeadFile::parse(bytes).ok());
    let Some(head) = built_in.find(|head| head.base_bytes() == length) else {
        return Ok(None);
    };
    let sha256 = sha256_of(path, cancel).map_err(|error| read(path, error))?;
    let is_its = sha256.is_some_and(|sha256| head.check_base(&sha256.to_string()).is_ok());
    Ok(is_its.then_some(head))
}

/// The SHA-256 of a model file: as it was last checked, if the file has not changed since.
fn sha256_of(path: &Path, cancel: &Cancel) -> io::Result<Option<Sha256>> {
    match Sha256::last_of(path) {
        Some(known) => Ok(Some(known)),
        None => Sha256::of_file(path, cancel, &mut |_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    #[test]
    fn the_built_in_heads_are_whole_and_for_models_of_the_catalogue() {
        for bytes in BUILT_IN {
            let head = HeadFile::parse(bytes).expect("a head");
            let base = catalogue::entries()
                .iter()
                .find(|entry| entry.sha256.to_string() == head.base_sha256());
            let base = base.expect("a model of the catalogue");
            assert_eq!((head.base(), head.base_bytes()), (base.file, base.bytes));
        }
    }

    #[test]
    fn a_head_beside_the_model_is_refused_by_name_if_it_is_for_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("other.gguf");
        fs::write(&model, b"GGUF").expect("written");
        let none = of_model(&model, &Cancel::new()).expect("it looks");
        assert!(none.is_none());
        let beside = folder.path().join("other.draft.safetensors");
        fs::write(&beside, BUILT_IN[0]).expect("written");
        let error = of_model(&model, &Cancel::new()).expect_err("another model");
        let words = error.to_string();
        assert!(words.contains("SmolLM2-135M-Instruct.Q4_1.gguf"), "{words}");
        assert!(words.contains("other.draft.safetensors"), "{words}");
        fs::write(&beside, b"no head").expect("written");
        let error = of_model(&model, &Cancel::new()).expect_err("no head");
        assert!(error.to_string().contains("no safetensors file"), "{error}");
        let sparse = fs::File::create(&beside).expect("created");
        sparse.set_len(HeadFile::LONGEST + 1).expect("sparse");
        let error = of_model(&model, &Cancel::new()).expect_err("too long");
        let words = error.to_string();
        assert!(words.contains("268435457 bytes"), "{words}");
    }

    #[test]
    fn a_file_of_the_same_length_is_not_the_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("same.gguf");
        let head = HeadFile::parse(BUILT_IN[0]).expect("a head");
        let file = fs::File::create(&model).expect("created");
        file.set_len(head.base_bytes()).expect("sparse");
        let found = of_model(&model, &Cancel::new()).expect("it looks");
        assert!(found.is_none());
    }
}
