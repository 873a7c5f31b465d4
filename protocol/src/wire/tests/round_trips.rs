//! Every message comes out as it went in, however the stream is cut.

use proptest::collection::vec;
use proptest::prelude::*;

use super::messages::any_control;
use super::{encoded, hello, read_all};
use crate::wire::{Control, ControlReader, Received};

proptest! {
    #[test]
    fn a_message_comes_out_as_it_went_in(message in any_control()) {
        let bytes = encoded(hello()).into_iter().chain(encoded(message.clone()));
        let bytes: Vec<_> = bytes.collect();
        let received = read_all([bytes.as_slice()]);
        let expected = [hello().into(), message].map(Received::Message);
        prop_assert_eq!(received, Ok(expected.to_vec()));
    }

    #[test]
    fn pieces_of_any_size_give_the_same_messages(
        messages in vec(any_control(), 0..4),
        sizes in vec(1..5_000_usize, 1..20),
    ) {
        let mut bytes = encoded(hello());
        for message in &messages {
            message.encode(&mut bytes).expect("within limits");
        }
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for size in sizes.into_iter().cycle() {
            let (piece, left) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        let expected = [Control::from(hello())].into_iter().chain(messages);
        let expected = expected.map(Received::Message).collect();
        prop_assert_eq!(read_all(pieces), Ok(expected));
    }
}

#[test]
fn a_cut_at_every_byte_gives_the_same_messages() {
    let mut bytes = encoded(hello());
    for message in super::bytes::one_of_each() {
        message.encode(&mut bytes).expect("within limits");
    }
    let whole = read_all([bytes.as_slice()]).expect("good");
    assert_eq!(whole.len(), 23);
    for cut in 0..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        assert_eq!(read_all([before, after]).as_ref(), Ok(&whole));
    }
    assert_eq!(read_all(bytes.chunks(1)), Ok(whole));
}

#[test]
fn a_message_is_given_as_soon_as_its_last_byte_is_there() {
    let bytes = encoded(hello());
    let mut reader = ControlReader::new();
    let (mut all_but_one, mut last) = bytes.split_at(bytes.len() - 1);
    assert_eq!(reader.read(&mut all_but_one), Ok(None));
    assert!(reader.allocated_bytes() > 0);
    assert!(matches!(reader.read(&mut last), Ok(Some(_))));
    assert_eq!(reader.allocated_bytes(), 0);
}
