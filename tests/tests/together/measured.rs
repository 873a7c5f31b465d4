//! What the way costs, next to what it must: for measuring, nothing here is asserted but that the
//! tokens are the same.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use potluck_tests::circle::{Answer, Circle, Node};
use potluck_tests::fidelity::median;
use potluck_tests::wifi::{Profile, on_wifi};
use potluck_tests::{PROMPTS, model_path};

use crate::wifi::stations;
use crate::{GREEDY, Model, SAMPLED, alone, asked, question, question_of};

/// Tokens that a device decoded in a second.
fn rate(answer: &Answer) -> f64 {
    let rate = answer.json["decode_tokens_per_s"].as_f64();
    rate.expect("tokens came")
}

/// A device on loopback that keeps to a processor.
fn pinned(name: &str, processor: usize) -> Node<'static> {
    let processor = processor.to_string();
    let place = move |binary: &Path| {
        let mut command = Command::new("taskset");
        command.args(["-c", &processor]).arg(binary);
        command
    };
    Node::at(name, Box::new(place)).with(&["--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"])
}

/// The same answer of the first device, in turn without drafts and with them.
fn with_drafts_and_without(circle: &Circle<'_>, question: &[String], who: &str) -> [Answer; 2] {
    let plain = ["--placement", who, "--no-drafts"];
    [&plain[..], &plain[..2]].map(|who| circle.node("laptop").answer(&asked(question, who)))
}

/// What a token over two helpers takes longer than on one device, hop by hop, each node on a
/// processor (of three nodes two take turns on one):
/// `cargo test --release --workspace --test together -- --ignored --nocapture hops_over_loopback`
#[test]
#[ignore = "for measuring"]
fn hops_over_loopback_cost_little() {
    let smollm2 = model_path("smollm2:135m");
    // The first takes next to no time to compute.
    let models = [
        (Model::quick().path.as_path(), "kitchen:0..6,tablet:6..12"),
        (&smollm2, "kitchen:0..15,tablet:15..30"),
    ];
    for (path, who) in models {
        println!("{}", path.display());
        let members = [("laptop", 0), ("kitchen", 1), ("tablet", 0)];
        let nodes = members.map(|(name, processor)| pinned(name, processor).with_model(path));
        let circle = Circle::start(nodes.into());
        let single = pinned("single", 0);
        let question = question(path, 200, &["--greedy"]);
        let mut hops = Vec::new();
        let mut drafted = Vec::new();
        for _ in 0..15 {
            let alone = single.answer(&asked(&question, &["--alone"]));
            let [together, ahead] = with_drafts_and_without(&circle, &question, who);
            assert_eq!(together.tokens, alone.tokens);
            assert_eq!(ahead.tokens, alone.tokens);
            let [alone, together, drafts] = [&alone, &together, &ahead].map(|a| 1e3 / rate(a));
            let [hop, less] = [together, drafts].map(|together| (together - alone) / 3.0);
            println!(
                "alone {alone:.2}, together {together:.2} ms a token: {hop:.3} ms a hop; \
                 with drafts {drafts:.2}: {less:.3} ({})",
                ahead.json["drafts"]
            );
            hops.push(hop);
            drafted.push(less);
        }
        let [hop, less] = [&hops, &drafted].map(|all| median(all));
        println!("median {hop:.3} ms a hop; with drafts {less:.3}");
    }
}

/// What four get who ask two helpers at once, next to what one gets.
fn four_at_once(circle: &Circle<'_>, path: &Path, who: &str) {
    const TOKENS: u32 = 200;
    let who = ["--placement", who];
    let question = |seed: &str| question(path, TOKENS, &["--seed", seed]);
    let expected = ["1", "2", "3", "4"].map(|seed| alone(&question(seed)).tokens);
    let mut gains = Vec::new();
    for _ in 0..7 {
        let one = circle.node("a").answer(&asked(&question("1"), &who));
        assert_eq!(one.tokens, expected[0]);
        let begin = Instant::now();
        let runs = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
        let runs = runs.map(|(name, seed)| circle.node(name).ask(&asked(&question(seed), &who)));
        let answers = runs.map(|run| Answer::of(run.end()));
        let wall = begin.elapsed().as_secs_f64();
        for (answer, expected) in answers.iter().zip(&expected) {
            assert_eq!(&answer.tokens, expected);
        }
        let together: f64 = answers.iter().map(rate).sum();
        let gain = together / rate(&one);
        println!(
            "one {:.1}, four {together:.1} tokens/s together: {gain:.2} times; with the start {:.1}",
            rate(&one),
            4.0 * f64::from(TOKENS) / wall
        );
        gains.push(gain);
    }
    println!("median {:.2} times", median(&gains));
}

/// `cargo test --release --workspace --test together -- --ignored --nocapture four_who_ask`
#[test]
#[ignore = "for measuring"]
fn four_who_ask_two_helpers_on_loopback() {
    let smollm2 = model_path("smollm2:135m");
    let models = [
        (Model::steady().path.as_path(), "e:0..8,f:8..16"),
        (&smollm2, "e:0..15,f:15..30"),
    ];
    for (path, who) in models {
        println!("{}", path.display());
        let nodes = ["a", "b", "c", "d", "e", "f"];
        let nodes = nodes.map(|name| Node::new(name).with_model(path));
        four_at_once(&Circle::start(nodes.into()), path, who);
    }
}

/// `cargo test --release --workspace --test together -- --ignored --nocapture four_who_ask`
#[test]
#[ignore = "for measuring"]
fn four_who_ask_two_helpers_over_the_air() {
    let test = "measured::four_who_ask_two_helpers_over_the_air";
    let path = model_path("smollm2:135m");
    on_wifi(test, 14, 6, Profile::default(), |wifi| {
        let names = ["a", "b", "c", "d", "e", "f"];
        let circle = Circle::start(stations(wifi, &names, &path));
        four_at_once(&circle, &path, "e:0..15,f:15..30");
    });
}

/// What three ways through the air cost a token, next to what they must:
/// `cargo test --release --workspace --test together -- --ignored --nocapture two_helpers_over`
#[test]
#[ignore = "for measuring"]
fn two_helpers_over_the_air_take_compute_and_three_delays() {
    let test = "measured::two_helpers_over_the_air_take_compute_and_three_delays";
    let path = model_path("smollm2:135m");
    on_wifi(test, 13, 3, Profile::default(), |wifi| {
        let names = ["laptop", "kitchen", "tablet"];
        let circle = Circle::start(stations(wifi, &names, &path));
        for how in [&GREEDY[..], &SAMPLED] {
            println!("{how:?}");
            measure_rates(&circle, &path, how);
        }
        println!("{:?}", wifi.statistics());
    });
}

/// What an answer over two helpers reaches of what compute and three delays allow, without drafts and
/// with them.
fn measure_rates(circle: &Circle<'_>, path: &Path, how: &[&str]) {
    let (mut shares, mut drafted) = (Vec::new(), Vec::new());
    for prompt in PROMPTS {
        let question = question_of(prompt, path, 200, how);
        let alone = alone(&question);
        let who = "kitchen:0..15,tablet:15..30";
        let [together, ahead] = with_drafts_and_without(circle, &question, who);
        assert_eq!(together.tokens, alone.tokens);
        assert_eq!(ahead.tokens, alone.tokens);
        let [alone, rate, drafts] = [&alone, &together, &ahead].map(rate);
        let delays = 3.0 * Profile::default().delay.as_secs_f64();
        let most = 1.0 / (1.0 / alone + delays);
        let predicted = &together.json["placement"]["tokens_per_s"];
        println!(
            "alone {alone:.1}, together {rate:.1} tokens/s: {:.2} of {most:.1}; predicted \
             {predicted}; with drafts {drafts:.1}: {:.2} ({})",
            rate / most,
            drafts / most,
            ahead.json["drafts"]
        );
        shares.push(rate / most);
        drafted.push(drafts / most);
    }
    let [plain, drafts] = [&shares, &drafted].map(|all| median(all));
    println!("median {plain:.3}, with drafts {drafts:.3}");
}
