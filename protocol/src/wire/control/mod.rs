//! Control messages, parsed and checked: nobody needs to check them again.

#[macro_use]
mod code;
mod addresses;
mod circle;
mod greeting;
mod measuring;
mod profile;
mod session;
mod stage;
mod transfer;

pub use addresses::PeerAddresses;
pub use circle::{CircleDigest, CircleEntries};
pub use greeting::{Hello, Refuse, RefuseCode};
pub use measuring::{KeepAlive, Ping, Pong};
pub use profile::ProfileUpdate;
pub use session::{SessionQuery, SessionState};
pub use stage::{
    CloseStage, HandOver, HandOverReason, OpenStage, StageFetching, StageOpened, StageRefused,
    StageRefusedCode,
};
pub use transfer::{
    ByteRange, ContentHash, ModelOffer, ModelQuery, ShardHeader, ShardRefused, ShardRefusedCode,
    ShardRequest,
};

use prost::Message as _;

use super::error::ControlError;
use super::fields::count_fields;
use super::limits::{MAX_CONTROL_BYTES, MAX_FIELDS};
use super::proto;
use super::version::OtherMajor;

/// Defines [`Control`] and its conversions from and to the envelope's variants.
macro_rules! control {
    ($($name:ident),+ $(,)?) => {
        /// A control message. `proto/potluck.proto` says what each is for.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is its message")]
        pub enum Control {
            $($name($name),)+
        }

        $(impl From<$name> for Control {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })+

        impl Control {
            fn to_proto(&self) -> proto::Control {
                let message = match self {
                    $(Self::$name(message) => proto::control::Message::$name(message.into()),)+
                };
                proto::Control { message: Some(message) }
            }

            fn from_proto(message: proto::control::Message) -> Result<Self, ControlError> {
                Ok(match message {
                    $(proto::control::Message::$name(message) => Self::$name(message.try_into()?),)+
                })
            }
        }
    };
}

control!(
    Hello,
    Refuse,
    Ping,
    Pong,
    KeepAlive,
    ProfileUpdate,
    CircleDigest,
    CircleEntries,
    OpenStage,
    StageOpened,
    StageRefused,
    CloseStage,
    HandOver,
    SessionQuery,
    SessionState,
    ModelQuery,
    ModelOffer,
    ShardRequest,
    ShardHeader,
    ShardRefused,
    PeerAddresses,
    StageFetching,
);

impl Control {
    /// Appends the message behind its length, as it travels.
    ///
    /// # Errors
    /// [`ControlError`] if the message breaks a limit, so that a peer would refuse it; `out` is then
    /// as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        let bytes = self.to_proto().encode_to_vec();
        // The same checks as the receiver's, so that the fault shows where it is.
        Self::decode(&bytes)?;
        prost::encode_length_delimiter(bytes.len(), out)
            .expect("a vector grows to hold a length of at most 10 bytes");
        out.extend_from_slice(&bytes);
        Ok(())
    }

    /// The message in these bytes, without their length; `None` if it is one that a newer minor
    /// version added.
    ///
    /// # Errors
    /// [`ControlError`] if the bytes are none, break a limit, or greet from another major version.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, ControlError> {
        if bytes.len() > MAX_CONTROL_BYTES {
            return Err(ControlError::Oversize);
        }
        if count_fields(bytes).ok_or(ControlError::NotAMessage)? > MAX_FIELDS {
            return Err(ControlError::TooManyFields);
        }
        let control = proto::Control::decode(bytes).map_err(|_| ControlError::NotAMessage)?;
        let Some(message) = control.message else {
            return Ok(None);
        };
        if let proto::control::Message::Hello(hello) = &message {
            // Before all else: the rest of another version's greeting may mean anything.
            OtherMajor::check(hello)?;
        }
        Self::from_proto(message).map(Some)
    }
}
