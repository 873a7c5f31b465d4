//! What a user means by "the model".

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Cancel;
use crate::catalogue::{self, Entry, FetchError, FetchEvent, FetchOptions, ModelsFolder};

/// A model as commands name it: in the catalogue, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A model of the catalogue.
    Named(&'static Entry),
    /// A GGUF file of the user's own.
    File(PathBuf),
}

/// A name that is neither in the catalogue nor a file's.
#[derive(Debug, thiserror::Error)]
#[error(
    "\"{name}\" is no model of the catalogue ({}) and no file",
    catalogue_names()
)]
pub struct UnknownModel {
    name: String,
}

/// The catalogue's names in one line.
fn catalogue_names() -> String {
    let names: Vec<_> = catalogue::entries()
        .iter()
        .map(|entry| entry.name)
        .collect();
    names.join(", ")
}

impl Default for ModelRef {
    fn default() -> Self {
        Self::Named(catalogue::default_entry())
    }
}

impl FromStr for ModelRef {
    type Err = UnknownModel;

    /// A catalogue name wins over a file of the same name, which can be given as `./NAME`.
    fn from_str(text: &str) -> Result<Self, UnknownModel> {
        if let Some(entry) = catalogue::find(text) {
            return Ok(Self::Named(entry));
        }
        let path = PathBuf::from(text);
        let looks_like_a_path =
            text.contains(['/', std::path::MAIN_SEPARATOR]) || text.ends_with(".gguf");
        if looks_like_a_path || path.exists() {
            return Ok(Self::File(path));
        }
        Err(UnknownModel {
            name: text.to_owned(),
        })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(entry) => f.write_str(entry.name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl ModelRef {
    /// The model's file, fetched first if it is of the catalogue and not in the store.
    ///
    /// # Errors
    /// As [`catalogue::fetch`]. Whether a user's own file exists is found when it is opened.
    pub fn locate(
        &self,
        store: &ModelsFolder,
        options: &FetchOptions,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<PathBuf, FetchError> {
        match self {
            Self::Named(entry) => catalogue::fetch(entry, store, options, cancel, on_event),
            Self::File(path) => Ok(path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_first_then_paths() {
        let parse = |text: &str| text.parse::<ModelRef>();
        assert_eq!(parse("SmolLM2:135M").expect("a name"), ModelRef::default());
        for path in ["some.gguf", "./gemma3:270m", "folder/model"] {
            assert_eq!(parse(path).expect("a path"), ModelRef::File(path.into()));
        }
        let error = parse("llama:900b").expect_err("unknown").to_string();
        assert!(error.contains("smollm2:135m"), "{error}");
    }
}
