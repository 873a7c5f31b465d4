//! However the layers are split, the tokens are those of one device.

use std::path::Path;

use fastrand::Rng;
use potluck::local::PlacementView;
use potluck_tests::circle::Circle;
use potluck_tests::{model_path, run};

use crate::{GREEDY, Model, SAMPLED, alone, asked, circle, question};

const NAMES: [&str; 4] = ["laptop", "kitchen", "tablet", "phone"];

/// Asks a member with these placements, and compares with the answer of one device alone.
fn compare(circle: &Circle<'_>, asking: &str, question: &[String], placements: &[String]) {
    let expected = alone(question);
    assert!(expected.stages().is_empty());
    for placement in placements {
        let who = ["--placement", placement];
        let answer = circle.node(asking).answer(&asked(question, &who));
        assert_eq!(
            answer.tokens, expected.tokens,
            "{placement}, asked at {asking}: {:?}",
            answer.recoveries
        );
        if answer.recoveries.is_empty() {
            let placed = placement.replace("self", asking);
            assert_eq!(answer.stages().join(","), placed);
        } else {
            println!("{placement}: {:?}", answer.recoveries);
        }
    }
}

fn owned(placements: &[&str]) -> Vec<String> {
    placements.iter().map(ToString::to_string).collect()
}

/// A placement of so many layers over some of the devices, in any order.
fn any_placement(rng: &mut Rng, layers: u32) -> String {
    let mut names = ["self", "kitchen", "tablet", "phone"];
    rng.shuffle(&mut names);
    let stages = rng.usize(1..=names.len());
    let mut cuts: Vec<_> = rng.choose_multiple(1..layers, stages - 1);
    cuts.extend([0, layers]);
    cuts.sort_unstable();
    let stages = names.iter().zip(cuts.windows(2));
    let stages = stages.map(|(name, cut)| format!("{name}:{}..{}", cut[0], cut[1]));
    stages.collect::<Vec<_>>().join(",")
}

#[test]
fn every_split_into_two_three_and_four_gives_the_same_tokens() {
    let model = Model::quick();
    let circle = circle(&NAMES, &model.path);
    let placements = owned(&[
        "self:0..6,kitchen:6..12",
        "self:0..1,kitchen:1..12",
        "kitchen:0..11,self:11..12",
        "kitchen:0..12",
        "tablet:0..7,kitchen:7..12",
        "self:0..4,kitchen:4..8,tablet:8..12",
        "kitchen:0..1,self:1..2,tablet:2..12",
        "phone:0..3,tablet:3..10,kitchen:10..12",
        "self:0..3,kitchen:3..6,tablet:6..9,phone:9..12",
        "tablet:0..1,phone:1..2,kitchen:2..3,self:3..12",
    ]);
    for how in [&GREEDY[..], &SAMPLED] {
        compare(&circle, "laptop", &model.question(100, how), &placements);
    }
    let mut rng = Rng::with_seed(1);
    let some = (0..10).map(|_| any_placement(&mut rng, model.layers));
    let some: Vec<_> = some.collect();
    compare(&circle, "laptop", &model.question(60, &SAMPLED), &some);
    let others = owned(&["laptop:0..5,self:5..12", "phone:0..2,laptop:2..12"]);
    compare(&circle, "tablet", &model.question(60, &SAMPLED), &others);
}

/// Splits of a real model.
fn compare_real(path: &Path, tokens: u32, how: &[&[&str]], placements: &[&str]) {
    let circle = circle(&NAMES, path);
    for how in how {
        let question = question(path, tokens, how);
        compare(&circle, "laptop", &question, &owned(placements));
    }
}

#[test]
fn smollm2_gives_the_same_200_tokens_over_two_three_and_four() {
    let placements = [
        "self:0..10,kitchen:10..30",
        "kitchen:0..7,tablet:7..21,phone:21..30",
        "kitchen:0..8,self:8..15,phone:15..23,tablet:23..30",
    ];
    let path = model_path("smollm2:135m");
    compare_real(&path, 200, &[&GREEDY, &SAMPLED], &placements);
}

#[test]
fn gemma_gives_the_same_tokens_over_three() {
    let placements = ["kitchen:0..5,self:5..11,tablet:11..18"];
    let sampled = ["--raw", "--seed", "7"];
    compare_real(&model_path("gemma3:270m"), 60, &[&sampled], &placements);
}

#[test]
fn guesses_that_are_sent_ahead_change_no_token() {
    let model = Model::quick();
    let circle = circle(&NAMES[..3], &model.path);
    let who = ["--placement", "kitchen:0..6,tablet:6..12", "--no-drafts"];
    let (mut right, mut waits) = (0, false);
    for how in [&GREEDY[..], &SAMPLED] {
        let question = model.question(100, how);
        let ask = |who| circle.node("laptop").answer(&asked(&question, who));
        let (plain, ahead) = (ask(&who), ask(&who[..2]));
        assert_eq!(plain.tokens, ahead.tokens);
        assert_eq!(plain.json["drafts"]["sent"], 0);
        right += ahead.json["drafts"]["right"].as_u64().expect("a number");
        // By what a disturbed device measured of itself, it may have nothing to spare.
        let placement = ahead.json["placement"].clone();
        let placement: PlacementView = serde_json::from_value(placement).expect("a placement");
        waits |= placement.drafts() > 0;
    }
    // Greedy, the little model repeats itself.
    assert!(right > 0 || !waits);
}

#[test]
fn a_chat_over_two_says_what_a_chat_alone_says() {
    let model = Model::quick();
    let circle = circle(&["laptop", "kitchen"], &model.path);
    let file = model.path.to_str().expect("a path of text");
    let said = |who: &[&str]| {
        let chat = ["chat", "-m", file, "-n", "20", "--seed", "3", "--quiet"];
        let command = circle.node("laptop").command([&chat[..], who].concat());
        let lines = "Hello\nAnd then?\n/retry\n/exit\n";
        run(command, lines.as_bytes()).success().stdout
    };
    let alone = said(&["--alone"]);
    assert!(alone.lines().count() >= 3, "{alone:?}");
    assert_eq!(said(&["--placement", "self:0..5,kitchen:5..12"]), alone);
    assert_eq!(said(&["--with-peers"]), alone);
}

#[test]
fn a_chat_over_two_that_outgrows_its_context_says_what_a_chat_alone_says() {
    let model = Model::quick();
    let circle = circle(&["laptop", "kitchen"], &model.path);
    let file = model.path.to_str().expect("a path of text");
    let lines = (0..12).map(|number| format!("Tell me fact number {number} about the sea.\n"));
    let lines: String = lines.collect();
    let said = |who: &[&str]| {
        let chat = "chat -n 20 --seed 3 --context 512 --stats -m".split(' ');
        let chat: Vec<_> = chat.chain([file]).chain(who.iter().copied()).collect();
        let output = run(circle.node("laptop").command(chat), lines.as_bytes()).success();
        for words in ["no longer sees", "read ahead"] {
            assert!(output.stderr.contains(words), "{words}: {}", output.stderr);
        }
        output.stdout
    };
    let alone = said(&["--alone"]);
    assert_eq!(said(&["--placement", "self:0..5,kitchen:5..12"]), alone);
}
