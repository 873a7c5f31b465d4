//! The figures of a run.

use serde::{Deserialize, Serialize};

use super::times::Times;
use crate::record::{Ending, Record, SessionRecord, Violation};

/// The figures of a run: what `--json` prints, and what sweeps keep of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The scenario's name.
    pub name: String,
    /// The seed in force.
    pub seed: u64,
    /// Of everything that happened.
    pub trace_hash: String,
    /// What checkers found; empty if all is well.
    pub violations: Vec<Violation>,
    /// Virtual time, in seconds.
    pub duration_s: f64,
    /// Everything that happened: arrivals, timers, steps, faults.
    pub events: u64,
    /// Devices.
    pub devices: u64,
    /// Questions that were asked.
    pub sessions: u64,
    /// Those with their whole answer.
    pub complete: u64,
    /// Those that were at work when the run ended.
    pub running: u64,
    /// Sessions without a single token.
    pub unanswered: u64,
    /// Questions that found their device not running.
    pub unasked: u64,
    /// Tokens that were generated.
    pub tokens: u64,
    /// Tokens that were wanted.
    pub wanted_tokens: u64,
    /// Tokens of all sessions for each second of the run.
    pub tokens_per_s_together: f64,
    /// As a person sees an answer: tokens after the first, for each second between the first and the
    /// last, over all sessions; `None` if no session has two.
    pub tokens_per_s: Option<f64>,
    /// From question to first token, over sessions.
    pub time_to_first_token_ms: Option<Times>,
    /// Between a token and the one before it, over all tokens but the first of each session.
    pub time_per_output_token_ms: Option<Times>,
    /// What planners expected of a token, as the mean over placements.
    pub predicted_step_ms: Option<f64>,
    /// Devices of a placement, as the mean over placements.
    pub stages: Option<f64>,
    /// Failures that sessions met, devices that refused a stage among them.
    pub failures: u64,
    /// Moves because a device left in order.
    pub moves: u64,
    /// From the last token before a failure or move until the next one.
    pub stall_ms: Option<Times>,
    /// What all devices took, in joules, awake and idle as they may be.
    pub joules: f64,
    /// What computing and the radio took, in joules, for each token; `None` without tokens.
    pub joules_per_token: Option<f64>,
    /// How much of the time the busiest network's air was occupied, from 0 to 1.
    pub airtime: f64,
    /// What sessions' data occupied of all networks' air for each token, in milliseconds.
    pub airtime_ms_per_token: Option<f64>,
    /// What all networks carried, in bytes.
    pub bytes: u64,
    /// Of the hottest chip, in °C.
    pub hottest_celsius: Option<f64>,
    /// The lowest battery charge at the end, from 0 to 1; `None` if no device has a battery.
    pub least_battery: Option<f64>,
}

impl Summary {
    /// Of a run.
    pub fn of(record: &Record) -> Self {
        let sessions = || record.sessions.iter();
        let recoveries = || sessions().flat_map(|session| &session.recoveries);
        let tokens: u64 = sessions().map(|s| s.tokens_at_us.len() as u64).sum();
        let per_token = |amount: f64| (tokens > 0).then(|| amount / tokens as f64);
        let placements: Vec<_> = sessions().flat_map(|s| &s.placements).collect();
        let of_placements = |sum: f64| {
            let count = placements.len();
            (count > 0).then(|| sum / count as f64)
        };
        let duration_s = record.duration_us as f64 / 1e6;
        let active = record.devices.iter();
        let active: f64 = active.map(|d| d.compute_joules + d.radio_joules).sum();
        let share = |airtime_us: u64| airtime_us as f64 / record.duration_us.max(1) as f64;
        let data_us: u64 = record.networks.iter().map(|n| n.data_airtime_us).sum();
        let samples = || record.devices.iter().flat_map(|device| &device.series);
        let last = record
            .devices
            .iter()
            .filter_map(|device| device.series.last());
        Self {
            name: record.name.clone(),
            seed: record.seed,
            trace_hash: record.trace_hash.clone(),
            violations: record.violations.clone(),
            duration_s,
            events: record.events,
            devices: record.devices.len() as u64,
            sessions: record.sessions.len() as u64,
            complete: sessions().filter(|s| s.ending == Ending::Complete).count() as u64,
            running: sessions().filter(|s| s.ending == Ending::Running).count() as u64,
            unanswered: sessions().filter(|s| s.tokens_at_us.is_empty()).count() as u64,
            unasked: record.unasked,
            tokens,
            wanted_tokens: sessions().map(|s| u64::from(s.wanted_tokens)).sum(),
            tokens_per_s_together: tokens as f64 / duration_s.max(1e-6),
            tokens_per_s: tokens_per_s(sessions()),
            time_to_first_token_ms: Times::of_us(
                sessions().filter_map(SessionRecord::time_to_first_token_us),
            ),
            time_per_output_token_ms: Times::of_us(
                sessions().flat_map(SessionRecord::token_gaps_us),
            ),
            predicted_step_ms: of_placements(
                placements
                    .iter()
                    .map(|p| p.predicted_step_us as f64 / 1e3)
                    .sum(),
            ),
            stages: of_placements(placements.iter().map(|p| p.stages.len() as f64).sum()),
            failures: recoveries().filter(|recovery| !recovery.left).count() as u64,
            moves: recoveries().filter(|recovery| recovery.left).count() as u64,
            stall_ms: Times::of_us(recoveries().filter_map(|recovery| recovery.stall_us)),
            joules: record.devices.iter().map(|device| device.joules).sum(),
            joules_per_token: per_token(active),
            airtime: record
                .networks
                .iter()
                .map(|n| share(n.airtime_us))
                .fold(0.0, f64::max),
            airtime_ms_per_token: per_token(data_us as f64 / 1e3),
            bytes: record.networks.iter().map(|network| network.bytes).sum(),
            hottest_celsius: samples().map(|s| s.chip_celsius).reduce(f64::max),
            least_battery: last.filter_map(|sample| sample.battery).reduce(f64::min),
        }
    }
}

impl Summary {
    /// Questions that could have had their whole answer: asked for, and not at work at the end.
    pub fn answerable(&self) -> u64 {
        (self.sessions + self.unasked).saturating_sub(self.running)
    }
}

/// Tokens after the first for each second between first and last; `None` if there are none.
pub(super) fn tokens_per_s<'a>(sessions: impl Iterator<Item = &'a SessionRecord>) -> Option<f64> {
    let (mut tokens, mut us) = (0_u64, 0_u64);
    for session in sessions {
        if let [first, .., last] = session.tokens_at_us[..] {
            tokens += session.tokens_at_us.len() as u64 - 1;
            us += last - first;
        }
    }
    (us > 0).then(|| tokens as f64 / (us as f64 / 1e6))
}
