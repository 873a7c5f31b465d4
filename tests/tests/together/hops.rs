//! Devices that change their address, as phones do that change from one Wi-Fi to another: while
//! nothing is asked, in a prompt, in an answer, one of them and both at once.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use potluck_tests::circle::{Answer, Circle, Node};
use potluck_tests::fidelity::median;
use potluck_tests::wifi::{Profile, Station, Wifi, on_wifi};

use crate::wifi::stations;
use crate::{Model, SAMPLED, alone, asked, question_of};

/// Hops where nobody says how many.
const HOPS: usize = 9;
/// Who hops, by the stations' numbers.
const WHO: [&[usize]; 3] = [&[0], &[1], &[0, 1]];
/// Of a gap that is longer, both devices' logs are shown.
const LONG: Duration = Duration::from_secs(2);
/// Far longer than a hop takes on a busy machine, and far less than TCP tries in vain.
const MOST: Duration = Duration::from_secs(60);

/// How many hops: `POTLUCK_HOPS=200` for measuring.
fn hops() -> usize {
    let hops = env::var("POTLUCK_HOPS").ok();
    hops.map_or(HOPS, |hops| hops.parse().expect("a number of hops"))
}

/// Runs lines of a shell at a station.
pub(crate) fn shell(station: &Station, lines: &str) {
    let mut command = station.command("sh");
    let status = command.args(["-ec", lines]).status().expect("it runs");
    assert!(status.success(), "{lines}: {status}");
}

/// Buffers so small that a goodbye never goes where something was being sent.
fn with_small_buffers(wifi: &Wifi) {
    for station in wifi.stations() {
        station.enter(|| {
            let setting = "/proc/sys/net/ipv4/tcp_wmem";
            fs::write(setting, "4096 16384 32768").expect("its own network's");
        });
    }
}

/// How many addresses each device has in turn: they come again, but not soon.
fn addresses() -> usize {
    (hops() / 2).clamp(7, 100)
}

/// Gives stations other addresses, each its own.
fn hop(wifi: &Wifi, hop: usize, who: &[usize]) {
    for &number in who {
        let address = 10 + hop % addresses() * 2 + number;
        let lines = format!(
            "ip -4 address flush dev wlan0
             ip address add 10.77.0.{address}/24 dev wlan0
             ip route add 224.0.0.0/4 dev wlan0"
        );
        shell(wifi.station(number), &lines);
    }
}

/// Shows what devices logged last, to explain a long gap.
fn show_logs(circle: &Circle<'_>) {
    for name in ["laptop", "kitchen"] {
        let log = circle.node(name).potluck(&["log", "--level", "debug"]);
        let lines: Vec<_> = log.stdout.lines().collect();
        for line in &lines[lines.len().saturating_sub(60)..] {
            println!("  {name}: {line}");
        }
    }
}

/// How long it takes until the other device computes all of a short answer.
fn until_it_computes(laptop: &Node<'_>, short: &[String], expected: &[u64]) -> Duration {
    let start = Instant::now();
    loop {
        let answer = laptop.answer(&asked(short, &["--placement", "kitchen:0..16"]));
        assert_eq!(answer.tokens, expected);
        if answer.stages() == ["kitchen:0..16"] {
            return start.elapsed();
        }
        assert!(start.elapsed() < MOST, "not reached any more");
    }
}

fn print(what: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (values.first(), values.last()) {
        let middle = median(values);
        let count = values.len();
        println!("{what}: {count}, least {least:.2}, median {middle:.2}, most {most:.2} s");
    }
}

fn measure(wifi: &Wifi, circle: &Circle<'_>) {
    let path = &Model::steady().path;
    let laptop = circle.node("laptop");
    let short = question_of("Where?", path, 2, &SAMPLED);
    let words = "The road went on. ".repeat(60);
    let long = question_of("Tell me of a journey.", path, 60, &SAMPLED);
    let prompt = question_of(&words, path, 20, &SAMPLED);
    let [few, many, read] = [&short, &long, &prompt].map(|asked| alone(asked).tokens);
    let usual = until_it_computes(laptop, &short, &few);
    println!("a short answer takes {usual:.2?}");
    let who = ["--placement", "self:0..8,kitchen:8..16"];
    let (mut gaps, mut stalls) = (Vec::new(), Vec::new());
    for number in 0..hops() {
        let who_hops = WHO[number / 3 % 3];
        let asks = [None, Some((&long, &many)), Some((&prompt, &read))][number % 3];
        let run = asks.map(|(question, expected)| {
            let mut run = laptop.ask(&asked(question, &who));
            let _ = run.told("predicted");
            thread::sleep(Duration::from_millis(100 + 37 * (number as u64 % 9)));
            (run, expected)
        });
        let start = Instant::now();
        hop(wifi, number, who_hops);
        let mut told = String::new();
        if let Some((run, expected)) = run {
            let answer = Answer::of(run.end());
            assert_eq!(&answer.tokens, expected, "hop {number}");
            told = format!("{:?}", answer.recoveries);
            stalls.extend(answer.recoveries.iter().map(|r| r.stall_ms / 1e3));
            // What is left of the gap by then.
        }
        let asked_after = start.elapsed();
        let took = until_it_computes(laptop, &short, &few);
        let gap = took.saturating_sub(usual);
        println!("hop {number} of {who_hops:?}, asked after {asked_after:.2?}: +{gap:.2?} {told}");
        gaps.push(gap.as_secs_f64());
        if gap > LONG {
            show_logs(circle);
        }
    }
    print("reached again after an answer or at once, after", &mut gaps);
    print("stalls of answers", &mut stalls);
}

/// 200 hops among 100 addresses and what they cost: `POTLUCK_HOPS=200 cargo test --release --workspace --test together --
/// --nocapture a_device_that_hops`
#[test]
fn a_device_that_hops_is_reached_again_and_the_tokens_are_the_same() {
    let test = "hops::a_device_that_hops_is_reached_again_and_the_tokens_are_the_same";
    on_wifi(test, 15, 2, Profile::default(), |wifi| {
        with_small_buffers(wifi);
        let circle = Circle::start(stations(
            wifi,
            &["laptop", "kitchen"],
            &Model::steady().path,
        ));
        measure(wifi, &circle);
    });
}
