//! Any bytes, cut anyhow, are refused as control messages, or read as ones that can be sent again.
//!
//! The first byte of the input is the size of the pieces.

use potluck_protocol::wire::limits::MAX_CONTROL_BYTES;
use potluck_protocol::wire::{Control, ControlError, ControlReader, Received};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Received>, Option<ControlError>) {
    let mut reader = ControlReader::new();
    let mut received = Vec::new();
    for mut piece in pieces {
        loop {
            let read = reader.read(&mut piece);
            assert!(reader.allocated_bytes() <= MAX_CONTROL_BYTES);
            match read {
                Ok(Some(message)) => received.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.read(&mut piece), Err(error.clone()));
                    return (received, Some(error));
                }
            }
        }
        assert!(piece.is_empty());
    }
    (received, None)
}

fn check_again(message: Control) {
    let mut bytes = Vec::new();
    message
        .encode(&mut bytes)
        .expect("what was read is within limits");
    let body = bytes.iter().position(|byte| byte & 0x80 == 0);
    let body = body.expect("a length ends") + 1;
    assert_eq!(Control::decode(&bytes[body..]), Ok(Some(message)));
}

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else {
        return;
    };
    let (whole, whole_error) = read(std::iter::once(bytes));
    let (cut, cut_error) = read(bytes.chunks(usize::from(size).max(1)));
    assert_eq!((&whole, &whole_error), (&cut, &cut_error));
    for received in whole {
        if let Received::Message(message) = received {
            check_again(message);
        }
    }
    if let Some(error) = whole_error {
        check_again(error.refusal().into());
    }
    if let Ok(Some(message)) = Control::decode(bytes) {
        check_again(message);
    }
}
