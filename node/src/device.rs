//! Who this device is: its key, its name, its circle, as they are kept in the home.

use std::io;
use std::path::PathBuf;

use potluck_protocol::PeerId;
use potluck_protocol::circle::{Circle, DeviceName, Identity, LogError, MAX_LOG_BYTES, NotAName};

use crate::home::Home;
use crate::private_file;

/// This device's key, name and circle.
#[derive(Debug)]
pub struct Device {
    files: Files,
    seed: [u8; 32],
    /// What it calls itself.
    pub name: DeviceName,
    /// Its circle; of itself alone until it pairs.
    pub circle: Circle,
}

/// What is kept of a device cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A file.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The key file is not one.
    #[error(
        "{} is no key of this device: restore it from a backup, or be a new device with `potluck \
         circle new --identity`",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The circle's log is damaged.
    #[error(
        "{} is damaged: restore it from a backup, or begin a new circle with `potluck circle new` \
         and pair anew",
        path.display()
    )]
    Log {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: LogError,
    },
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The name in the file cannot be one.
    #[error("the device's name in {} cannot be used", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: NotAName,
    },
}

/// Which key a device has that begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The one that it has.
    Kept,
    /// Another: it is another device to all others.
    New,
}

/// Where it is kept.
#[derive(Debug, Clone)]
struct Files {
    key: PathBuf,
    name: PathBuf,
    log: PathBuf,
}

/// Random bytes.
///
/// # Errors
/// When the system has none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], DeviceError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(DeviceError::Random)?;
    Ok(bytes)
}

impl Device {
    /// Whether this home has a device already.
    pub fn is_known(home: &Home) -> bool {
        home.root().join("device.key").exists()
    }

    /// The device of this home; a new one, with a key and a circle of its own, if there is none.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(home: &Home) -> Result<Self, DeviceError> {
        let files = Files::of(home);
        let seed = files.seed()?;
        let identity = Identity::from_seed(&seed);
        let name = files.name()?;
        let circle = match read(&files.log, MAX_LOG_BYTES)? {
            Some(log) => Circle::from_log(&log).map_err(|source| DeviceError::Log {
                path: files.log.clone(),
                source,
            })?,
            None => {
                let circle = Circle::found(&identity, &name, random()?);
                replace(&files.log, &circle.to_log())?;
                circle
            }
        };
        Ok(Self {
            files,
            seed,
            name,
            circle,
        })
    }

    /// The device of this home in a new circle of itself alone, whatever is in the files that it
    /// replaces. No node of this home may run.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn begin_anew(home: &Home, key: Key) -> Result<Self, DeviceError> {
        let files = Files::of(home);
        if key == Key::New {
            // First: a new key in an old circle is in none, and says so.
            replace(&files.key, &random::<32>()?)?;
        }
        let seed = files.seed()?;
        let name = files.name().unwrap_or_else(|_| system_name());
        let circle = Circle::found(&Identity::from_seed(&seed), &name, random()?);
        replace(&files.log, &circle.to_log())?;
        Ok(Self {
            files,
            seed,
            name,
            circle,
        })
    }

    /// The key.
    pub fn identity(&self) -> Identity {
        Identity::from_seed(&self.seed)
    }

    /// The secret that the key is made of.
    pub(crate) fn seed(&self) -> [u8; 32] {
        self.seed
    }

    /// The node that the key proves.
    pub fn peer_id(&self) -> PeerId {
        self.identity().peer_id()
    }

    /// Whether its owner gave it a name, be it the system's.
    pub fn is_named(&self) -> bool {
        self.files.name.exists()
    }

    /// Keeps another name.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn rename(&mut self, name: DeviceName) -> Result<(), DeviceError> {
        replace(&self.files.name, name.as_str().as_bytes())?;
        self.name = name;
        Ok(())
    }

    /// Keeps a circle's log.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub(crate) fn store(&self, circle: &Circle) -> Result<(), DeviceError> {
        replace(&self.files.log, &circle.to_log())
    }
}

impl Files {
    fn of(home: &Home) -> Self {
        Self {
            key: home.root().join("device.key"),
            name: home.root().join("device.name"),
            log: home.root().join("circle.log"),
        }
    }

    fn seed(&self) -> Result<[u8; 32], DeviceError> {
        if let Some(seed) = self.read_seed()? {
            return Ok(seed);
        }
        let created = private_file::create(&self.key, &random::<32>()?);
        created.map_err(failed("write", &self.key))?;
        // Another process may have been first.
        let seed = self.read_seed()?;
        seed.ok_or_else(|| failed("read", &self.key)(io::ErrorKind::NotFound.into()))
    }

    fn read_seed(&self) -> Result<Option<[u8; 32]>, DeviceError> {
        let Some(bytes) = read(&self.key, 1024)? else {
            return Ok(None);
        };
        let path = self.key.clone();
        let seed = bytes.try_into().map_err(|_| DeviceError::Key { path })?;
        Ok(Some(seed))
    }

    fn name(&self) -> Result<DeviceName, DeviceError> {
        let Some(bytes) = read(&self.name, 1024)? else {
            return Ok(system_name());
        };
        let text = String::from_utf8_lossy(&bytes);
        DeviceName::new(text.trim_end()).map_err(|source| DeviceError::Name {
            path: self.name.clone(),
            source,
        })
    }
}

/// What the system calls this device in networks.
pub(crate) fn host_name() -> Option<String> {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(crate::profile::host_name_of_macos);
    told.map(|name| name.trim().to_owned())
}

/// What the system calls this device, as far as that can be a name.
fn system_name() -> DeviceName {
    let told = host_name().and_then(|name| DeviceName::chosen(&name).ok());
    told.unwrap_or_else(|| DeviceName::new("this device").expect("a plain name"))
}

fn read(path: &std::path::Path, most: usize) -> Result<Option<Vec<u8>>, DeviceError> {
    private_file::read(path, most).map_err(failed("read", path))
}

fn replace(path: &std::path::Path, bytes: &[u8]) -> Result<(), DeviceError> {
    private_file::replace(path, bytes).map_err(failed("write", path))
}

fn failed(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> DeviceError {
    move |source| DeviceError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stays_the_same_and_a_damaged_one_says_so() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path().join("home"));
        let mut device = Device::open(&home).expect("a new device");
        let name = DeviceName::new("kitchen").expect("a name");
        device.rename(name.clone()).expect("writable");
        let again = Device::open(&home).expect("the same device");
        assert_eq!(again.peer_id(), device.peer_id());
        assert_eq!(again.circle.id(), device.circle.id());
        assert_eq!(again.name, name);
        std::fs::write(home.root().join("circle.log"), b"nonsense").expect("writable");
        let error = Device::open(&home).expect_err("damaged");
        assert!(error.to_string().contains("potluck circle new"), "{error}");
        let anew = Device::begin_anew(&home, Key::Kept).expect("writable");
        assert_eq!(anew.peer_id(), device.peer_id());
        assert_ne!(anew.circle.id(), device.circle.id());
        let again = Device::open(&home).expect("whole again");
        assert_eq!((again.circle.id(), again.name), (anew.circle.id(), name));
        std::fs::write(home.root().join("device.key"), b"short").expect("writable");
        let error = Device::open(&home).expect_err("damaged");
        assert!(error.to_string().contains("new device"), "{error}");
        let other = Device::begin_anew(&home, Key::New).expect("writable");
        assert_ne!(other.peer_id(), device.peer_id());
        let again = Device::open(&home).expect("another device");
        assert!(again.circle.contains(other.peer_id()));
    }
}
