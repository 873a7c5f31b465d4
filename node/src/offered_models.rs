//! The model files of a home that its node may take layers from.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Cancel;
use crate::catalogue::ModelsFolder;
use crate::home::Home;
use crate::local::{LocalNode, identify};

/// Lets the node's stages use the files in the models folder and those named. What cannot be used is
/// said in words; a folder that is not there has none.
///
/// # Errors
/// A named file that cannot be used.
pub fn add_all(
    home: &Home,
    named: &[PathBuf],
    local: &LocalNode,
    cancel: &Cancel,
) -> Result<Vec<String>, Unusable> {
    for path in named {
        identify(local, path, cancel).map_err(|words| {
            let file = path.display().to_string();
            match words.words.contains(&file) {
                true => Unusable(words.words),
                false => Unusable(format!("cannot use {file}: {words}")),
            }
        })?;
    }
    let mut problems = Vec::new();
    for path in files_in(ModelsFolder::of(home).folder()) {
        if let Err(words) = identify(local, &path, cancel) {
            problems.push(format!("{} is not used: {words}", path.display()));
        }
    }
    Ok(problems)
}

/// A model file that cannot be used: why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// Whole model files in a folder, in the order of their names.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_model = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.as_encoded_bytes();
            name.starts_with(b".")
        });
        !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "gguf")
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(is_model).collect();
    paths.sort();
    paths
}
