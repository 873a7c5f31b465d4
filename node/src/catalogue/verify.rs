//! SHA-256 of files, and the marker that spares re-hashing on every start.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::Digest as _;

use crate::Cancel;

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The value written as 64 hexadecimal digits.
    ///
    /// # Panics
    /// On anything else. It is meant for constants, where the panic is a compile error.
    pub const fn from_hex(hex: &str) -> Self {
        match Self::parse(hex) {
            Some(value) => value,
            None => panic!("a SHA-256 is 64 hexadecimal digits"),
        }
    }

    /// The value written as 64 hexadecimal digits, or `None` if `hex` is not that.
    pub const fn parse(hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        let mut value = [0; 32];
        let mut i = 0;
        while i < 32 {
            let (Some(high), Some(low)) = (digit(hex[2 * i]), digit(hex[2 * i + 1])) else {
                return None;
            };
            value[i] = high << 4 | low;
            i += 1;
        }
        Some(Self(value))
    }

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The hash of the file at `path` when it was last checked, if the file has not changed since and
    /// is of the models folder.
    pub fn last_of(path: &Path) -> Option<Self> {
        let marker = Marker::read(path)?;
        let same = Marker::of(path, marker.sha256).ok()? == marker;
        same.then_some(marker.sha256)
    }

    /// The hash of the file at `path`. `on_progress` is told the bytes read so far; `None` when
    /// cancelled.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(
        path: &Path,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(u64),
    ) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        loop {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Some(Self(hasher.finalize().into())));
            }
            hasher.update(&buffer[..read]);
            done += read as u64;
            on_progress(done);
        }
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a file looked like when its hash was last checked.
///
/// A file of the same length and modification time is taken to be unchanged, so that a start does
/// not read the whole model only to hash it. `pull --verify` ignores the marker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marker {
    sha256: Sha256,
    bytes: u64,
    modified_ns: u128,
}

impl Marker {
    /// The marker that says `path` was just found to have this hash.
    pub(super) fn of(path: &Path, sha256: Sha256) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let modified = metadata
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            sha256,
            bytes: metadata.len(),
            modified_ns: modified.as_nanos(),
        })
    }

    /// The marker stored beside `path`, if there is one and it is readable.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(Self::path(path)).ok()?;
        let mut words = text.split_ascii_whitespace();
        let sha256 = Sha256::parse(words.next()?)?;
        let bytes = words.next()?.parse().ok()?;
        let modified_ns = words.next()?.parse().ok()?;
        Some(Self {
            sha256,
            bytes,
            modified_ns,
        })
    }

    /// Stores this marker beside `path`.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let Self {
            sha256,
            bytes,
            modified_ns,
        } = self;
        fs::write(
            Self::path(path),
            format!("{sha256} {bytes} {modified_ns}\n"),
        )
    }

    /// Forgets that `path` was checked.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(Self::path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".verified");
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hashes_and_prints() {
        assert_eq!(Sha256::of(b"abc").to_string(), ABC);
        assert_eq!(Sha256::of(b"abc"), Sha256::from_hex(ABC));
        assert_eq!(Sha256::parse(&ABC.to_uppercase()), Some(Sha256::of(b"abc")));
        assert_eq!(Sha256::parse(&ABC[1..]), None);
        assert_eq!(Sha256::parse(&ABC.replace('b', "g")), None);
    }

    #[test]
    fn a_marker_stops_holding_when_the_file_changes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        fs::write(&path, b"abc").expect("written");
        let hash = Sha256::of_file(&path, &Cancel::new(), &mut |_| ())
            .expect("readable")
            .expect("not cancelled");
        assert_eq!(hash, Sha256::of(b"abc"));
        Marker::of(&path, hash)
            .expect("marker")
            .write(&path)
            .expect("written");
        assert_eq!(Marker::read(&path), Marker::of(&path, hash).ok());
        fs::write(&path, b"abcd").expect("written");
        assert_ne!(Marker::read(&path), Marker::of(&path, hash).ok());
        Marker::remove(&path).expect("removed");
        Marker::remove(&path).expect("already gone is fine");
        assert_eq!(Marker::read(&path), None);
    }
}
