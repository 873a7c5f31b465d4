//! Placements that people write.

use proptest::prelude::*;

use super::*;
use crate::profile::tests::measured;
use crate::profile::{OwnerLimits, Power};

fn lookup(name: &str) -> Option<PeerId> {
    match name {
        "self" => Some(peer(0)),
        "kitchen" => Some(peer(1)),
        "tablet" => Some(peer(2)),
        "a:b" => Some(peer(3)),
        _ => name.parse().ok(),
    }
}

fn parse(text: &str) -> Result<Forced, ForcedError> {
    Forced::parse(text, 12, lookup)
}

fn refused(text: &str) -> String {
    parse(text).expect_err("no placement").to_string()
}

#[test]
fn names_and_ids_are_read_in_the_order_of_layers() {
    let id = peer(9).to_string();
    let text = format!("self:0..2, kitchen : 2..5,a:b:5..6,{id}:6..12");
    let forced = parse(&text).expect("a placement");
    let read: Vec<(PeerId, String)> = forced
        .stages()
        .iter()
        .map(|stage| (stage.stage.peer, stage.stage.layers.to_string()))
        .collect();
    let expected = [(0, "0..2"), (1, "2..5"), (3, "5..6"), (9, "6..12")];
    assert_eq!(
        read,
        expected.map(|(number, layers)| (peer(number), layers.to_owned()))
    );
}

#[test]
fn others_may_help_only_where_that_is_written() {
    let forced = parse("self:0..6,kitchen:6..12").expect("a placement");
    assert!(!forced.allows_others());
    for text in ["self:0..6,kitchen:6..12,*", "self:0..6,kitchen:6..12, * "] {
        let open = parse(text).expect("a placement");
        assert!(open.allows_others(), "{text}");
        assert_eq!(open.stages(), forced.stages());
    }
    for text in ["*", "*,self:0..12", "self:0..12,*,*", "self:0..12,*:0..1"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_text_is_checked_without_knowing_its_devices() {
    for right in ["self:0..6,garage:6..12", "a:b:0..12,*", "x:0..1,y:1..12"] {
        assert!(Forced::check(right, 12).is_ok(), "{right}");
    }
    for wrong in [
        "self",
        "self:0..6",
        "self:0..13",
        "x:0..6,x:6..12",
        "x:0..6,y:7..12",
        "*",
    ] {
        assert!(Forced::check(wrong, 12).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_no_placement_is_refused_in_words() {
    assert!(refused("self:0..5,kitchen:6..12").contains("no device gets layers 5..6"));
    assert!(refused("kitchen:1..12").contains("no device gets layers 0..1"));
    assert!(refused("self:0..5").contains("no device gets layers 5..12"));
    let overlap = refused("self:0..5,kitchen:3..12");
    assert!(
        overlap.contains("\"kitchen\" gets layers 3..5 a second time"),
        "{overlap}"
    );
    assert!(refused("self:0..5,kitchen:2..4,tablet:5..12").contains("2..4 a second time"));
    assert!(refused("self:0..6,self:6..12").contains("named twice"));
    assert!(refused("self:0..6,cellar:6..12").contains("no device is called \"cellar\""));
    assert!(refused("self:0..13").contains("the model has 12"));
    assert!(refused("self:0..0,kitchen:0..12").contains("gets no layers by 0..0"));
    assert!(refused("self:6..0").contains("gets no layers"));
    for text in [
        "",
        ",",
        "self",
        "self:",
        "self:1",
        ":0..12",
        "self:0..x",
        "self:-1..12",
    ] {
        assert!(refused(text).contains("is no stage"), "{text}");
    }
    assert!(refused("self:0..99999999999").contains("is no stage"));
    assert!(refused(&"x".repeat(5_000)).contains("too long"));
    assert!(refused(&",".repeat(40)).contains("too long"));
}

#[test]
fn a_forced_placement_costs_what_the_plan_says_of_the_same() {
    let devices = devices(&[(40, 1_000), (40, 2_000), (40, 3_000)], wifi());
    let (model, options) = (model(12), options(Objective::Latency));
    let plan = plan(&model, &devices, &options).expect("there is room");
    let names = ["self", "kitchen", "tablet"];
    let written = plan.best.stages.iter().map(|placed| {
        let number = usize::from(placed.stage.peer.public_key()[0]);
        format!("{}:{}", names[number], placed.stage.layers)
    });
    let written: Vec<String> = written.collect();
    let forced = parse(&written.join(",")).expect("a placement");
    assert_eq!(
        forced.predict(&model, &devices, &options),
        Ok(plan.best.clone())
    );

    let other = parse("tablet:0..4,self:4..8,kitchen:8..12").expect("a placement");
    let predicted = other.predict(&model, &devices, &options).expect("it fits");
    assert_eq!(predicted.hops.len(), 4);
    assert!(predicted.step_time > plan.best.step_time);
}

#[test]
fn a_forced_placement_that_cannot_be_is_refused_in_words() {
    let mut devices = devices(&[(40, 1_000), (20, 2_000), (40, 3_000)], wifi());
    let (model, options) = (model(12), options(Objective::Latency));
    let refused = |devices: &Devices, text: &str| {
        let forced = parse(text).expect("a placement");
        let error = forced.predict(&model, devices, &options);
        error.expect_err("impossible").to_string()
    };
    let text = "self:0..6,kitchen:6..12";
    assert_eq!(
        refused(&devices, text),
        "\"kitchen\" offers 20 MiB, its part of the placement needs 36 MiB: give it fewer layers"
    );
    let text = "self:0..6,kitchen:6..7,tablet:7..12";
    devices.links.remove(&(peer(2), peer(1)));
    assert!(refused(&devices, text).contains("from \"kitchen\" to \"tablet\" is not measured"));
    let text = "kitchen:0..1,self:1..7,tablet:7..12";
    let kitchen = devices.profiles.get_mut(&peer(1)).expect("a helper");
    kitchen.power = measured(Power::Battery {
        percent: 9,
        charging: true,
    });
    kitchen.limits = OwnerLimits {
        only_when_charging: true,
        min_battery_percent: 10,
    };
    assert!(refused(&devices, text).contains("cannot help now: its battery is at 9 %"));
    devices.profiles.remove(&peer(1));
    assert!(refused(&devices, text).contains("not in reach"));
    let tablet = devices.profiles.get_mut(&peer(2)).expect("a helper");
    tablet.decode.clear();
    assert!(refused(&devices, "self:0..6,tablet:6..12").contains("no measured speed"));
    let own = devices.profiles.get_mut(&peer(0)).expect("the requester");
    own.memory_budget_bytes.value = MIB;
    assert!(refused(&devices, "tablet:0..12").starts_with("\"self\" offers 1 MiB"));

    let forced = Forced::parse("self:0..4", 4, lookup).expect("a placement");
    let error = forced.predict(&model, &devices, &options);
    assert!(matches!(
        error,
        Err(ForcedError::OtherModel {
            placed: 4,
            layers: 12
        })
    ));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "((self|kitchen|tablet|x|)[:.,]?[0-9 ]{0,3}(\\.\\.)?[0-9]{0,3},?){0,5}") {
        if let Ok(forced) = parse(&text) {
            let stages = forced.stages();
            prop_assert_eq!(stages[0].stage.layers.first(), 0);
            for pair in stages.windows(2) {
                prop_assert_eq!(pair[0].stage.layers.end(), pair[1].stage.layers.first());
            }
            prop_assert_eq!(stages[stages.len() - 1].stage.layers.end(), 12);
        }
    }

    #[test]
    fn any_characters_are_read_or_refused(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_cuts_are_read_back(cuts in proptest::collection::btree_set(1_u32..12, 0..3)) {
        let mut bounds = vec![0];
        bounds.extend(cuts);
        bounds.push(12);
        let names = ["tablet", "self", "kitchen"];
        let parts: Vec<String> = bounds
            .windows(2)
            .zip(names)
            .map(|(cut, name)| format!("{name}:{}..{}", cut[0], cut[1]))
            .collect();
        let forced = parse(&parts.join(",")).expect("a placement");
        let read: Vec<u32> = forced.stages().iter().map(|stage| stage.stage.layers.end()).collect();
        prop_assert_eq!(&read[..], &bounds[1..]);
    }
}
