//! Newer minor versions are understood, other major ones refused in words.

use prost::Message as _;

use super::{encoded, hello, read_all};
use crate::wire::{
    Control, ControlError, FrameError, FrameHeader, HEADER_BYTES, Hello, KeepAlive, MAJOR, Ping,
    Received, Refuse, RefuseCode, proto,
};

fn delimited(control: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encode_length_delimiter(control.len(), &mut bytes).expect("a vector grows");
    bytes.extend_from_slice(control);
    bytes
}

/// A greeting of another version, with a field that is not known here.
fn greeting(major: u32, minor: u32, software: &str) -> Vec<u8> {
    let mut hello = proto::Hello {
        major,
        minor,
        software: software.into(),
        run: 0,
    }
    .encode_to_vec();
    // Field 100, three bytes.
    hello.extend_from_slice(&[0xa2, 0x06, 3, 1, 2, 3]);
    let mut control = vec![0x0a, u8::try_from(hello.len()).expect("short")];
    control.extend_from_slice(&hello);
    delimited(&control)
}

#[test]
fn what_earlier_programs_said_and_nobody_read_is_passed_over() {
    let control = |variant: u8, fields: Vec<u8>| {
        let length = u8::try_from(fields.len()).expect("short");
        delimited(&[vec![variant << 3 | 2, length], fields].concat())
    };
    let hello = proto::Hello {
        major: MAJOR.into(),
        minor: 5,
        software: "potluck 0.1.0".into(),
        run: 7,
    };
    let alive = proto::KeepAlive {
        session: 9,
        epoch: 1,
        next_position: 3,
        shared: false,
    };
    // A feature; a number of nanoseconds.
    let hello = [hello.encode_to_vec(), vec![0x22, 1, b'x']].concat();
    let alive = [alive.encode_to_vec(), vec![0x20, 0x2a]].concat();
    let bytes = [control(1, hello), control(5, alive)].concat();
    let received = read_all([&bytes[..]]).expect("they are understood");
    assert!(matches!(
        &received[..],
        [
            Received::Message(Control::Hello(Hello { run: 7, .. })),
            Received::Message(Control::KeepAlive(KeepAlive {
                next_position: 3,
                ..
            })),
        ]
    ));
}

#[test]
fn a_newer_minor_version_is_understood_and_what_it_adds_is_passed_over() {
    let mut bytes = greeting(MAJOR.into(), 7, "potluck 9");
    // A message that is field 200 of the envelope, and one with nothing at all.
    bytes.extend(delimited(&[0xc2, 0x0c, 2, 0x08, 1]));
    bytes.extend(delimited(&[]));
    // A code that is not known here.
    let refuse = Refuse {
        code: RefuseCode::Other(77),
        words: "the tide is out".into(),
    };
    bytes.extend(encoded(refuse.clone()));
    let received = read_all([bytes.as_slice()]).expect("understood");
    let [Received::Message(Control::Hello(hello)), rest @ ..] = received.as_slice() else {
        panic!("not a greeting: {received:?}");
    };
    assert_eq!((hello.minor, hello.software.as_str()), (7, "potluck 9"));
    let refuse = Received::Message(refuse.into());
    assert_eq!(rest, [Received::Unknown, Received::Unknown, refuse]);
}

#[test]
fn another_major_version_is_refused_and_the_words_say_who_updates() {
    let refused = |major, software| {
        let error = read_all([greeting(major, 0, software).as_slice()]).expect_err("refused");
        let refusal = error.refusal();
        assert_eq!(refusal.code, RefuseCode::Version);
        // It can be sent.
        encoded(refusal.clone());
        [error.to_string(), refusal.words]
    };
    assert_eq!(
        refused(2, "potluck 2.0"),
        [
            "the peer speaks version 2 of the protocol (potluck 2.0) and this device version 1: \
             update Potluck on this device",
            "speaks version 1 of the protocol and you 2: update Potluck on the device that refused",
        ]
    );
    assert_eq!(
        refused(0, ""),
        [
            "the peer speaks version 0 of the protocol and this device version 1: \
             update Potluck on that device",
            "speaks version 1 of the protocol and you 0: update Potluck on this device",
        ]
    );
    // Whatever else the greeting holds, escape sequences among it.
    assert!(!refused(3, "\x1b[2J")[0].contains('\x1b'));
}

#[test]
fn a_data_frame_of_another_major_version_is_refused_in_words() {
    let mut header = [0; HEADER_BYTES];
    header[0] = 9;
    let error = FrameHeader::decode(&header).expect_err("refused");
    assert!(matches!(error, FrameError::OtherMajor(_)));
    assert!(error.to_string().ends_with("update Potluck on this device"));
}

#[test]
fn a_stream_begins_with_a_greeting_or_a_refusal() {
    let ping = Ping {
        id: 1,
        sent_at_us: 2,
        padding_bytes: 0,
    };
    let before = read_all([encoded(ping).as_slice()]);
    assert_eq!(before, Err(ControlError::NoGreeting));
    let unknown = read_all([delimited(&[]).as_slice()]);
    assert_eq!(unknown, Err(ControlError::NoGreeting));
    let refusal = ControlError::NoGreeting.refusal();
    assert_eq!(refusal.code, RefuseCode::Malformed);
    let refused = read_all([encoded(refusal.clone()).as_slice()]);
    assert_eq!(refused, Ok(vec![Received::Message(refusal.into())]));
    assert!(read_all([[encoded(hello()), encoded(ping)].concat().as_slice()]).is_ok());
}
