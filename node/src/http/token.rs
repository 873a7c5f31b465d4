//! The API key of this node: generated once, stored in a file that only its owner can read.

use std::io;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;

use crate::device::random;
use crate::home::Home;
use crate::private_file;

/// Largest token file, in bytes.
const MOST_BYTES: usize = 4096;
/// Fewest characters of a token: people may write one of their own.
const FEWEST: usize = 16;

/// The secret that authorises a client.
#[derive(Clone)]
pub struct Token {
    // Hashes have one length and are compared in constant time.
    hash: blake3::Hash,
    path: PathBuf,
}

/// The token is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file could not be read or written.
    #[error("cannot use the token file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file contains no usable token.
    #[error(
        "the token file {} holds no token of {FEWEST} characters or more: remove it, and a new one is made",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("cannot make a token")]
    Random,
}

impl Token {
    /// Loads the token of a home, or generates one and stores it.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn of(home: &Home) -> Result<Self, TokenError> {
        let path = home.root().join("http-token");
        let failed = |source| TokenError::File {
            path: path.clone(),
            source,
        };
        if private_file::read(&path, MOST_BYTES)
            .map_err(failed)?
            .is_none()
        {
            let bytes: [u8; 32] = random().map_err(|_| TokenError::Random)?;
            let text = format!("pl-{}\n", BASE64URL_NOPAD.encode(&bytes));
            // If another process has just created the token, that one is used.
            private_file::create(&path, text.as_bytes()).map_err(failed)?;
        }
        let bytes = private_file::read(&path, MOST_BYTES).map_err(failed)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let token = text.as_deref().map(str::trim).unwrap_or_default();
        if token.len() < FEWEST || token.contains(char::is_whitespace) {
            return Err(TokenError::Malformed { path });
        }
        let hash = blake3::hash(token.as_bytes());
        Ok(Self { hash, path })
    }

    /// The token's file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Whether this is the token, compared in constant time.
    pub(super) fn is(&self, given: &str) -> bool {
        blake3::hash(given.as_bytes()) == self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_token_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path());
        let token = Token::of(&home).expect("made");
        let text = std::fs::read_to_string(token.path()).expect("readable");
        assert!(text.trim().len() > 40, "it cannot be guessed");
        assert!(token.is(text.trim()));
        assert!(!token.is("") && !token.is("pl-") && !token.is(&text.trim()[1..]));
        let again = Token::of(&home).expect("read");
        assert!(again.is(text.trim()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let metadata = std::fs::metadata(token.path()).expect("there");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(token.path(), "short\n").expect("writable");
        let error = Token::of(&home).err().expect("refused").to_string();
        assert!(error.contains("http-token"), "{error}");
    }
}
