//! Weights come to the helpers that lack them: only their layers, checked, and no byte twice.
//!
//! Nothing here asserts that this machine is fast. How long transfers took is printed; see it with
//! `--nocapture`.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use potluck::home::Home;
use potluck::manifest::Manifest;
use potluck::shard_store::ShardStore;
use potluck::{Cancel, Part};
use potluck_tests::Device;
use potluck_tests::circle::{Answer, Circle, Node, undisturbed, wait_for};
use serde_json::Value;

/// A model of random weights, of which one device has the file.
struct Model {
    path: PathBuf,
    manifest: Manifest,
}

const LAYERS: usize = 16;
const QUESTION: [&str; 6] = [
    "-n",
    "40",
    "Tell me of a journey.",
    "--seed",
    "7",
    "--model",
];

/// A layer has 1.9 MB.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transfer.gguf");
        let shape = "--d-model 512 --heads 8 --kv-heads 2 --head-dim 64 --d-ff 1536 --layers 16";
        let file = path.to_str().expect("a path of text");
        let args = ["synth", file, "--force", "--quiet"].into_iter();
        let _ = Device::new()
            .potluck(args.chain(shape.split(' ')))
            .success();
        let manifest = Manifest::of_file(&path, &Cancel::new(), &mut |_| ());
        let manifest = manifest.expect("a model").expect("not cancelled");
        assert_eq!(manifest.layers(), LAYERS);
        Model { path, manifest }
    })
}

impl Model {
    /// Bytes of some layers, with what every device needs and the manifest.
    fn bytes(&self, layers: std::ops::Range<usize>) -> u64 {
        let parts = layers.map(Part::Layer).chain([Part::Common]);
        let objects = parts.map(|part| self.manifest.object(part).expect("it has it").bytes());
        objects.sum::<u64>() + self.manifest.to_bytes().len() as u64
    }
}

fn asked<'a>(who: &[&'a str]) -> Vec<&'a str> {
    let path = model().path.to_str().expect("a path of text");
    [&QUESTION[..], &[path], who].concat()
}

/// The tokens of one device alone.
fn alone() -> &'static [u64] {
    static TOKENS: OnceLock<Vec<u64>> = OnceLock::new();
    TOKENS.get_or_init(|| Node::new("alone").answer(&asked(&["--alone"])).tokens)
}

/// Bytes that a node keeps of others' models.
fn kept(node: &Node<'_>) -> u64 {
    ShardStore::open(&Home::at(node.home()), None).bytes()
}

fn bytes_sent(answer: &Answer) -> u64 {
    answer.json["bytes_sent"].as_u64().expect("a number")
}

/// Waits until a node has begun to keep pieces, and so many of them.
fn await_pieces(node: &Node<'_>, pieces: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    let log = || {
        let shards = fs::read_dir(node.home().join("shards")).ok()?;
        let folder = shards.flatten().next()?.path();
        fs::metadata(folder.join("pieces")).ok()
    };
    while log().is_none_or(|log| log.len() < 8 * pieces) {
        assert!(Instant::now() < until, "nothing comes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The stages of all placements that a plan has, once every device has said what it has.
fn planned(laptop: &Node<'_>) -> Vec<Value> {
    let path = model().path.to_str().expect("a path of text");
    wait_for("a plan that knows what is fetched", || {
        let plan = laptop.potluck(&["plan", path, "--json"]).success().json();
        let plans = plan["by_devices"].as_array().expect("a list");
        let stages = plans.iter().filter_map(|plan| plan["stages"].as_array());
        let stages: Vec<_> = stages.flatten().cloned().collect();
        let known = |stage: &Value| stage["fetch_bytes"].is_u64();
        (plans.len() > 1 && stages.iter().all(known)).then_some(stages)
    })
}

/// A plan knows who lacks which layers.
fn assert_plan_says_what_is_fetched(laptop: &Node<'_>) {
    for stage in planned(laptop) {
        let number = |key: &str| stage[key].as_u64().expect("a number");
        let layers = number("first_layer") as usize..number("end_layer") as usize;
        let object = |layer| model().manifest.object(Part::Layer(layer));
        let bytes = layers.map(|layer| object(layer).expect("it has it").bytes());
        let lacks = stage["this_device"] == false;
        let expected = if lacks { bytes.sum() } else { 0 };
        assert_eq!(number("fetch_bytes"), expected, "{stage}");
    }
}

fn assert_the_log_says_to_whom_weights_are_given(laptop: &Node<'_>) {
    let log = laptop.potluck(&["log", "--json"]).success().stdout;
    let given = log
        .lines()
        .filter(|line| line.contains("weights are given"));
    let given: Vec<_> = given.collect();
    for name in ["kitchen", "tablet"] {
        let to = format!("\"name\":\"{name}\"");
        let is_told = given.iter().any(|line| line.contains(&to));
        assert!(is_told, "{name} in {given:?}");
    }
}

#[test]
fn helpers_without_the_model_get_their_layers_and_no_others() {
    let model = model();
    let who = ["--placement", "self:0..4,kitchen:4..10,tablet:10..16"];
    // Whoever is done without has fetched less, and the others more.
    let (circle, first) = undisturbed(|| {
        let laptop = Node::new("laptop").with_model(&model.path);
        let circle = Circle::start(vec![laptop, Node::new("kitchen"), Node::new("tablet")]);
        assert_plan_says_what_is_fetched(circle.node("laptop"));
        let mut run = circle.node("laptop").ask(&asked(&who));
        let _ = run.told("fetches its layers: ");
        let first = Answer::of(run.end());
        assert_eq!(first.tokens, alone());
        let recoveries = first.recoveries.clone();
        ((circle, first), recoveries)
    });
    let laptop = circle.node("laptop");
    assert_eq!(
        first.stages(),
        ["laptop:0..4", "kitchen:4..10", "tablet:10..16"]
    );
    let expected = [model.bytes(4..10), model.bytes(10..16)];
    for (name, expected) in ["kitchen", "tablet"].into_iter().zip(expected) {
        assert_eq!(kept(circle.node(name)), expected, "{name}");
    }
    // A little more goes over the wire, and what the answer takes.
    let given: u64 = expected.iter().sum();
    let sent = bytes_sent(&first);
    println!("{sent} bytes sent for {given} of weights");
    assert!(sent < given * 103 / 100 + 500_000, "{sent} for {given}");
    assert_the_log_says_to_whom_weights_are_given(laptop);
    // They are here now.
    let mut tries = 0;
    let mut again = |who: &[&str]| {
        undisturbed(|| {
            tries += 1;
            let answer = laptop.answer(&asked(who));
            assert_eq!(answer.tokens, alone());
            let recoveries = answer.recoveries.clone();
            (answer, recoveries)
        })
    };
    let second = again(&who);
    assert!(bytes_sent(&second) < 1_000_000, "{}", bytes_sent(&second));
    // One more layer comes alone; from whom, does not matter.
    let who = ["--placement", "self:0..4,kitchen:4..11,tablet:11..16"];
    let _ = again(&who);
    let (kept, expected) = (kept(circle.node("kitchen")), model.bytes(4..11));
    // Whoever had to take another's layers in between has them, too.
    assert!(kept == expected || (kept > expected && tries > 2), "{kept}");
}

#[test]
fn a_helper_that_is_killed_while_weights_come_goes_on_where_it_was() {
    let model = model();
    let laptop = Node::new("laptop").with_model(&model.path);
    let mut circle = Circle::start(vec![laptop, Node::new("kitchen")]);
    let who = ["--placement", "self:0..2,kitchen:2..16"];
    let run = circle.node("laptop").ask(&asked(&who));
    await_pieces(circle.node("kitchen"), 30);
    circle.node_mut("kitchen").kill();
    // The laptop goes on without it.
    let answer = Answer::of(run.end());
    assert_eq!(answer.tokens, alone());
    let before = kept(circle.node("kitchen"));
    circle.node_mut("kitchen").up();
    circle.await_connected();
    let mut sent = 0;
    undisturbed(|| {
        let again = circle.node("laptop").answer(&asked(&who));
        assert_eq!(again.tokens, alone());
        sent += bytes_sent(&again);
        ((), again.recoveries)
    });
    let all = model.bytes(2..16);
    assert_eq!(kept(circle.node("kitchen")), all);
    println!("{before} of {all} bytes were kept when it was killed, {sent} sent then");
    assert!(sent < (all - before) * 103 / 100 + 500_000, "{sent}");
}

#[test]
fn a_helper_that_keeps_nothing_for_others_is_done_without() {
    let laptop = Node::new("laptop").with_model(&model().path);
    let kitchen = Node::new("kitchen").with(&["--store", "0"]);
    let circle = Circle::start(vec![laptop, kitchen]);
    let who = ["--placement", "self:0..8,kitchen:8..16"];
    let answer = circle.node("laptop").answer(&asked(&who));
    assert_eq!(answer.tokens, alone());
    let (by_time, others): (Vec<_>, Vec<_>) =
        answer.recoveries.iter().partition(|r| r.is_by_time());
    println!("noticed by the clock: {by_time:?}");
    assert_eq!(others.len(), 1, "{others:?}");
    assert!(others[0].cause.contains("--store"), "{others:?}");
}

#[cfg(target_os = "linux")]
mod wifi {
    use potluck_tests::wifi::{Profile, on_wifi};

    use super::*;

    /// How long the air is busy with so many bytes from one station to another, with the headers of
    /// Ethernet, IP, TCP, Noise and Yamux.
    fn on_air(profile: &Profile, bytes: u64) -> Duration {
        2 * profile.airtime((bytes as f64 * 1.05) as usize)
    }

    #[test]
    fn a_helper_without_the_model_is_soon_a_stage() {
        let test = "wifi::a_helper_without_the_model_is_soon_a_stage";
        let profile = Profile::default();
        on_wifi(test, 21, 2, profile, |wifi| {
            let [at_desk, in_kitchen] = [wifi.station(0), wifi.station(1)];
            let who = ["--placement", "self:0..8,kitchen:8..16"];
            let [(cold, cold_bytes), (warm, warm_bytes)] = undisturbed(|| {
                let laptop = Node::at("laptop", Box::new(|binary| at_desk.command(binary)));
                let kitchen = Node::at("kitchen", Box::new(|binary| in_kitchen.command(binary)));
                let circle = Circle::start(vec![laptop.with_model(&model().path), kitchen]);
                let mut recoveries = Vec::new();
                let timed = [(); 2].map(|()| {
                    let begun = Instant::now();
                    let answer = circle.node("laptop").answer(&asked(&who));
                    assert_eq!(answer.tokens, alone());
                    let sent = bytes_sent(&answer);
                    recoveries.extend(answer.recoveries);
                    (begun.elapsed(), sent)
                });
                (timed, recoveries)
            });
            let weights = model().bytes(8..16);
            let wire = on_air(&profile, weights);
            let took = cold.saturating_sub(warm);
            println!(
                "cold start {took:.2?} for {wire:.2?} on the air: {:.2} times",
                took.as_secs_f64() / wire.as_secs_f64()
            );
            // They are there once the answer is, and came once.
            let more = cold_bytes.saturating_sub(warm_bytes);
            println!("{more} bytes sent for {weights} of weights");
            // Pings and news are in both counts, and differ by some kilobytes.
            assert!(cold_bytes >= weights, "{cold_bytes} for {weights}");
            assert!(more < weights * 103 / 100 + 500_000, "{more} for {weights}");
        });
    }

    #[test]
    fn a_helper_that_was_away_while_weights_came_goes_on_where_it_was() {
        let test = "wifi::a_helper_that_was_away_while_weights_came_goes_on_where_it_was";
        on_wifi(test, 22, 2, Profile::default(), |wifi| {
            let [at_desk, in_kitchen] = [wifi.station(0), wifi.station(1)];
            let laptop = Node::at("laptop", Box::new(|binary| at_desk.command(binary)));
            let kitchen = Node::at("kitchen", Box::new(|binary| in_kitchen.command(binary)));
            let circle = Circle::start(vec![laptop.with_model(&model().path), kitchen]);
            let who = ["--placement", "self:0..4,kitchen:4..16"];
            let run = circle.node("laptop").ask(&asked(&who));
            let all = model().bytes(4..16);
            await_pieces(circle.node("kitchen"), all / (256 << 10) / 3);
            wifi.take_away(1);
            assert_eq!(Answer::of(run.end()).tokens, alone());
            let before = kept(circle.node("kitchen"));
            // How much depends on when this test came to take it away.
            assert!(before >= all / 4, "{before} of {all}");
            wifi.bring_back(1);
            circle.await_connected();
            // A link that was dead may stall once more, and the helper is done without again.
            let (mut sent, mut answers) = (0, 0);
            wait_for("the helper to have its layers", || {
                let again = circle.node("laptop").answer(&asked(&who));
                assert_eq!(again.tokens, alone());
                sent += bytes_sent(&again);
                answers += 1;
                println!("answered after {:?}", again.recoveries);
                (kept(circle.node("kitchen")) == all).then_some(())
            });
            println!("{before} of {all} bytes were kept when it went away, {sent} sent then");
            // What was on its way when it was done without comes again.
            let most = (all - before) * 105 / 100 + answers * 1_500_000;
            assert!(sent < most, "{sent} of {most}");
        });
    }
}
