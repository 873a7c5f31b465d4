//! The token that clients send as their API key: made once, kept in a file that only its owner reads.

use std::io;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;

use crate::device::random;
use crate::home::Home;
use crate::private_file;

/// Bytes of a token file that are looked at.
const MOST_BYTES: usize = 4096;
/// Characters that a token has at least: a person may write one of their own.
const FEWEST: usize = 16;

/// What every client knows that is let in.
#[derive(Clone)]
pub struct Token {
    // Hashes are compared in constant time, and have one length.
    hash: blake3::Hash,
    path: PathBuf,
}

/// There is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("cannot use the token file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What it holds.
    #[error(
        "the token file {} holds no token of {FEWEST} characters or more: remove it, and a new one is made",
        path.display()
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("cannot make a token")]
    Random,
}

impl Token {
    /// The token of a home: that of its file, or a new one in a new file.
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
            // Another process may just have made one: then that is it.
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

    /// The file that it is in.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Whether this is it, in the same time for all that are not.
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
