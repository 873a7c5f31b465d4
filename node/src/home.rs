//! Where Potluck keeps its data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io, process};

use etcetera::BaseStrategy as _;

use crate::private_file;

/// The environment variable that overrides the data folder.
pub const HOME_VARIABLE: &str = "POTLUCK_HOME";

/// The data folder: `$POTLUCK_HOME`, or the platform's folder for application data.
///
/// Its path is settled when it is named: absolute and without links, so that all commands of a home
/// have one path for it, whatever their working folder is and however it was written. Creating a
/// `Home` writes nothing; folders are made when something is first written.
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
        Self {
            root: settled(root.into()),
        }
    }

    /// The data folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What keeps this folder from being used, if anything does. It makes the folder if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made, or nothing can be written in it.
    pub fn check(&self) -> io::Result<()> {
        private_file::create_folder(&self.root)?;
        let probe = self.root.join(format!(".probe-{}", process::id()));
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)
    }

    /// The folder that holds model files.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }
}

/// The absolute path of a folder, without links as far as it exists.
fn settled(path: PathBuf) -> PathBuf {
    let path = std::path::absolute(&path).unwrap_or(path);
    let real = path.ancestors().find_map(|above| {
        let real = above.canonicalize().ok()?;
        let rest = path.strip_prefix(above).ok()?;
        let nothing = rest.as_os_str().is_empty();
        Some(if nothing { real } else { real.join(rest) })
    });
    real.unwrap_or(path)
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

    #[test]
    fn a_home_that_is_no_folder_is_found_out_and_a_new_one_is_made() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path().join("a").join("b"));
        assert!(home.check().is_ok() && home.root().is_dir());
        assert!(fs::read_dir(home.root()).expect("there").next().is_none());
        let file = folder.path().join("file");
        fs::write(&file, b"").expect("writable");
        assert!(Home::at(&file).check().is_err());
        assert!(Home::at(file.join("below")).check().is_err());
    }

    #[test]
    #[cfg(unix)]
    fn one_home_has_one_path_however_it_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let real = folder.path().canonicalize().expect("there");
        let home = real.join("home");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).expect("made");
        // Before and after it is there.
        for _ in 0..2 {
            assert_eq!(Home::at(&home).root(), home);
            assert_eq!(Home::at(link.join("home")).root(), home);
            assert_eq!(Home::at(link.join(".").join("home")).root(), home);
            fs::create_dir_all(&home).expect("writable");
        }
        assert_eq!(Home::at(home.join("..").join("home")).root(), home);
        let here = std::env::current_dir().expect("there is one");
        assert_eq!(Home::at("x/y").root(), settled(here).join("x/y"));
    }
}
