//! Devices that compute in different ways: no answer is computed by two.

use std::collections::BTreeMap;
use std::time::Duration;

use super::device::{Devices, MIB, ask, devices, identity, talk};
use super::solo::Solo;
use super::{finish, peers};
use crate::Arithmetic;
use crate::machine::{Choice, Event, Input};
use crate::profile::tests::profile;
use crate::wire::{Control, OpenStage, ProfileUpdate, StageRefusedCode};

fn another() -> Arithmetic {
    Arithmetic::new("int8-3").expect("a name")
}

fn open(solo: &Solo, session: u64, arithmetic: Arithmetic) -> OpenStage {
    OpenStage {
        arithmetic,
        ..peers::open(solo, session)
    }
}

/// Lets a device compute by another arithmetic.
fn computes_by(world: &mut Devices, node: usize, offer: (u64, u64), arithmetic: Arithmetic) {
    let mut profile = profile(offer.0 * MIB, offer.1 * MIB);
    profile.arithmetic = arithmetic;
    let now = world.now;
    let machine = &mut world.nodes[node].machine;
    machine.handle_input(now, Input::Profile(profile));
}

#[test]
fn a_stage_of_another_arithmetic_is_refused_by_name() {
    let mut solo = Solo::greeted();
    let asked = open(&solo, 1, another());
    solo.say(asked.clone());
    let Some(Control::StageRefused(refused)) = solo.heard().pop() else {
        panic!("it is not refused");
    };
    assert_eq!(refused.code, StageRefusedCode::Unsupported);
    let words = &refused.words;
    assert!(
        words.contains("canonical-1") && words.contains("int8-3"),
        "{words}"
    );
    let told = |event: &Event| matches!(event, Event::Refused { why, .. } if why == words);
    assert!(solo.events.iter().any(told));
    assert!(solo.machine.is_idle());

    // Whoever computes so takes it, and refuses the first.
    let mut own = profile(1_000, 1_000);
    own.arithmetic = another();
    solo.machine.handle_input(solo.now, Input::Profile(own));
    solo.heard();
    let first = open(&solo, 2, Arithmetic::CANONICAL_1);
    solo.say(first);
    assert!(matches!(solo.heard().pop(), Some(Control::StageRefused(_))));
    solo.say(asked);
    assert!(!matches!(
        solo.heard().pop(),
        Some(Control::StageRefused(_))
    ));
    assert!(!solo.machine.is_idle());
}

#[test]
fn a_changed_arithmetic_is_told() {
    let mut solo = Solo::greeted();
    let told = |solo: &mut Solo, arithmetic: Arithmetic| {
        let mut own = profile(1_000, 1_000);
        own.arithmetic = arithmetic;
        solo.machine.handle_input(solo.now, Input::Profile(own));
        solo.pass(Duration::from_secs(2));
        let heard = solo.heard().into_iter().rev();
        let mut heard = heard.filter_map(|message| match message {
            Control::ProfileUpdate(update) => Some(update.profile.arithmetic),
            _ => None,
        });
        heard.next()
    };
    let first = told(&mut solo, Arithmetic::CANONICAL_1);
    assert_eq!(first, Some(Arithmetic::CANONICAL_1));
    assert_eq!(told(&mut solo, another()), Some(another()));
}

#[test]
fn who_says_nothing_of_it_computes_by_the_first() {
    let mut solo = Solo::greeted();
    let update = ProfileUpdate {
        revision: 1,
        sent_at_us: 9,
        profile: profile(50, 1_000),
        links: BTreeMap::new(),
    };
    let unwilling = |solo: &Solo| solo.machine.devices().unwilling(solo.peer);
    let mut own = profile(1_000, 1_000);
    solo.machine
        .handle_input(solo.now, Input::Profile(own.clone()));
    solo.say(update);
    assert_eq!(unwilling(&solo), None);
    own.arithmetic = another();
    solo.machine.handle_input(solo.now, Input::Profile(own));
    assert!(unwilling(&solo).is_some());
}

/// Neither has room alone for all layers. The second and the third are as good, and the one computes in
/// another way.
#[test]
fn an_answer_goes_over_devices_of_one_arithmetic_only() {
    let offers = [(40, 1_000), (40, 4_000), (40, 1_000)];
    let mut world = devices(&offers);
    computes_by(&mut world, 1, offers[1], another());
    world.pass(Duration::from_secs(3));
    ask(&mut world, 0, 1, Choice::Best, 20);
    finish(&mut world, 0, 1);
    let fast = identity(1).peer_id();
    let placements = talk(&world, 0, 1).placements();
    assert!(!placements.is_empty() && !placements.iter().flatten().any(|peer| *peer == fast));

    // It is used by those who compute as it does.
    let mut world = devices(&offers);
    for node in [0, 1] {
        computes_by(&mut world, node, offers[node], another());
    }
    world.pass(Duration::from_secs(3));
    ask(&mut world, 0, 1, Choice::Best, 20);
    finish(&mut world, 0, 1);
    let placements = talk(&world, 0, 1).placements();
    assert!(placements.iter().flatten().any(|peer| *peer == fast));
    assert!(
        !placements
            .iter()
            .flatten()
            .any(|peer| *peer == identity(2).peer_id())
    );
}
