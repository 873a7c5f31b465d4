//! The exact bytes of one message of each kind: what others wrote stays readable.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use expect_test::expect;

use super::{encoded, hello};
use crate::pairing::Address;
use crate::profile::tests::rate;
use crate::profile::{Energy, Measured, OwnerLimits, Power, Profile, Quantisation, Thermal};
use crate::wire::*;
use crate::{Arithmetic, LayerRange, Link, PeerId, PlanEpoch, SessionId};

const SESSION: SessionId = SessionId(0x0102_0304_0506_0708);
const EPOCH: PlanEpoch = PlanEpoch(3);
const MANIFEST: ContentHash = ContentHash([0xaa; 32]);
const CONTENT: ContentHash = ContentHash([0xbb; 32]);

fn peer(byte: u8) -> PeerId {
    PeerId::from_public_key([byte; 32])
}

fn layers(first: u32, end: u32) -> LayerRange {
    LayerRange::new(first, end).expect("forwards")
}

/// One message of each kind, in the order of the envelope.
pub(super) fn one_of_each() -> Vec<Control> {
    let mut messages = of_links();
    messages.extend(of_stages());
    messages.extend(of_transfer());
    messages
}

fn of_links() -> Vec<Control> {
    let refuse = Refuse {
        code: RefuseCode::NotAMember,
        words: "pair first".into(),
    };
    let ping = Ping {
        id: 1,
        sent_at_us: 1_000,
        padding_bytes: 2,
    };
    let pong = Pong {
        id: 1,
        ping_sent_at_us: 1_000,
        received_at_us: 70,
        sent_at_us: 80,
    };
    let alive = KeepAlive {
        session: SESSION,
        epoch: EPOCH,
        next_position: 512,
        shared: true,
    };
    let digest = CircleDigest {
        digest: vec![1, 2, 3],
    };
    let addresses = PeerAddresses {
        peer: PeerId::from_public_key([1; 32]),
        addresses: vec![Address::new("/ip4/10.0.0.1/tcp/7").expect("an address")],
    };
    let entries = CircleEntries {
        entries: vec![4, 5],
    };
    vec![
        hello().into(),
        refuse.into(),
        ping.into(),
        pong.into(),
        alive.into(),
        profile_update().into(),
        digest.into(),
        entries.into(),
        addresses.into(),
    ]
}

fn profile_update() -> ProfileUpdate {
    fn at<T>(value: T, at_us: u64) -> Measured<T> {
        Measured { value, at_us }
    }
    let power = Power::Battery {
        percent: 80,
        charging: true,
    };
    let energy = Energy {
        picojoules_per_byte_read: 1,
        picojoules_per_multiply_add: 2,
        picojoules_per_byte_sent: 3,
        picojoules_per_byte_received: 4,
    };
    let profile = Profile {
        memory_budget_bytes: at(1 << 30, 10),
        decode: [(Quantisation(2), at(rate(9_000), 11))].into(),
        kv_read: at(rate(8_000), 12),
        prefill: Some(at(rate(7_000), 13)),
        stage_overhead: at(Duration::from_micros(50), 14),
        energy: Some(at(energy, 15)),
        power: at(power, 16),
        thermal: at(Thermal::Fair, 17),
        limits: OwnerLimits {
            only_when_charging: true,
            min_battery_percent: 30,
        },
        leaving: true,
        arithmetic: Arithmetic::CANONICAL_1,
        outdated: false,
    };
    let link = Link {
        round_trip: at(Duration::from_micros(5), 18),
        bandwidth: at(rate(12_500), 19),
        overhead: at(Duration::from_nanos(60), 20),
    };
    ProfileUpdate {
        revision: 4,
        sent_at_us: 100,
        profile,
        links: BTreeMap::from([(peer(1), link)]),
    }
}

fn of_stages() -> Vec<Control> {
    let open = OpenStage {
        session: SESSION,
        epoch: EPOCH,
        manifest: MANIFEST,
        layers: layers(6, 18),
        predecessor: peer(1),
        successor: peer(2),
        context: 2_048,
        shape: HiddenShape::new(576, Dtype::F32, 128).expect("within limits"),
        memory_bytes: 50_000_000,
        standby: true,
        last: true,
        arithmetic: Arithmetic::CANONICAL_1,
    };
    let opened = StageOpened {
        session: SESSION,
        epoch: EPOCH,
        held_positions: 7,
    };
    let refused = StageRefused {
        session: SESSION,
        epoch: EPOCH,
        code: StageRefusedCode::Memory,
        words: "full".into(),
        available_bytes: 9,
    };
    let fetching = StageFetching {
        session: SESSION,
        epoch: EPOCH,
        received_bytes: 12_000_000,
        total_bytes: 80_000_000,
    };
    let close = CloseStage {
        session: SESSION,
        epoch: EPOCH,
    };
    let leaving = HandOver {
        session: SESSION,
        epoch: EPOCH,
        reason: HandOverReason::Battery,
        within: Duration::from_secs(5),
    };
    let query = SessionQuery { session: SESSION };
    let state = SessionState {
        session: SESSION,
        epoch: EPOCH,
        layers: layers(6, 18),
        held_positions: 40,
        logged: 8..40,
    };
    vec![
        open.into(),
        opened.into(),
        refused.into(),
        fetching.into(),
        close.into(),
        leaving.into(),
        query.into(),
        state.into(),
    ]
}

fn of_transfer() -> Vec<Control> {
    let range = |first, end| ByteRange::new(first, end).expect("some bytes");
    let query = ModelQuery { manifest: MANIFEST };
    let offer = ModelOffer {
        manifest: MANIFEST,
        layers: vec![layers(0, 4), layers(6, 18)],
        ends: true,
        manifest_bytes: 3_000,
    };
    let request = ShardRequest {
        id: 5,
        content: CONTENT,
        range: range(20, 300),
    };
    let header = ShardHeader { id: 5, bytes: 280 };
    let refused = ShardRefused {
        id: 5,
        code: ShardRefusedCode::Busy,
    };
    vec![
        query.into(),
        offer.into(),
        request.into(),
        header.into(),
        refused.into(),
    ]
}

/// The bytes of each message, runs of the same byte once with their number.
fn shown(messages: &[Control]) -> String {
    let mut text = String::new();
    for message in messages {
        let bytes = encoded(message.clone());
        let debug = format!("{message:?}");
        let name = debug.split('(').next().unwrap_or_default();
        let _ = write!(text, "{name}:");
        for run in bytes.chunk_by(|a, b| a == b) {
            let _ = write!(text, " {:02x}", run[0]);
            if run.len() > 1 {
                let _ = write!(text, "*{}", run.len());
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn messages_about_links_and_the_circle_keep_their_bytes() {
    expect![[r#"
        Hello: 15 0a 13 08 01 10 05 1a 0d 70 6f 74 6c 75 63 6b 20 30 2e 31 2e 30
        Refuse: 10 12 0e 08 03 12 0a 70 61 69 72 20 66 69 72 73 74
        Ping: 0b 1a 09 08 01 10 e8 07 1a 02 00*2
        Pong: 0b 22 09 08 01 10 e8 07 18 46 20 50
        KeepAlive: 12 2a 10 09 08 07 06 05 04 03 02 01 10 03 18 80 04 28 01
        ProfileUpdate: 9b 01 32 98 01 08 04 10 64 1a 4f 0a 08*2 80*4 04 10 0a 12 05 08 c0 3e 10 0c 1a 05 08 d8 36 10 0d 22 06 08 d0 86 03 10 0e 2a 0a 08 01 10 02 18 03 20 04 28 0f 32 08*2 02 10 50 18 01 20 10 3a 04 08 02 10 11 40 01 48 1e 50 01 5a 0b 63 61 6e 6f 6e 69 63 61 6c 2d 31 22 09 08 02 12 05 08 a8 46 10 0b 2a 36 0a 20 01*32 12 05 08 88 27 10 12 1a 05 08 d4 61 10 13 22 04 08 3c 10 14
        CircleDigest: 07 3a 05 0a 03 01 02 03
        CircleEntries: 06 42 04 0a 02 04 05
        PeerAddresses: 3a c2 01 37 0a 20 01*32 12 13 2f 69 70 34 2f 31 30 2e 30 2e 30 2e 31 2f 74 63 70 2f 37
    "#]].assert_eq(&shown(&of_links()));
}

#[test]
fn messages_about_stages_keep_their_bytes() {
    expect![[r#"
        OpenStage: 99 01 4a 96 01 09 08 07 06 05 04 03 02 01 10 03 1a 20 aa*32 20 06 28 12 32 20 01*32 3a 20 02*32 40 80 10 48 c0 04 50 80 01 58 01 60 80 e1 eb 17 68 01 70 01 7a 0b 63 61 6e 6f 6e 69 63 61 6c 2d 31
        StageOpened: 0f 52 0d 09 08 07 06 05 04 03 02 01 10 03 18 07
        StageRefused: 17 5a 15 09 08 07 06 05 04 03 02 01 10 03 18 01 22 04 66 75 6c*2 28 09
        StageFetching: 18 ca 01 15 09 08 07 06 05 04 03 02 01 10 03 18 80 b6 dc 05 20 80 e8 92 26
        CloseStage: 0d 62 0b 09 08 07 06 05 04 03 02 01 10 03
        HandOver: 15 6a 13 09 08 07 06 05 04 03 02 01 10 03 18 02 20 80 e4 97 d0 12
        SessionQuery: 0b 72 09*2 08 07 06 05 04 03 02 01
        SessionState: 17 7a 15 09 08 07 06 05 04 03 02 01 10 03 20 06 28 12 30 28 38 08 40 28
    "#]].assert_eq(&shown(&of_stages()));
}

#[test]
fn messages_about_weights_keep_their_bytes() {
    expect![[r#"
        ModelQuery: 25 82 01 22 0a 20 aa*32
        ModelOffer: 34 8a 01 31 0a 20 aa*32 12 02 10 04 12 04 08 06 10 12 18 01 20 b8 17
        ShardRequest: 2e 92 01 2b 08 05 12 20 bb*32 1a 05 08 14 10 ac 02
        ShardHeader: 08 9a 01 05 08 05 10 98 02
        ShardRefused: 07 a2 01 04 08 05 10 02
    "#]]
    .assert_eq(&shown(&of_transfer()));
}
