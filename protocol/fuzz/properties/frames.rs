//! Any bytes, cut anyhow, are refused as frames, or read as ones of the agreed shape.
//!
//! The first byte of the input is the size of the pieces. Sessions of even numbers are known.

use potluck_protocol::wire::{
    Arrived, Dtype, FrameError, FrameHeader, FrameReader, HEADER_BYTES, HiddenShape, Kind,
};

fn agreed(header: &FrameHeader) -> Option<HiddenShape> {
    let shape = HiddenShape::new(2, Dtype::F32, 4).expect("small");
    header.session.0.is_multiple_of(2).then_some(shape)
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Arrived>, Option<FrameError>) {
    let mut reader = FrameReader::new();
    let mut arrived = Vec::new();
    for mut piece in pieces {
        loop {
            let read = reader.read(&mut piece, agreed);
            assert!(reader.allocated_bytes() <= 2 * 4 * 4);
            match read {
                Ok(Some(frame)) => arrived.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.read(&mut piece, agreed), Err(error.clone()));
                    return (arrived, Some(error));
                }
            }
        }
        assert!(piece.is_empty());
    }
    (arrived, None)
}

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else {
        return;
    };
    let (whole, error) = read(std::iter::once(bytes));
    let cut = read(bytes.chunks(usize::from(size).max(1)));
    assert_eq!((&whole, &error), (&cut.0, &cut.1));
    let mut at = 0;
    for arrived in whole {
        let header = match arrived {
            Arrived::Skipped(header) => header,
            Arrived::Frame(frame) => {
                let has_rows = matches!(frame.header().kind, Kind::Hidden { .. });
                assert_eq!(has_rows, !frame.payload().is_empty());
                let mut again = Vec::new();
                frame.encode(&mut again);
                assert_eq!(
                    again,
                    &bytes[at..at + again.len()],
                    "one frame has one form"
                );
                *frame.header()
            }
        };
        assert_eq!(header.encode(), bytes[at..at + HEADER_BYTES]);
        at += HEADER_BYTES + header.payload_bytes as usize;
    }
    assert!(at <= bytes.len());
}
