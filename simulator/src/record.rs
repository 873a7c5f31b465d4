//! The record of a run: everything that reports are made of, and a function of scenario and seed.
//!
//! Times are microseconds of virtual time since the run began, unless stated otherwise. The time that the
//! run took on the machine that made it is not part of the record.

use serde::{Deserialize, Serialize};

use crate::scenario::FaultKind;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The scenario's name.
    pub name: String,
    /// The seed in force.
    pub seed: u64,
    /// How long it was, in virtual time.
    pub duration_us: u64,
    /// A hash of everything that happened, in its order: 16 hexadecimal digits. Two runs of one
    /// scenario and seed have the same, on every machine.
    pub trace_hash: String,
    /// Everything that happened: arrivals, timers, steps, faults.
    pub events: u64,
    /// What checkers found, in order of time; empty if all is well.
    pub violations: Vec<Violation>,
    /// All sessions that were asked for, in order of time.
    pub sessions: Vec<SessionRecord>,
    /// All devices, by their index.
    pub devices: Vec<DeviceRecord>,
    /// All networks, by their index.
    pub networks: Vec<NetworkRecord>,
    /// Faults that struck, scripted and random, in order of time.
    pub faults: Vec<FaultRecord>,
    /// Requests that found nobody to ask: their device was not running then.
    pub unasked: u64,
    /// What [`Options::trace`](crate::Options) asked for, a line an event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<String>,
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which checker.
    pub checker: String,
    /// When.
    pub at_us: u64,
    /// What is wrong, in words.
    pub words: String,
    /// The device's index, if it is about one.
    pub device: Option<usize>,
    /// The session's index in [`Record::sessions`], if it is about one.
    pub session: Option<usize>,
}

/// A conversation: one question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id on the wire, 16 hexadecimal digits.
    pub id: String,
    /// Index of the device whose user asked.
    pub requester: usize,
    /// The model's name.
    pub model: String,
    /// When it was asked for.
    pub asked_at_us: u64,
    /// Rows of its prompt.
    pub prompt_rows: u32,
    /// Tokens that were wanted.
    pub wanted_tokens: u32,
    /// Over which devices it went, one entry a placement.
    pub placements: Vec<PlacementRecord>,
    /// When each token was there, in microseconds since it was asked for; the first is the time to
    /// first token.
    pub tokens_at_us: Vec<u64>,
    /// Failures and moves that it survived, or not.
    pub recoveries: Vec<RecoveryRecord>,
    /// Times without any placement, and why.
    pub waits: Vec<WaitRecord>,
    /// How it ended.
    pub ending: Ending,
    /// When it ended; `None` if it was still under way at the run's end.
    pub ended_at_us: Option<u64>,
    /// Bytes of its data frames, of all hops.
    pub data_bytes: u64,
}

/// A placement that a session went over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementRecord {
    /// When it was decided.
    pub at_us: u64,
    /// When all stages were ready; `None` if they never were.
    pub ready_at_us: Option<u64>,
    /// In the order of their layers.
    pub stages: Vec<StageRecord>,
    /// What the planner expected of a step, in microseconds.
    pub predicted_step_us: u64,
    /// The predicted energy of a step, in joules, if all devices report theirs.
    pub predicted_step_joules: Option<f64>,
}

/// A stage of a placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Index of the device.
    pub device: usize,
    /// The first layer.
    pub first_layer: u32,
    /// The layer after the last.
    pub end_layer: u32,
}

/// A failure, or a stage's leaving, and how long it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// When the requester noticed.
    pub noticed_at_us: u64,
    /// Index of the device that failed or left.
    pub device: usize,
    /// Why, in the protocol's words.
    pub cause: String,
    /// Whether it left in order, rather than failed.
    pub left: bool,
    /// When the next token was generated; `None` if none was.
    pub resumed_at_us: Option<u64>,
    /// From the last token before (or the request) until the next one.
    pub stall_us: Option<u64>,
}

/// A time in which a session had no placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitRecord {
    /// From when.
    pub from_us: u64,
    /// Until a placement was found; `None` if none was.
    pub until_us: Option<u64>,
    /// Why, in the planner's words.
    pub why: String,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how", content = "why")]
pub enum Ending {
    /// All tokens were generated.
    Complete,
    /// It was at work when the run ended.
    Running,
    /// It was kept without a placement when the run ended: why.
    Kept(String),
    /// Its requester's program ended, or its device: how.
    RequesterGone(String),
    /// The machine refused to begin it: why.
    Refused(String),
}

/// A device and its state over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Its name.
    pub name: String,
    /// Its profile's name.
    pub profile: String,
    /// Its circle's name.
    pub circle: String,
    /// Index of its network.
    pub network: usize,
    /// Bytes that its owner offers.
    pub memory_bytes: u64,
    /// At even times, [`Scenario::series_every`](crate::scenario::Scenario) apart.
    pub series: Vec<Sample>,
    /// All energy that it took, in joules, and of it what computing and what the radio took.
    pub joules: f64,
    /// Of computing.
    pub compute_joules: f64,
    /// Of sending and receiving.
    pub radio_joules: f64,
    /// How long it computed.
    pub busy_us: u64,
    /// Steps that it computed.
    pub steps: u64,
    /// Rows of those steps.
    pub rows: u64,
    /// The most bytes that it held at a time.
    pub peak_memory_bytes: u64,
    /// Bytes that it sent, as they occupy the air.
    pub sent_bytes: u64,
    /// Bytes that it received.
    pub received_bytes: u64,
    /// Bytes of weights that it has of others, each of which was checked.
    #[serde(default)]
    pub kept_bytes: u64,
    /// Wrong pieces of weights that arrived.
    #[serde(default)]
    pub refused_pieces: u64,
}

/// A device at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_us: u64,
    /// What it is doing.
    pub life: Life,
    /// Of the processor, in °C.
    pub chip_celsius: f64,
    /// Of the case, in °C.
    pub case_celsius: f64,
    /// Its speed as a share of that when cool.
    pub speed: f64,
    /// Charge, 0 to 1; `None` without a battery.
    pub battery: Option<f64>,
    /// Layers that it holds, of all sessions.
    pub layers: u32,
    /// Bytes of weights and caches that it holds.
    pub memory_bytes: u64,
    /// Joules taken since the run began.
    pub joules: f64,
}

/// Whether a device's program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// It runs.
    Running,
    /// It stands still, as the system has suspended it.
    Frozen,
    /// It does not run.
    Dead,
    /// It runs, out of everyone's reach.
    Away,
}

/// A network, and what it carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its name.
    pub name: String,
    /// How long its air was occupied.
    pub airtime_us: u64,
    /// Of that, by data frames of sessions.
    pub data_airtime_us: u64,
    /// Bytes that it carried from device to device, headers included.
    pub bytes: u64,
    /// Bursts that were stalled.
    pub stalls: u64,
    /// Airtime of each interval of [`Scenario::series_every`](crate::scenario::Scenario).
    pub series: Vec<u64>,
}

/// A fault that struck.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// When.
    pub at_us: u64,
    /// What.
    pub kind: FaultKind,
    /// Index of the device.
    pub device: usize,
    /// Index of the other, of a cut between two.
    pub other: Option<usize>,
}

impl SessionRecord {
    /// From the request to the first token, in microseconds.
    pub fn time_to_first_token_us(&self) -> Option<u64> {
        self.tokens_at_us.first().copied()
    }

    /// Microseconds between tokens, but for the first.
    pub fn token_gaps_us(&self) -> impl Iterator<Item = u64> {
        self.tokens_at_us.windows(2).map(|pair| pair[1] - pair[0])
    }
}
