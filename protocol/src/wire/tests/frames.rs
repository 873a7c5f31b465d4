//! Data frames: their bytes, their limits, streams of them.

use expect_test::expect;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::limits::{MAX_PAYLOAD_BYTES, MAX_POSITIONS, MAX_ROWS};
use crate::wire::*;
use crate::{Branch, PlanEpoch, SessionId};

const D_MODEL: u32 = 8;
const ROW_BYTES: u32 = 4 * D_MODEL;

fn shape() -> HiddenShape {
    HiddenShape::new(D_MODEL, Dtype::F32, 4).expect("small")
}

fn header(kind: Kind, start_position: u32, rows: u32) -> FrameHeader {
    let has_payload = matches!(kind, Kind::Hidden { .. });
    FrameHeader {
        kind,
        session: SessionId(0x0102_0304_0506_0708),
        epoch: PlanEpoch(0x1112_1314),
        branch: Branch(0x2122_2324),
        start_position,
        rows,
        payload_bytes: if has_payload { rows * ROW_BYTES } else { 0 },
    }
}

fn hidden(answer: Answer) -> Kind {
    let dtype = Dtype::F32;
    Kind::Hidden { dtype, answer }
}

fn frame(kind: Kind, start_position: u32, rows: u32) -> Frame {
    let header = header(kind, start_position, rows);
    let payload = (0..header.payload_bytes).map(|i| (i % 251) as u8);
    Frame::new(header, payload.collect()).expect("within limits")
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let answers = [
        Answer::AllRows,
        Answer::LastRow,
        Answer::Done,
        Answer::Nothing,
    ];
    let start = 0..=MAX_POSITIONS - 4;
    let with_rows = prop::sample::select(answers.to_vec()).prop_map(hidden);
    let with_rows = prop_oneof![with_rows, Just(Kind::Done)];
    prop_oneof![
        (with_rows, start.clone(), 1..=4_u32)
            .prop_map(|(kind, start, rows)| frame(kind, start, rows)),
        start.prop_map(|start| frame(Kind::KeepAlive, start, 0)),
    ]
}

fn read_all<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    agreed: impl Fn(&FrameHeader) -> Option<HiddenShape>,
) -> Result<Vec<Arrived>, FrameError> {
    let mut reader = FrameReader::new();
    let mut arrived = Vec::new();
    for mut piece in pieces {
        loop {
            let read = reader.read(&mut piece, &agreed);
            assert!(reader.allocated_bytes() <= 4 * ROW_BYTES as usize);
            match read {
                Ok(Some(one)) => arrived.push(one),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.read(&mut piece, &agreed), Err(error.clone()));
                    return Err(error);
                }
            }
        }
        assert!(piece.is_empty(), "all is taken");
    }
    Ok(arrived)
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_cut(
        frames in vec(any_frame(), 1..6),
        size in 1..200_usize,
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        let arrived = read_all(bytes.chunks(size), |_| Some(shape()));
        let expected = frames.into_iter().map(Arrived::Frame).collect();
        prop_assert_eq!(arrived, Ok(expected));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in vec(any::<u8>(), 0..500), size in 1..100_usize) {
        let _ = read_all(bytes.chunks(size), |_| Some(shape()));
        let _ = read_all(bytes.chunks(size), |_| None);
    }

    #[test]
    fn a_header_with_a_byte_changed_is_refused_or_read(
        frame in any_frame(),
        place in 0..HEADER_BYTES,
        byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes[place] = byte;
        let _ = read_all([bytes.as_slice()], |_| Some(shape()));
        let header = bytes.first_chunk().expect("a header");
        if let Ok(read) = FrameHeader::decode(header) {
            prop_assert_eq!(&read.encode(), header, "one header has one form");
        }
    }

    #[test]
    fn f32_keeps_every_bit(bits in vec(any::<u32>(), 0..100)) {
        let values: Vec<_> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        let mut payload = Vec::new();
        Dtype::F32.encode(&values, &mut payload);
        let back: Vec<_> = Dtype::F32.decode(&payload).map(f32::to_bits).collect();
        prop_assert_eq!(back, bits);
    }
}

#[test]
fn headers_keep_their_bytes() {
    let headers = [
        header(hidden(Answer::AllRows), 0x3132_3334, 3),
        header(hidden(Answer::Nothing), 7, 1),
        header(Kind::Done, 0, 128),
        header(Kind::KeepAlive, 9, 0),
    ];
    let shown = headers.map(|header| {
        let bytes = header.encode();
        let words = bytes.chunks(4);
        let words = words.map(|word| word.iter().map(|b| format!("{b:02x}")).collect::<String>());
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    expect![[r#"
        01010100 08070605 04030201 14131211 24232221 34333231 03000000 60000000
        01010103 08070605 04030201 14131211 24232221 07000000 01000000 20000000
        01020000 08070605 04030201 14131211 24232221 00000000 80000000 00000000
        01030000 08070605 04030201 14131211 24232221 09000000 00000000 00000000
    "#]]
    .assert_eq(&shown.concat());
}

#[test]
fn a_cut_at_every_byte_gives_the_same_frames() {
    let mut bytes = Vec::new();
    frame(hidden(Answer::LastRow), 0, 4).encode(&mut bytes);
    frame(Kind::KeepAlive, 4, 0).encode(&mut bytes);
    frame(hidden(Answer::Done), 4, 1).encode(&mut bytes);
    for agreed in [Some(shape()), None] {
        let whole = read_all([bytes.as_slice()], |_| agreed).expect("good");
        assert_eq!(whole.len(), 3);
        for cut in 0..=bytes.len() {
            let (before, after) = bytes.split_at(cut);
            assert_eq!(read_all([before, after], |_| agreed).as_ref(), Ok(&whole));
        }
    }
}

#[test]
fn what_nobody_wants_is_passed_over_without_memory_and_the_rest_is_read() {
    let late = frame(hidden(Answer::AllRows), 0, 3);
    let mut next = frame(hidden(Answer::AllRows), 3, 1).into_parts();
    next.0.epoch.0 += 1;
    let next = Frame::new(next.0, next.1).expect("within limits");
    let mut bytes = Vec::new();
    late.encode(&mut bytes);
    next.encode(&mut bytes);
    let epoch = next.header().epoch;
    let newest = |header: &FrameHeader| (header.epoch == epoch).then(shape);
    let mut reader = FrameReader::new();
    let mut part = &bytes[..HEADER_BYTES + 10];
    assert_eq!(reader.read(&mut part, newest), Ok(None));
    assert_eq!(reader.allocated_bytes(), 0);
    let arrived = read_all([bytes.as_slice()], newest);
    let expected = vec![Arrived::Skipped(*late.header()), Arrived::Frame(next)];
    assert_eq!(arrived, Ok(expected));
}

#[test]
fn a_payload_beyond_what_was_agreed_is_refused_before_anything_is_allocated() {
    let agreed_to = |header: FrameHeader| {
        let bytes = header.encode();
        read_all([bytes.as_slice()], |_| Some(shape()))
    };
    let good = header(hidden(Answer::AllRows), 0, 4);
    assert_eq!(agreed_to(good), Ok(vec![]));
    let more_rows = header(hidden(Answer::AllRows), 0, 5);
    let not_agreed = |header: FrameHeader| Err(header.not_agreed());
    assert_eq!(agreed_to(more_rows), not_agreed(more_rows));
    let wider = FrameHeader {
        payload_bytes: 8 * ROW_BYTES,
        ..good
    };
    assert_eq!(agreed_to(wider), not_agreed(wider));
    let longest = FrameHeader {
        payload_bytes: MAX_PAYLOAD_BYTES,
        ..good
    };
    assert_eq!(agreed_to(longest), not_agreed(longest));
    let words = longest.not_agreed().to_string();
    assert!(
        words.starts_with("a frame of 4 rows in 16777216 bytes"),
        "{words}"
    );
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let good = header(hidden(Answer::AllRows), 0, 4);
    let refused = |header: FrameHeader| FrameHeader::decode(&header.encode()).expect_err("refused");
    let rows = |rows| refused(FrameHeader { rows, ..good });
    assert_eq!(rows(0), FrameError::Rows(0));
    assert_eq!(rows(MAX_ROWS + 1), FrameError::Rows(MAX_ROWS + 1));
    let start_position = MAX_POSITIONS - 3;
    let beyond = refused(FrameHeader {
        start_position,
        ..good
    });
    assert_eq!(beyond, FrameError::Positions);
    let start_position = u32::MAX;
    let beyond = refused(FrameHeader {
        start_position,
        ..good
    });
    assert_eq!(beyond, FrameError::Positions);
    let length = |payload_bytes| {
        refused(FrameHeader {
            payload_bytes,
            ..good
        })
    };
    assert_eq!(length(0), FrameError::Length(0));
    assert_eq!(length(ROW_BYTES + 1), FrameError::Length(ROW_BYTES + 1));
    assert_eq!(length(u32::MAX - 3), FrameError::Length(u32::MAX - 3));
    let done = FrameHeader {
        kind: Kind::Done,
        ..good
    };
    assert_eq!(refused(done), FrameError::Length(4 * ROW_BYTES));
    let alive = FrameHeader {
        kind: Kind::KeepAlive,
        ..good
    };
    assert_eq!(refused(alive), FrameError::Rows(4));
    assert!(Frame::new(good, vec![0; 3]).is_err());
}

#[test]
fn kinds_dtypes_and_flags_that_are_not_of_this_version_are_refused() {
    let with = |kind: Kind, at: usize, value: u8| {
        let mut bytes = header(kind, 0, 1).encode();
        bytes[at] = value;
        FrameHeader::decode(&bytes).expect_err("refused")
    };
    let rows = hidden(Answer::AllRows);
    assert_eq!(with(rows, 1, 0), FrameError::Kind(0));
    assert_eq!(with(rows, 1, 4), FrameError::Kind(4));
    for dtype in [0, 2, 3, 255] {
        assert_eq!(with(rows, 2, dtype), FrameError::Dtype(dtype));
    }
    assert_eq!(with(rows, 3, 4), FrameError::Flags(4));
    assert_eq!(with(Kind::Done, 2, 1), FrameError::Dtype(1));
    assert_eq!(with(Kind::Done, 3, 1), FrameError::Flags(1));
}
