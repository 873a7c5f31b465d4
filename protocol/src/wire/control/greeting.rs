//! The first message of a control stream, and the last.

use super::proto;
use crate::wire::check::{Checked, Malformed, text, words};
use crate::wire::error::ControlError;
use crate::wire::limits::MAX_SOFTWARE_BYTES;
use crate::wire::version::MAJOR;

/// The first message in each direction: whoever parsed one talks to a peer of
/// [`MAJOR`](crate::wire::MAJOR).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The sender's minor version.
    pub minor: u32,
    /// The sender's program and its version, for people.
    pub software: String,
    /// Which run of the sender's node this is, at random; 0 if it does not say.
    pub run: u64,
}

impl From<&Hello> for proto::Hello {
    fn from(hello: &Hello) -> Self {
        Self {
            major: u32::from(MAJOR),
            minor: hello.minor,
            software: hello.software.clone(),
            run: hello.run,
        }
    }
}

impl TryFrom<proto::Hello> for Hello {
    type Error = Malformed;

    fn try_from(hello: proto::Hello) -> Checked<Self> {
        Ok(Self {
            minor: hello.minor,
            software: text("Hello.software", hello.software, MAX_SOFTWARE_BYTES)?,
            run: hello.run,
        })
    }
}

/// The last message of a sender that closes the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// Why, for programs.
    pub code: RefuseCode,
    /// Why, for people: can be shown as it is.
    pub words: String,
}

/// Why a peer talks no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefuseCode {
    /// Another major version.
    Version,
    /// Something that cannot be a message, or breaks a limit.
    Malformed,
    /// Not a member of the circle, or no longer.
    NotAMember,
    /// Too many connections, messages or sessions.
    TooMany,
    /// Two nodes run with the peer's key.
    Copied,
    /// A reason that a newer minor version added.
    Other(i32),
}

open_code!(RefuseCode, proto::RefuseCode, "Refuse.code", {
    Version, Malformed, NotAMember, TooMany, Copied,
});

impl From<&Refuse> for proto::Refuse {
    fn from(refuse: &Refuse) -> Self {
        Self {
            code: refuse.code.number(),
            words: refuse.words.clone(),
        }
    }
}

impl TryFrom<proto::Refuse> for Refuse {
    type Error = Malformed;

    fn try_from(refuse: proto::Refuse) -> Checked<Self> {
        Ok(Self {
            code: RefuseCode::from_number(refuse.code)?,
            words: words("Refuse.words", refuse.words)?,
        })
    }
}

impl ControlError {
    /// What to tell the peer before closing the stream.
    pub fn refusal(&self) -> Refuse {
        let (code, words) = match self {
            Self::OtherMajor(other) => (RefuseCode::Version, other.words_for_peer()),
            Self::Oversize
            | Self::TooManyFields
            | Self::NotAMessage
            | Self::Malformed(_)
            | Self::NoGreeting => (RefuseCode::Malformed, self.to_string()),
        };
        Refuse { code, words }
    }
}
