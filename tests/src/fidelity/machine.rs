//! Processors that processes keep to, and how fast they are.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Model;
use crate::circle::wait_for;
use crate::{Device, potluck_binary, run};

/// The real-time priority of nodes, and of the emulated access point, which is to be in time while
/// they compute.
const PRIORITY: (&str, &str) = ("10", "20");

/// This machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Put before a program, for each processor that is used.
    before: Vec<Vec<String>>,
    /// What its devices know of themselves, as `potluck bench --profile --json` writes it.
    pub profile: Value,
}

impl Machine {
    /// Finds out what the system allows. The profile is to be measured.
    pub fn look() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
        let before = (0..processors).map(|number| {
            let ways = [
                format!("chrt -f {} taskset -c {number}", PRIORITY.0),
                format!("taskset -c {number}"),
            ];
            let allowed = |way: &String| {
                let way: Vec<_> = way.split(' ').chain(["true"]).collect();
                succeeds(&way)
            };
            let way = ways.into_iter().find(allowed).unwrap_or_default();
            way.split_whitespace().map(str::to_owned).collect()
        });
        Self {
            before: before.collect(),
            profile: Value::Null,
        }
    }

    /// How programs are kept to processors.
    pub fn words(&self) -> String {
        let ways: Vec<_> = self.before.iter().map(|way| way.join(" ")).collect();
        ways.join("; ")
    }

    /// A command of this program on a processor, in which `command` starts programs.
    pub fn on(
        &self,
        processor: usize,
        program: &Path,
        command: impl FnOnce(&Path) -> Command,
    ) -> Command {
        let mut way = self.before[processor % self.before.len()].iter();
        let Some(first) = way.next() else {
            return command(program);
        };
        let mut command = command(Path::new(first));
        command.args(way).arg(program);
        command
    }

    /// Profiles of it, measured now on one processor after the other.
    ///
    /// # Panics
    /// When it cannot be measured.
    pub fn profiles(&self, times: usize) -> Vec<Value> {
        let measured = (0..times).map(|processor| self.measure_on(processor));
        measured.collect()
    }

    /// What a model takes on it alone, as `potluck bench` measures it, once on each processor.
    ///
    /// # Panics
    /// When it cannot be measured.
    pub fn alone(&self, model: &Model) -> Vec<Alone> {
        let each = (0..self.before.len()).map(|processor| {
            let device = Device::new();
            let command = self.on(processor, potluck_binary(), |path| Command::new(path));
            let path = model.path.to_str().expect("a path of text");
            let asked = [
                "bench",
                "--json",
                "--quiet",
                "--threads",
                "1",
                "--model",
                path,
            ];
            let sizes = ["--prefill", "256", "--decode", "40", "--repetitions", "2"];
            let args = [&asked[..], &sizes].concat();
            let measured = run(device.on_this(command, args), b"").success().json();
            let rate = |name: &str| measured[name].as_f64().expect("a rate");
            Alone {
                prefill_ms: 1e3 * f64::from(Alone::PROMPT) / rate("prefill_tokens_per_s"),
                token_ms: 1e3 / rate("decode_tokens_per_s"),
            }
        });
        each.collect()
    }

    fn measure_on(&self, processor: usize) -> Value {
        let device = Device::new();
        let command = self.on(processor, potluck_binary(), |path| Command::new(path));
        let args = ["bench", "--profile", "--json", "--threads", "1"];
        run(device.on_this(command, args), b"").success().json()
    }

    /// As a home remembers it.
    ///
    /// # Panics
    /// When nothing was measured.
    pub fn measurements(&self) -> Vec<u8> {
        assert!(self.profile.is_object(), "it was measured");
        serde_json::to_vec(&self.profile).expect("JSON can be written")
    }
}

/// A model on one device alone, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alone {
    /// Reading a prompt of [`Alone::PROMPT`] tokens.
    pub prefill_ms: f64,
    /// A token behind it.
    pub token_ms: f64,
}

impl Alone {
    /// Tokens of the prompt.
    pub const PROMPT: u32 = 256;

    /// The median of each.
    pub fn median(of: &[Self]) -> Self {
        let each = |time: fn(&Self) -> f64| median(&of.iter().map(time).collect::<Vec<_>>());
        Self {
            prefill_ms: each(|alone| alone.prefill_ms),
            token_ms: each(|alone| alone.token_ms),
        }
    }
}

/// The profile by which a model takes what it took alone, where by `profile` it takes what was
/// `predicted`: layers of other widths than the profile's reach other rates.
pub fn profile_of_model(profile: &Value, predicted: Alone, took: Alone) -> Value {
    let mut profile = profile.clone();
    let scaled = |rate: &Value, share: f64| json!((rate.as_f64().unwrap_or(1.0) * share) as u64);
    let decode = predicted.token_ms / took.token_ms;
    if let Some(rates) = profile["decode_bytes_per_s"].as_object_mut() {
        rates
            .values_mut()
            .for_each(|rate| *rate = scaled(rate, decode));
    }
    // Attention is as in the profile: it does not depend on the width of rows.
    let name = "prefill_multiply_adds_per_s";
    profile[name] = scaled(&profile[name], predicted.prefill_ms / took.prefill_ms);
    profile
}

/// The median of each rate.
pub fn median_profile(profiles: &[Value]) -> Value {
    let Some(Value::Object(first)) = profiles.first() else {
        let numbers: Vec<_> = profiles.iter().filter_map(Value::as_f64).collect();
        return match profiles.first() {
            Some(number) if number.is_u64() => json!(median(&numbers) as u64),
            first => first.cloned().unwrap_or_default(),
        };
    };
    let each = first.keys().map(|name| {
        let all: Vec<_> = profiles
            .iter()
            .map(|profile| profile[name].clone())
            .collect();
        (name.clone(), median_profile(&all))
    });
    Value::Object(each.collect())
}

/// The median; of an even number the mean of the middle two.
pub fn median(numbers: &[f64]) -> f64 {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => numbers[middle - 1].midpoint(numbers[middle]),
        _ => numbers[middle],
    }
}

/// Has the emulated access point, a thread of this process, be in time, where the system allows it.
pub fn hurry_access_point() {
    // A thread takes its name when it first runs.
    let thread = wait_for("the access point's thread", access_point);
    let _ = succeeds(&["chrt", "-f", "-p", PRIORITY.1, &thread]);
}

/// The system's number of its thread.
fn access_point() -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let found = tasks.flatten().find(|task| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim() == "access point")
    });
    found.map(|task| task.file_name().to_string_lossy().into_owned())
}

fn succeeds(words: &[&str]) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    let mut command = Command::new(first);
    let quiet = command
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
