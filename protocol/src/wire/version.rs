//! Versions of the protocol, and which of them work together.

use std::fmt;

use super::check::text;
use super::limits::MAX_SOFTWARE_BYTES;
use super::proto;

/// The major version spoken here; a peer of another is refused. Data frames carry it in their first
/// byte.
pub const MAJOR: u8 = 1;

/// The minor version spoken here: what was added since the major one began. A peer of another minor
/// version is understood, whichever is newer.
///
/// 1: `StageFetching`. 2: `KeepAlive.shared`, `Profile.leaving`. 3: `Hello.run`, code `Copied`; layers
/// are computed with their biases and scales. 4: code `NotNumbers`. 5: `Profile.arithmetic`,
/// `OpenStage.arithmetic`.
pub const MINOR: u32 = 5;

/// The first minor version whose programs compute every layer that is placed. Those before it read
/// over biases and scales, which they do not know, and answer wrongly: no layers are placed on them.
pub(crate) const COMPUTES_SINCE: u32 = 3;

/// A peer of another major version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OtherMajor {
    /// Its major version.
    pub theirs: u32,
    /// Its program, if it told.
    pub software: String,
}

impl OtherMajor {
    /// Whether a greeting is of the major version spoken here.
    pub(super) fn check(hello: &proto::Hello) -> Result<(), Self> {
        if hello.major == u32::from(MAJOR) {
            return Ok(());
        }
        let software = text("Hello.software", hello.software.clone(), MAX_SOFTWARE_BYTES);
        Err(Self {
            theirs: hello.major,
            software: software.unwrap_or_default(),
        })
    }

    fn is_newer(&self) -> bool {
        self.theirs > u32::from(MAJOR)
    }

    /// The same from the peer's side: who should update there.
    pub fn words_for_peer(&self) -> String {
        let which = if self.is_newer() {
            "the device that refused"
        } else {
            "this device"
        };
        let theirs = self.theirs;
        format!(
            "speaks version {MAJOR} of the protocol and you {theirs}: update Potluck on {which}"
        )
    }
}

impl fmt::Display for OtherMajor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { theirs, software } = self;
        write!(f, "the peer speaks version {theirs} of the protocol")?;
        if !software.is_empty() {
            write!(f, " ({software})")?;
        }
        let which = if self.is_newer() { "this" } else { "that" };
        write!(
            f,
            " and this device version {MAJOR}: update Potluck on {which} device"
        )
    }
}
