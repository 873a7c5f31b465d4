//! Reads control messages from pieces of a stream.

use super::control::Control;
use super::error::ControlError;
use super::limits::MAX_CONTROL_BYTES;
use crate::reader::take_up_to;

/// Reads control messages from pieces of a stream, however it was cut. Holds no more than one
/// message.
#[derive(Debug, Default)]
pub struct ControlReader {
    state: State,
    greeted: bool,
}

#[derive(Debug)]
enum State {
    /// The varint read so far, and its bits.
    Length {
        value: usize,
        bits: u32,
    },
    /// INVARIANT: `bytes` is no longer than `length`, which is at most `MAX_CONTROL_BYTES`.
    Message {
        bytes: Vec<u8>,
        length: usize,
    },
    Failed(ControlError),
}

impl Default for State {
    fn default() -> Self {
        Self::Length { value: 0, bits: 0 }
    }
}

/// What came of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are messages, and few at a time"
)]
pub enum Received {
    /// A message.
    Message(Control),
    /// A message that a newer minor version added; its sender does not count on an answer.
    Unknown,
}

impl ControlReader {
    /// At the beginning of a stream, where a greeting or a refusal is expected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` until a message is whole; `None` once `input` is empty.
    ///
    /// # Errors
    /// [`ControlError`] if the stream is no stream of messages, breaks a limit, or comes of another
    /// major version. The same error comes ever after.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Received>, ControlError> {
        let Some(message) = self.next_message(input)? else {
            return Ok(None);
        };
        let received = self.receive(&message);
        received.map(Some).map_err(|error| self.fail(error))
    }

    /// Bytes allocated for the message that is under way.
    pub fn allocated_bytes(&self) -> usize {
        match &self.state {
            State::Message { bytes, .. } => bytes.capacity(),
            State::Length { .. } | State::Failed(_) => 0,
        }
    }

    fn next_message(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, ControlError> {
        loop {
            match &mut self.state {
                State::Length { value, bits } => {
                    let Some((&byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = rest;
                    // At most 28 bits come together, so that nothing overflows.
                    *value |= usize::from(byte & 0x7f) << *bits;
                    *bits += 7;
                    let length = *value;
                    let more = byte & 0x80 != 0;
                    if length > MAX_CONTROL_BYTES || (more && *bits > 21) {
                        return Err(self.fail(ControlError::Oversize));
                    }
                    if !more {
                        let bytes = Vec::with_capacity(length);
                        self.state = State::Message { bytes, length };
                    }
                }
                State::Message { bytes, length } => {
                    let left = *length - bytes.len();
                    bytes.extend_from_slice(take_up_to(input, left));
                    if bytes.len() < *length {
                        return Ok(None);
                    }
                    let message = std::mem::take(bytes);
                    self.state = State::default();
                    return Ok(Some(message));
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }

    fn receive(&mut self, message: &[u8]) -> Result<Received, ControlError> {
        let message = Control::decode(message)?;
        match message {
            Some(Control::Hello(_)) => self.greeted = true,
            Some(Control::Refuse(_)) => {}
            _ if !self.greeted => return Err(ControlError::NoGreeting),
            _ => {}
        }
        Ok(message.map_or(Received::Unknown, Received::Message))
    }

    fn fail(&mut self, error: ControlError) -> ControlError {
        self.state = State::Failed(error.clone());
        error
    }
}
