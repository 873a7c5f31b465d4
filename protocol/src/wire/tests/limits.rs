//! What breaks a limit is refused, by sender and receiver alike, and the words name it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::pairing::Address;
use crate::profile::tests::profile;
use crate::wire::proto;
use crate::wire::*;
use crate::{Arithmetic, LayerRange, Link, PeerId, PlanEpoch, SessionId};

const SESSION: SessionId = SessionId(1);
const EPOCH: PlanEpoch = PlanEpoch(1);

fn refused(message: impl Into<Control>) -> String {
    let mut out = vec![7];
    let error = message.into().encode(&mut out).expect_err("beyond a limit");
    assert_eq!(out, [7], "nothing was written");
    let ControlError::Malformed(malformed) = error else {
        panic!("not malformed: {error}");
    };
    malformed.to_string()
}

#[test]
fn texts_can_be_shown_as_they_are() {
    let refuse = |words: String| {
        refused(Refuse {
            code: RefuseCode::TooMany,
            words,
        })
    };
    let characters = "Refuse.words has characters that do not belong there";
    assert_eq!(refuse("\x1b[31mred".into()), characters);
    assert_eq!(refuse("two\nlines".into()), characters);
    let long = "Refuse.words has a length of 513, outside 0 to 512";
    assert_eq!(refuse("x".repeat(513)), long);
}

#[test]
fn an_absent_code_is_refused_and_so_is_one_that_pretends() {
    let refuse = Refuse {
        code: RefuseCode::Other(0),
        words: String::new(),
    };
    assert_eq!(refused(refuse), "Refuse.code is missing");
}

#[test]
fn times_that_cannot_be_are_refused() {
    let pong = Pong {
        id: 1,
        ping_sent_at_us: 100,
        received_at_us: 7,
        sent_at_us: 6,
    };
    assert_eq!(refused(pong), "Pong.sent_at_us contradicts another field");
    assert_eq!(pong.round_trip(200), None);
    let pong = Pong {
        sent_at_us: 17,
        ..pong
    };
    assert_eq!(pong.round_trip(200), Some(Duration::from_micros(90)));
    assert_eq!(pong.round_trip(99), None);
    assert_eq!(pong.round_trip(105), None);
}

fn update() -> ProfileUpdate {
    ProfileUpdate {
        revision: 1,
        sent_at_us: 500,
        profile: profile(1 << 30, 1_000_000_000),
        links: BTreeMap::new(),
    }
}

#[test]
fn a_profile_is_of_the_past_and_within_limits() {
    let mut future = update();
    future.profile.thermal.at_us = 501;
    assert_eq!(refused(future), "Thermal.at_us contradicts another field");
    let mut vast = update();
    vast.profile.memory_budget_bytes.value = u64::MAX;
    assert!(refused(vast).starts_with("Profile.memory_budget_bytes is "));
    let mut over = update();
    over.profile.limits.min_battery_percent = 101;
    let words = "Profile.min_battery_percent is 101, outside 0 to 100";
    assert_eq!(refused(over), words);
    let mut many = update();
    let link = crate::link::tests::link(Duration::from_millis(5), 1_000);
    let peers = (0..65).map(|i| (PeerId::from_public_key([i; 32]), link));
    many.links = peers.collect::<BTreeMap<_, Link>>();
    assert!(refused(many).starts_with("ProfileUpdate.links has a length of 65"));
}

#[test]
fn ages_are_kept_when_a_profile_comes_to_another_clock() {
    let mut update = update();
    update.profile.prefill = None;
    update.profile.kv_read.at_us = 400;
    update.profile.power.at_us = 500;
    let peer = PeerId::from_public_key([1; 32]);
    let mut link = crate::link::tests::link(Duration::from_millis(5), 1_000);
    link.bandwidth.at_us = 499;
    update.links.insert(peer, link);
    let received = update.clone().received_at(10_000);
    assert_eq!(received.sent_at_us, 10_000);
    assert_eq!(received.profile.kv_read.at_us, 9_900);
    assert_eq!(received.profile.power.at_us, 10_000);
    assert_eq!(received.links[&peer].bandwidth.at_us, 9_999);
    // A receiver that has just started cannot say so.
    assert_eq!(update.received_at(50).profile.kv_read.at_us, 0);
}

#[test]
fn a_stage_has_layers_context_and_frames_within_limits() {
    let shape = HiddenShape::new(576, Dtype::F32, 512).expect("small");
    let peer = PeerId::from_public_key([1; 32]);
    let open = OpenStage {
        session: SESSION,
        epoch: EPOCH,
        manifest: ContentHash([1; 32]),
        layers: LayerRange::new(0, 12).expect("forwards"),
        predecessor: peer,
        successor: peer,
        context: 2_048,
        shape,
        memory_bytes: 1,
        standby: false,
        last: false,
        arithmetic: Arithmetic::CANONICAL_1,
    };
    let with = |change: fn(&mut OpenStage)| {
        let mut open = open.clone();
        change(&mut open);
        refused(open)
    };
    let none = with(|open| open.layers = LayerRange::new(3, 3).expect("forwards"));
    assert!(none.starts_with("OpenStage.end_layer is out of order"));
    let far = with(|open| open.layers = LayerRange::new(0, 257).expect("forwards"));
    assert_eq!(far, "OpenStage.end_layer is 257, outside 0 to 256");
    let endless = with(|open| open.context = u32::MAX);
    assert!(endless.starts_with("OpenStage.context is 4294967295"));
    assert!(HiddenShape::new(65_536, Dtype::F32, 65).is_err());
    assert!(HiddenShape::new(65_536, Dtype::F32, 64).is_ok());
    assert!(HiddenShape::new(0, Dtype::F32, 1).is_err());
    assert!(HiddenShape::new(u32::MAX, Dtype::F32, u32::MAX).is_err());
}

#[test]
fn an_arithmetic_has_a_short_name_and_who_gives_none_computes_by_the_first() {
    let open = |name: &str| {
        let open = proto::OpenStage {
            manifest: vec![1; 32],
            end_layer: 12,
            predecessor: vec![1; 32],
            successor: vec![1; 32],
            context: 1,
            d_model: 1,
            max_rows: 1,
            dtype: proto::Dtype::F32.into(),
            arithmetic: name.to_owned(),
            ..proto::OpenStage::default()
        };
        let open = OpenStage::try_from(open).map_err(|malformed| malformed.to_string());
        open.map(|open| open.arithmetic)
    };
    let told = |name: &str| {
        let mut told = proto::ProfileUpdate::from(&update());
        told.profile.as_mut().expect("there").arithmetic = name.to_owned();
        let told = ProfileUpdate::try_from(told).map_err(|malformed| malformed.to_string());
        told.map(|told| told.profile.arithmetic)
    };
    let named = |name: &str| Arithmetic::new(name).expect("a name");
    for name in ["", "canonical-1"] {
        assert_eq!(open(name), Ok(Arithmetic::CANONICAL_1));
        assert_eq!(told(name), Ok(Arithmetic::CANONICAL_1));
    }
    assert_eq!(open("int8-3"), Ok(named("int8-3")));
    assert_eq!(told("int8-3"), Ok(named("int8-3")));
    let words = "has characters that do not belong there";
    assert_eq!(open("INT8"), Err(format!("OpenStage.arithmetic {words}")));
    assert_eq!(told("\x1b[2J"), Err(format!("Profile.arithmetic {words}")));
    let long = open(&"a".repeat(65)).expect_err("too long");
    assert_eq!(
        long,
        "OpenStage.arithmetic has a length of 65, outside 1 to 64"
    );
}

#[test]
fn no_more_has_come_than_all() {
    let fetching = |received_bytes, total_bytes| {
        refused(StageFetching {
            session: SESSION,
            epoch: EPOCH,
            received_bytes,
            total_bytes,
        })
    };
    let more = "StageFetching.received_bytes is 81, outside 0 to 80";
    assert_eq!(fetching(81, 80), more);
    let none = "StageFetching.total_bytes is 0, outside 1 to 1125899906842624";
    assert_eq!(fetching(0, 0), none);
    let endless = fetching(0, u64::MAX);
    assert!(endless.starts_with("StageFetching.total_bytes is "));
}

#[test]
fn offers_ascend_and_name_their_manifest() {
    let layers = |first, end| LayerRange::new(first, end).expect("forwards");
    let offer = |layers, ends, manifest_bytes| {
        refused(ModelOffer {
            manifest: ContentHash([1; 32]),
            layers,
            ends,
            manifest_bytes,
        })
    };
    assert!(offer(vec![layers(0, 300)], true, 1).starts_with("ModelOffer.layers is 300"));
    let order = "ModelOffer.layers is out of order or names something twice";
    assert_eq!(offer(vec![layers(5, 9), layers(0, 3)], true, 1), order);
    assert_eq!(offer(vec![layers(0, 3), layers(3, 9)], true, 1), order);
    let contradicts = "ModelOffer.manifest_bytes contradicts another field";
    assert_eq!(offer(vec![layers(0, 3)], false, 0), contradicts);
    assert_eq!(offer(vec![], true, 0), contradicts);
    let long = offer(vec![], true, limits::MAX_MANIFEST_BYTES + 1);
    assert!(long.contains("is 8388609, outside 0 to 8388608"), "{long}");
}

#[test]
fn a_piece_is_asked_for_at_a_time() {
    assert_eq!(ByteRange::new(3, 3), None);
    assert_eq!(ByteRange::new(0, u64::MAX), None);
    let first = 1 << 40;
    let range = ByteRange::new(first, first + limits::MAX_PIECE_BYTES + 1);
    let request = ShardRequest {
        id: 1,
        content: ContentHash([2; 32]),
        range: range.expect("some bytes"),
    };
    let words = "ShardRequest.range is 262145, outside 1 to 262144";
    assert_eq!(refused(request), words);
    for bytes in [0, limits::MAX_PIECE_BYTES + 1] {
        let header = refused(ShardHeader { id: 1, bytes });
        assert!(header.starts_with("ShardHeader.bytes is "), "{header}");
    }
}

#[test]
fn addresses_are_few_and_visible() {
    let peer = PeerId::from_public_key([1; 32]);
    let address = Address::new("/ip4/10.0.0.1/tcp/7").expect("an address");
    let addresses = vec![address; limits::MAX_ADDRESSES + 1];
    let refusal = refused(PeerAddresses { peer, addresses });
    assert!(refusal.contains("a length of 9"), "{refusal}");
    let message = proto::PeerAddresses {
        peer: vec![1; 32],
        addresses: vec!["/dns4/\u{7}".to_owned()],
    };
    assert!(PeerAddresses::try_from(message).is_err());
}

#[test]
fn the_log_carries_bytes_within_limits() {
    let none = CircleDigest { digest: vec![] };
    assert!(refused(none).contains("a length of 0, outside 1 to 65536"));
    let entries = vec![0; limits::MAX_OPAQUE_BYTES + 1];
    assert!(refused(CircleEntries { entries }).contains("a length of 65537"));
    let ping = Ping {
        id: u64::MAX,
        sent_at_us: u64::MAX,
        padding_bytes: usize::MAX,
    };
    assert!(refused(ping).contains("a length of 65537"));
    let longest = Ping {
        padding_bytes: limits::MAX_OPAQUE_BYTES,
        ..ping
    };
    super::encoded(longest);
}
