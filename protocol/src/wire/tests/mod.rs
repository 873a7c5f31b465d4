//! What travels is what was meant, however it arrives.

mod bytes;
mod frames;
mod garbage;
mod limits;
mod messages;
mod round_trips;
mod versions;

use super::{Control, ControlError, ControlReader, Hello, Received};

/// The bytes of a message as they travel.
fn encoded(message: impl Into<Control>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.into().encode(&mut bytes).expect("within limits");
    bytes
}

/// A greeting of this version.
fn hello() -> Hello {
    Hello {
        minor: super::MINOR,
        software: "potluck 0.1.0".into(),
        run: 0,
    }
}

/// All that a reader makes of pieces that come one after another.
fn read_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Received>, ControlError> {
    let mut reader = ControlReader::new();
    let mut received = Vec::new();
    for mut piece in pieces {
        while let Some(message) = reader.read(&mut piece)? {
            received.push(message);
        }
        assert!(piece.is_empty(), "all is taken");
        assert!(reader.allocated_bytes() <= super::limits::MAX_CONTROL_BYTES);
    }
    Ok(received)
}
