//! Whatever a peer sends: no panic, nothing allocated beyond the limits, the same error ever after.

use proptest::collection::vec;
use proptest::prelude::*;

use super::messages::any_control;
use super::{encoded, hello};
use crate::wire::limits::{MAX_CONTROL_BYTES, MAX_FIELDS};
use crate::wire::{Control, ControlError, ControlReader, Received};

fn read_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<ControlError> {
    let mut reader = ControlReader::new();
    let mut error = None;
    for mut piece in pieces {
        loop {
            let read = reader.read(&mut piece);
            assert!(reader.allocated_bytes() <= MAX_CONTROL_BYTES);
            match (read, &error) {
                (Ok(None), None) => break,
                (Ok(Some(Received::Message(message))), None) => {
                    // What was accepted is within limits, so that it can be sent, too.
                    encoded(message);
                }
                (Ok(Some(Received::Unknown)), None) => {}
                (Err(first), None) => error = Some(first),
                (Err(again), Some(first)) => {
                    assert_eq!(again, *first);
                    break;
                }
                (Ok(_), Some(_)) => panic!("the stream was over"),
            }
        }
    }
    error
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in vec(any::<u8>(), 0..2_000), size in 1..100_usize) {
        read_pieces(bytes.chunks(size));
        let _ = Control::decode(&bytes);
    }

    #[test]
    fn a_message_with_a_byte_changed_is_refused_or_read(
        message in any_control(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(hello());
        message.encode(&mut bytes).expect("within limits");
        let place = place.index(bytes.len());
        bytes[place] = byte;
        read_pieces([bytes.as_slice()]);
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_anything_is_allocated() {
    let mut length = Vec::new();
    prost::encode_length_delimiter(MAX_CONTROL_BYTES + 1, &mut length).expect("a vector grows");
    assert_eq!(
        read_pieces([length.as_slice()]),
        Some(ControlError::Oversize)
    );
    let endless = [0x80; 100];
    assert_eq!(read_pieces([&endless[..]]), Some(ControlError::Oversize));
    let largest = [0xff; 10];
    assert_eq!(read_pieces([&largest[..]]), Some(ControlError::Oversize));

    let longest = vec![0; MAX_CONTROL_BYTES + 1];
    assert_eq!(Control::decode(&longest), Err(ControlError::Oversize));
}

#[test]
fn many_empty_elements_are_refused_before_they_become_many_times_as_many() {
    // `ProfileUpdate.links`, field 5, empty; in one message or in many that would be merged.
    let links = |count: usize| [0x2a, 0].repeat(count);
    let update = |links: &[u8]| {
        let mut bytes = vec![0x32];
        prost::encode_length_delimiter(links.len(), &mut bytes).expect("a vector grows");
        bytes.extend_from_slice(links);
        bytes
    };
    let in_one = update(&links(MAX_FIELDS));
    assert_eq!(Control::decode(&in_one), Err(ControlError::TooManyFields));
    let in_many = update(&links(2)).repeat(MAX_FIELDS / 3 + 1);
    assert_eq!(Control::decode(&in_many), Err(ControlError::TooManyFields));
    let few = Control::decode(&update(&links(65))).expect_err("more than there may be");
    assert_eq!(
        few.to_string(),
        "a malformed control message: ProfileUpdate.links has a length of 65, outside 0 to 64; \
         the peer is faulty, drop it"
    );
}

#[test]
fn groups_and_truncated_messages_are_no_messages() {
    for bytes in [
        &[0x0b][..],
        &[0x0b, 0x0c],
        &[0x0a],
        &[0x0a, 5, 1],
        &[0x0a, 1, 0x08],
        &[0xff; 11],
    ] {
        assert_eq!(
            Control::decode(bytes),
            Err(ControlError::NotAMessage),
            "{bytes:?}"
        );
    }
}
