//! Where Potluck keeps its data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

/// The environment variable that overrides the data folder.
pub const HOME_VARIABLE: &str = "POTLUCK_HOME";

/// The data folder: `$POTLUCK_HOME`, or the platform's folder for application data.
///
/// Creating a `Home` touches no disk; folders are made when something is first written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// No data folder could be named.
#[derive(Debug, thiserror::Error)]
#[error("this account has no home folder: set POTLUCK_HOME to a folder for Potluck's data")]
pub struct HomeError;

impl Home {
    /// The folder this environment asks for: `override_path` (the value of [`HOME_VARIABLE`]) when
    /// it is set and not empty, else `potluck` in the platform's data folder.
    ///
    /// # Errors
    /// When there is no override and the platform names no home folder.
    pub fn locate(override_path: Option<OsString>) -> Result<Self, HomeError> {
        if let Some(path) = override_path.filter(|path| !path.is_empty()) {
            return Ok(Self::at(PathBuf::from(path)));
        }
        let folders = etcetera::base_strategy::choose_native_strategy().map_err(|_| HomeError)?;
        // Models are large and can be fetched again: on Windows they belong in the folder that is
        // not copied between machines with the account.
        let data = if cfg!(windows) {
            folders.cache_dir()
        } else {
            folders.data_dir()
        };
        Ok(Self::at(data.join("potluck")))
    }

    /// [`Home::locate`] with this process's own environment.
    ///
    /// # Errors
    /// As [`Home::locate`].
    pub fn from_environment() -> Result<Self, HomeError> {
        Self::locate(std::env::var_os(HOME_VARIABLE))
    }

    /// A home in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The data folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that holds model files.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_and_an_empty_one_does_not() {
        let home = Home::locate(Some("/somewhere/else".into())).expect("no lookup is needed");
        assert_eq!(home.models(), Path::new("/somewhere/else/models"));
        let home = Home::locate(Some(OsString::new())).expect("tests run with a home folder");
        assert!(home.root().ends_with("potluck"));
    }
}
