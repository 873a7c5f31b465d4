//! Greetings, questions and garbage.

use std::collections::BTreeMap;
use std::time::Duration;

use super::device::{ask, devices, measured, talk};
use super::finish;
use super::solo::{Solo, hello};
use crate::machine::{Choice, Event, Input, Machine, Output};
use crate::made_up::mix;
use crate::placement::PlacementOptions;
use crate::profile::tests::profile;
use crate::profile::{OwnerLimits, Power, Thermal, Unwilling};
use crate::wire::{
    ContentHash, Control, ControlError, Dtype, HandOverReason, Hello, HiddenShape, OpenStage,
    OtherMajor, Ping, ProfileUpdate, Refuse, RefuseCode, StageRefusedCode,
};
use crate::world::{Fault, Life, Stream};
use crate::{Arithmetic, LayerRange, PlanEpoch, SessionId};

#[test]
fn a_peer_of_a_newer_minor_version_is_greeted() {
    let mut solo = Solo::new();
    let first = solo.heard();
    assert!(matches!(&first[..], [Control::Hello(_)]));
    let newer = Hello {
        minor: 7,
        ..hello()
    };
    solo.say(newer);
    let said = solo.heard();
    assert!(
        matches!(&said[..], [Control::CircleDigest(_), Control::Ping(_)]),
        "{said:?}"
    );
    let greeted = Event::PeerConnected {
        peer: solo.peer,
        software: "another/1".to_owned(),
    };
    assert_eq!(solo.events, [greeted]);
    // A message that it added is passed over: field 99 of the envelope.
    solo.bytes(vec![3, 0x9a, 0x06, 0]);
    solo.say(hello());
    assert_eq!(solo.heard(), []);
}

#[test]
fn a_peer_of_another_major_version_is_refused_in_words() {
    let mut solo = Solo::new();
    // Hello { major: 2, software: "next" }
    solo.bytes(vec![10, 0x0a, 8, 0x08, 2, 0x1a, 4, b'n', b'e', b'x', b't']);
    let (code, words) = solo.refusal();
    assert_eq!(code, RefuseCode::Version);
    assert!(words.contains("you 2"), "{words}");
    let gone = |event: &Event| {
        matches!(event, Event::PeerGone { why: Some(why), .. }
        if why.contains("update Potluck on this device"))
    };
    assert!(solo.events.iter().any(gone), "{:?}", solo.events);
    // The other way round: it refuses, and says why.
    let mut solo = Solo::new();
    let other = OtherMajor {
        theirs: 1,
        software: String::new(),
    };
    solo.say(Refuse {
        code: RefuseCode::Version,
        words: ControlError::OtherMajor(other).to_string(),
    });
    solo.heard();
    assert!(solo.disconnected);
    let [Event::PeerGone { why: Some(why), .. }] = &solo.events[..] else {
        panic!("{:?}", solo.events);
    };
    assert!(
        why.starts_with("it refused: the peer speaks version 1"),
        "{why}"
    );
}

#[test]
fn a_stranger_and_this_device_itself_are_refused() {
    for node in [0, 7] {
        let mut solo = Solo::with(node);
        assert_eq!(solo.refusal().0, RefuseCode::NotAMember);
        assert_eq!(solo.events, []);
        // What it says after that is not heard.
        solo.say(hello());
        assert_eq!(solo.heard(), []);
    }
}

#[test]
fn who_does_not_greet_or_says_nothing_is_let_go() {
    let mut solo = Solo::new();
    solo.heard();
    solo.pass(Duration::from_millis(9_900));
    assert_eq!(solo.heard(), []);
    solo.pass(Duration::from_millis(200));
    assert_eq!(solo.refusal().0, RefuseCode::Malformed);

    let mut solo = Solo::greeted();
    solo.pass(Duration::from_millis(14_900));
    let pings = solo.heard();
    assert!(pings.len() > 4 && !solo.disconnected);
    assert!(
        pings
            .iter()
            .all(|message| matches!(message, Control::Ping(_)))
    );
    solo.pass(Duration::from_millis(200));
    assert_eq!((solo.heard(), solo.disconnected), (vec![], true));
    assert!(matches!(
        &solo.events[..],
        [Event::PeerGone { why: Some(_), .. }]
    ));
}

#[test]
fn a_flood_of_questions_is_refused_and_few_are_answered() {
    let mut solo = Solo::greeted();
    for id in 0..1_000 {
        let sent_at_us = 77;
        solo.say(Ping {
            id,
            sent_at_us,
            padding_bytes: 100,
        });
    }
    let mut said = solo.heard();
    let refused = said.pop();
    assert!(matches!(refused, Some(Control::Refuse(refuse)) if refuse.code == RefuseCode::TooMany));
    assert!(solo.disconnected && said.len() == 100, "{}", said.len());
    assert!(matches!(said[7], Control::Pong(pong) if (pong.id, pong.ping_sent_at_us) == (7, 77)));
}

#[test]
fn garbage_drops_who_sent_it_and_nobody_else() {
    for seed in 0..40 {
        let mut world = measured(&[(10, 500), (80, 2_000), (80, 1_500), (80, 1_000)]);
        ask(&mut world, 0, 1, Choice::Best, 40);
        world.pass(Duration::from_micros(mix(seed, 1) % 200_000));
        let junk: Vec<u8> = (0..200).map(|i| mix(seed, 100 + i) as u8).collect();
        let stream = [Stream::Control, Stream::Data][(seed % 2) as usize];
        world.send(3, 0, stream, junk.clone());
        world.send(3, 1, stream, junk);
        finish(&mut world, 0, 1);
        assert!(talk(&world, 0, 1).broken().is_empty());
        let whys = world.nodes[0].whys();
        // A length that never ends waits for more; all else is found out at once.
        assert!(
            whys.len() <= 1
                && whys
                    .iter()
                    .all(|why| why.contains("drop it") || why.contains("version"))
        );
    }
}

fn is_update(message: &Control) -> Option<&ProfileUpdate> {
    match message {
        Control::ProfileUpdate(update) => Some(update),
        _ => None,
    }
}

#[test]
fn others_hear_of_what_changes_by_a_tenth_and_once_a_second() {
    let mut solo = Solo::greeted();
    let measure = |solo: &mut Solo, bandwidth: u64, thermal| {
        let mut profile = profile(1_000, bandwidth);
        profile.thermal.value = thermal;
        // Of the future, by a wrong clock of its driver.
        profile.power.at_us = u64::MAX;
        solo.machine.handle_input(solo.now, Input::Profile(profile));
        let heard = solo.heard();
        heard
            .iter()
            .filter_map(is_update)
            .map(|update| update.revision)
            .collect::<Vec<_>>()
    };
    assert_eq!(measure(&mut solo, 1_000, Thermal::Nominal), [1]);
    solo.pass(Duration::from_secs(2));
    assert_eq!(measure(&mut solo, 1_090, Thermal::Nominal), []);
    assert_eq!(measure(&mut solo, 1_200, Thermal::Nominal), [2]);
    // Within the same second: later, once.
    assert_eq!(measure(&mut solo, 2_000, Thermal::Nominal), []);
    assert_eq!(measure(&mut solo, 2_000, Thermal::Serious), []);
    solo.heard();
    solo.pass(Duration::from_secs(1));
    let heard = solo.heard();
    let updates: Vec<_> = heard.iter().filter_map(is_update).collect();
    assert!(matches!(updates[..], [update] if update.revision == 3
        && update.profile.thermal.value == Thermal::Serious));
}

#[test]
fn an_older_profile_of_a_peer_is_dropped() {
    let mut solo = Solo::greeted();
    for (revision, budget) in [(5, 50), (4, 40), (5, 60), (6, 70)] {
        solo.say(ProfileUpdate {
            revision,
            sent_at_us: 9,
            profile: profile(budget, 1_000),
            links: BTreeMap::new(),
        });
        let peer = solo.peer;
        let status = solo.machine.peers().find(|status| status.peer == peer);
        let told = status.and_then(|status| status.profile).expect("it told");
        let expected = if revision == 6 { 70 } else { 50 };
        assert_eq!(told.memory_budget_bytes.value, expected);
    }
}

#[test]
fn no_layers_are_placed_on_a_program_that_would_read_over_parts_of_a_model() {
    for (minor, expected) in [(0, true), (2, true), (3, false), (7, false)] {
        let mut solo = Solo::new();
        solo.say(Hello { minor, ..hello() });
        solo.say(ProfileUpdate {
            revision: 1,
            sent_at_us: 9,
            profile: profile(50, 1_000),
            links: BTreeMap::new(),
        });
        let devices = solo.machine.devices();
        let unwilling = devices.profiles[&solo.peer].unwilling();
        assert_eq!(
            unwilling,
            expected.then_some(Unwilling::Outdated),
            "{minor}"
        );
    }
}

/// Asks this device for a stage of three layers by the only arithmetic there is now.
pub(super) fn open(solo: &Solo, session: u64) -> OpenStage {
    OpenStage {
        session: SessionId(session),
        epoch: PlanEpoch(1),
        manifest: ContentHash([9; 32]),
        layers: LayerRange::new(2, 5).expect("forwards"),
        predecessor: solo.peer,
        successor: solo.peer,
        context: 100,
        shape: HiddenShape::new(1, Dtype::F32, 32).expect("small"),
        memory_bytes: 1_000,
        standby: false,
        last: true,
        arithmetic: Arithmetic::CANONICAL_1,
    }
}

fn why_refused(solo: &mut Solo, open: OpenStage) -> Option<(StageRefusedCode, String)> {
    solo.say(open);
    match solo.heard().pop() {
        Some(Control::StageRefused(refused)) => Some((refused.code, refused.words)),
        _ => None,
    }
}

#[test]
fn stages_are_refused_by_owners_limits_by_who_leaves_and_for_strangers() {
    let mut solo = Solo::greeted();
    let me = super::device::identity(0).peer_id();
    let stranger = super::device::identity(9).peer_id();
    for neighbour in [me, stranger] {
        let mut wrong = open(&solo, 1);
        wrong.successor = neighbour;
        let (code, words) = why_refused(&mut solo, wrong).expect("refused");
        assert_eq!(code, StageRefusedCode::Unsupported);
        assert!(words.contains("other members"), "{words}");
    }
    let own = super::device::request(4, Choice::Alone);
    solo.machine.start(solo.now, own).expect("room");
    let taken = open(&solo, 4);
    let (code, _) = why_refused(&mut solo, taken).expect("refused");
    assert_eq!(code, StageRefusedCode::TooManySessions);

    let mut tired = profile(1_000, 1_000);
    tired.power.value = Power::Battery {
        percent: 20,
        charging: false,
    };
    tired.limits = OwnerLimits {
        only_when_charging: false,
        min_battery_percent: 30,
    };
    solo.machine
        .handle_input(solo.now, Input::Profile(tired.clone()));
    let asked = open(&solo, 1);
    let (code, words) = why_refused(&mut solo, asked.clone()).expect("refused");
    assert_eq!(code, StageRefusedCode::Unwilling);
    assert!(words.contains("30 %"), "{words}");

    tired.limits.min_battery_percent = 10;
    solo.machine.handle_input(solo.now, Input::Profile(tired));
    solo.heard();
    assert_eq!(why_refused(&mut solo, asked), None);
    assert!(!solo.machine.is_idle());
    solo.machine.handle_input(
        solo.now,
        Input::HandOver {
            reason: HandOverReason::Stopping,
            within: Duration::from_secs(3),
        },
    );
    assert!(
        solo.heard()
            .iter()
            .any(|message| matches!(message, Control::HandOver(_)))
    );
    let other = open(&solo, 2);
    let (code, words) = why_refused(&mut solo, other).expect("refused");
    assert_eq!(code, StageRefusedCode::Unwilling);
    assert!(words.contains("stop helping"), "{words}");
}

#[test]
fn a_second_connection_takes_the_place_of_the_first() {
    let mut solo = Solo::greeted();
    solo.machine
        .handle_input(solo.now, Input::Connected(solo.peer));
    let output: Vec<_> = std::iter::from_fn(|| solo.machine.poll_output()).collect();
    assert!(matches!(
        &output[..],
        [
            Output::Event(Event::PeerGone { why: None, .. }),
            Output::SendControl(_, _),
        ]
    ));
}

fn plan_devices(machine: &Machine) -> usize {
    let options = PlacementOptions::default();
    let plan = machine.plan(super::shelf::MANIFEST, &super::device::model(), &options);
    assert!(plan.is_ok());
    machine.devices().profiles.len()
}

#[test]
fn links_are_measured_and_vanish_with_the_connection() {
    let mut world = devices(&[(100, 100), (80, 2_000), (80, 1_500)]);
    world.pass(Duration::from_secs(3));
    let devices = world.nodes[0].machine.devices();
    assert_eq!((devices.profiles.len(), devices.links.len()), (3, 6));
    let link = devices
        .link(world.peer(0), world.peer(1))
        .expect("measured");
    // 2 ms each way, and 20 ns a byte.
    let round_trip = link.round_trip.value;
    assert!(round_trip >= Duration::from_millis(4) && round_trip < Duration::from_millis(5));
    let bandwidth = link.bandwidth.value.units_per_second();
    assert!((40_000_000..60_000_000).contains(&bandwidth), "{bandwidth}");
    assert_eq!(plan_devices(&world.nodes[0].machine), 3);

    world.strike(Fault::Set(2, Life::Dead));
    world.pass(Duration::from_secs(2));
    let devices = world.nodes[0].machine.devices();
    assert_eq!((devices.profiles.len(), devices.links.len()), (2, 2));
    let dead = world.peer(2);
    let status = world.nodes[0]
        .machine
        .peers()
        .find(|status| status.peer == dead);
    assert_eq!(status.map(|status| status.connected_since), Some(None));
}

/// A run of the peer's node greets; whether it is told that there is another.
fn greet_as(solo: &mut Solo, run: u64) -> bool {
    let connected = Input::Connected(solo.peer);
    solo.machine.handle_input(solo.now, connected);
    solo.disconnected = false;
    solo.say(Hello { run, ..hello() });
    let refuses = |message: &Control| matches!(message, Control::Refuse(refuse) if refuse.code == RefuseCode::Copied);
    let told = solo.heard().iter().any(refuses);
    assert_eq!(told, solo.disconnected);
    told
}

#[test]
fn two_nodes_with_one_key_are_both_told_before_either_stays() {
    let mut solo = Solo::new();
    let stays = |solo: &Solo| solo.machine.stays_connected(solo.peer);
    // One that was started anew is no copy.
    assert!([1, 2, 3].iter().all(|run| !greet_as(&mut solo, *run)));
    assert!(!stays(&solo));
    assert!(greet_as(&mut solo, 2));
    // It is told again and again, so that the other one finds the place free.
    for _ in 0..3 {
        solo.now += Duration::from_secs(8);
        assert!(greet_as(&mut solo, 2) && !stays(&solo));
    }
    // What it was told before its connection broke off, it may not have heard.
    assert!(greet_as(&mut solo, 3) && stays(&solo));
    solo.now += Duration::from_secs(1);
    assert!(greet_as(&mut solo, 3));
    solo.now += Duration::from_secs(20);
    assert!(!greet_as(&mut solo, 2) && !greet_as(&mut solo, 3));
    assert!(stays(&solo));
    let copied = Event::Copied(solo.peer);
    assert_eq!(
        solo.events.iter().filter(|event| **event == copied).count(),
        1
    );
}

#[test]
fn one_of_two_with_one_key_stays_at_last_where_the_other_never_comes() {
    let mut solo = Solo::new();
    assert!([1, 2].iter().all(|run| !greet_as(&mut solo, *run)));
    assert!(greet_as(&mut solo, 1));
    solo.now += Duration::from_secs(31);
    assert!(!greet_as(&mut solo, 1));
    // If it does come, it takes the place, to be told.
    assert!(!solo.machine.stays_connected(solo.peer));
    assert!(greet_as(&mut solo, 2));
    assert!(!greet_as(&mut solo, 1));
    assert!(solo.machine.stays_connected(solo.peer));
}

#[test]
fn who_is_told_that_its_home_was_copied_tells_its_owner() {
    let mut solo = Solo::greeted();
    solo.say(Refuse {
        code: RefuseCode::Copied,
        words: "two devices run with this key".to_owned(),
    });
    solo.heard();
    let told_by = solo.peer;
    assert!(solo.events.contains(&Event::ThisIsCopied { told_by }));
}
