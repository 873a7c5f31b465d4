//! The same over an emulated Wi-Fi, where devices find each other.

use std::path::Path;

use potluck_tests::circle::{Answer, Circle, Node, Recovery};
use potluck_tests::wifi::{Profile, Wifi, on_wifi};

use crate::{Model, SAMPLED, alone, asked};

const NAMES: [&str; 3] = ["laptop", "kitchen", "tablet"];
/// Each takes three ways through the air.
const TOKENS: u32 = 150;

/// A circle of a device at each station, told nothing of where the others are but by the invitation.
fn circle(wifi: &Wifi) -> Circle<'_> {
    Circle::start(stations(wifi, &NAMES, &Model::steady().path))
}

/// A node of each of these names at a station, which has the model.
pub(crate) fn stations<'w>(wifi: &'w Wifi, names: &[&str], model: &Path) -> Vec<Node<'w>> {
    let nodes = names.iter().zip(wifi.stations()).map(|(name, station)| {
        let node = Node::at(name, Box::new(|binary| station.command(binary)));
        node.with_model(model)
    });
    nodes.collect()
}

#[test]
fn devices_find_each_other_and_give_the_same_tokens() {
    let test = "wifi::devices_find_each_other_and_give_the_same_tokens";
    on_wifi(test, 11, NAMES.len(), Profile::default(), |wifi| {
        let circle = circle(wifi);
        let question = Model::steady().question(TOKENS, &SAMPLED);
        let who = ["--placement", "self:0..4,tablet:4..10,kitchen:10..16"];
        let answer = circle.node("laptop").answer(&asked(&question, &who));
        assert_eq!(answer.tokens, alone(&question).tokens);
        println!(
            "{:?} of {:?}",
            answer.json["decode_tokens_per_s"],
            wifi.statistics()
        );
    });
}

#[test]
fn a_helper_out_of_range_is_replaced_and_comes_back() {
    let test = "wifi::a_helper_out_of_range_is_replaced_and_comes_back";
    on_wifi(test, 12, NAMES.len(), Profile::default(), |wifi| {
        let circle = circle(wifi);
        let question = Model::steady().question(TOKENS, &SAMPLED);
        let expected = alone(&question).tokens;
        let who = ["--placement", "tablet:0..8,kitchen:8..16"];
        let run = || {
            let mut run = circle.node("laptop").ask(&asked(&question, &who));
            let _ = run.told("predicted");
            run
        };
        // Away from everybody.
        let away = run();
        wifi.take_away(1);
        let answer = Answer::of(away.end());
        println!("taken away: {:?}", answer.recoveries);
        assert_eq!(answer.tokens, expected);
        let of_kitchen = answer.recoveries.iter().any(|r| r.stage == "kitchen");
        assert!(of_kitchen, "{:?}", answer.recoveries);
        // Of others only what a busy machine does to them.
        let by_time = answer.recoveries.iter().all(Recovery::is_by_time);
        assert!(by_time, "{:?}", answer.recoveries);
        wifi.bring_back(1);
        circle.await_connected();
        // Only from the one that it takes rows of: the one that asks hears both.
        let cut = run();
        wifi.cut(1, 2);
        let answer = Answer::of(cut.end());
        println!(
            "cut from each other: {:?}, then {:?}",
            answer.recoveries,
            answer.stages()
        );
        assert_eq!(answer.tokens, expected);
        wifi.heal(1, 2);
        circle.await_connected();
        assert_eq!(Answer::of(run().end()).tokens, expected);
    });
}
