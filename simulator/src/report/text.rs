//! A run as text for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::summary::{Summary, tokens_per_s};
use super::table::Table;
use super::times::Times;
use super::words;
use crate::record::{DeviceRecord, Ending, NetworkRecord, PlacementRecord, Record, SessionRecord};

/// How much of a run is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// What fits a screen or two: of many sessions and devices the ones that did most.
    #[default]
    Brief,
    /// Every session and every device.
    All,
}

/// Rows of a table if not all are wanted.
const ROWS: usize = 20;

/// A run as text: a sentence, then a table each of sessions, devices and networks.
pub fn text(record: &Record, detail: Detail) -> String {
    let rows = match detail {
        Detail::Brief => ROWS,
        Detail::All => usize::MAX,
    };
    let summary = Summary::of(record);
    let mut text = format!("{}: {}\n\n", record.name, headline(&summary));
    let tables = [
        placements(record, rows),
        sessions(record, rows),
        devices(record, rows),
        networks(record),
    ];
    for (table, left_out) in tables {
        if table.is_empty() {
            continue;
        }
        text.push_str(&table.to_text());
        if let Some(left_out) = left_out {
            let _ = writeln!(text, "{left_out}");
        }
        text.push('\n');
    }
    for violation in summary.violations.iter().take(rows) {
        let at = words::time_us(violation.at_us);
        let _ = writeln!(
            text,
            "VIOLATION of {} at {at}: {}",
            violation.checker, violation.words
        );
    }
    let _ = writeln!(
        text,
        "seed {}, trace {}, {} of virtual time, {}",
        record.seed,
        record.trace_hash,
        words::time_us(record.duration_us),
        words::count(record.events, "event"),
    );
    text
}

/// The figures of a run in one sentence.
pub(crate) fn headline(summary: &Summary) -> String {
    let mut parts = Vec::new();
    let (tokens, wanted) = (summary.tokens, summary.wanted_tokens);
    match summary.tokens_per_s {
        Some(speed) => parts.push(format!("{} tokens a second", words::figure(speed))),
        None if tokens == 0 => parts.push("no token of any answer".to_owned()),
        None => parts.push(words::count(tokens, "token")),
    }
    if let Some(times) = summary.time_to_first_token_ms {
        parts.push(format!("the first after {}", words::time_ms(times.p50)));
    }
    let asked = summary.answerable();
    parts.push(match (asked, summary.complete == asked) {
        (0, _) => "no answer was due".to_owned(),
        (1, true) => "the answer whole".to_owned(),
        (_, true) => format!("all {asked} answers whole"),
        (_, false) => {
            let got = words::percent(tokens as f64 / wanted.max(1) as f64);
            format!(
                "{} of {asked} answers whole ({got} of the tokens)",
                summary.complete
            )
        }
    });
    if let Some(joules) = summary.joules_per_token.filter(|joules| *joules > 0.0) {
        parts.push(format!("{} a token", words::joules(joules)));
    }
    if summary.failures + summary.moves > 0 {
        let counts = [
            (summary.failures, "failure"),
            (summary.moves, "orderly move"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(n, thing)| words::count(*n, thing)).collect();
        let stall = summary.stall_ms.map(|times| words::time_ms(times.most));
        let stall = stall.map(|most| format!(", {most} the longest stall"));
        let counts = counts.join(" and ");
        parts.push(format!("{counts}{}", stall.unwrap_or_default()));
    }
    parts.push(match summary.violations.len() {
        0 => "no violation".to_owned(),
        count => words::count(count as u64, "VIOLATION"),
    });
    parts.join("; ") + "."
}

/// A table, and what it leaves out in words.
pub(crate) type Told = (Table, Option<String>);

fn left_out(all: usize, rows: usize, things: &str) -> Option<String> {
    let more = all.checked_sub(rows).filter(|more| *more > 0)?;
    Some(format!("… and {more} more {things}"))
}

/// The placements: each set of stages that sessions used, the most frequent first.
pub(crate) fn placements(record: &Record, rows: usize) -> Told {
    let mut times: BTreeMap<(usize, String), (usize, f64)> = BTreeMap::new();
    for session in &record.sessions {
        for placement in &session.placements {
            let key = (
                session.requester,
                stages(record, session.requester, placement),
            );
            let (count, predicted_ms) = times.entry(key).or_default();
            *count += 1;
            *predicted_ms += placement.predicted_step_us as f64 / 1e3;
        }
    }
    let mut all: Vec<_> = times.into_iter().collect();
    // Stable: of equals the first requester's comes first.
    all.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let mut table = Table::with_words(&["who asked", "over"], &["times", "predicted a token"]);
    for ((requester, stages), (count, predicted_ms)) in all.iter().take(rows) {
        table.row([
            name(record, *requester),
            stages.clone(),
            count.to_string(),
            words::time_ms(predicted_ms / *count as f64),
        ]);
    }
    (table, left_out(all.len(), rows, "placements"))
}

fn name(record: &Record, device: usize) -> String {
    let device = record.devices.get(device);
    device.map_or_else(|| "?".to_owned(), |device| device.name.clone())
}

/// `self 0..6 → tablet 6..28`.
fn stages(record: &Record, requester: usize, placement: &PlacementRecord) -> String {
    let stages = placement.stages.iter().map(|stage| {
        let device = match stage.device == requester {
            true => "self".to_owned(),
            false => name(record, stage.device),
        };
        format!("{device} {}..{}", stage.first_layer, stage.end_layer)
    });
    stages.collect::<Vec<_>>().join(" → ")
}

/// Sessions; summed by who asked if there are more than `rows`.
pub(crate) fn sessions(record: &Record, rows: usize) -> Told {
    let by_requester = record.sessions.len() > rows;
    let first = if by_requester { "answers" } else { "asked at" };
    let numbers = [
        first,
        "tokens",
        "tokens/s",
        "first token",
        "a token p50",
        "p90",
        "p99",
        "recoveries",
    ];
    let mut groups: BTreeMap<usize, Vec<&SessionRecord>> = BTreeMap::new();
    for (index, session) in record.sessions.iter().enumerate() {
        let key = if by_requester {
            session.requester
        } else {
            index
        };
        groups.entry(key).or_default().push(session);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    if by_requester {
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    }
    let mut table = Table::with_words(&["who asked"], &numbers);
    if !by_requester {
        let headings = numbers
            .iter()
            .map(|text| ((*text).to_owned(), super::Align::Right));
        let who = ("who asked".to_owned(), super::Align::Left);
        let ended = ("ended".to_owned(), super::Align::Left);
        table = Table::new([who].into_iter().chain(headings).chain([ended]));
    }
    for group in groups.iter().take(rows) {
        table.row(session_row(record, group, by_requester));
    }
    (table, left_out(groups.len(), rows, "who asked"))
}

fn session_row(record: &Record, group: &[&SessionRecord], summed: bool) -> Vec<String> {
    let sessions = || group.iter().copied();
    let times = Times::of_us(sessions().flat_map(SessionRecord::token_gaps_us));
    let first = Times::of_us(sessions().filter_map(SessionRecord::time_to_first_token_us));
    let tokens: usize = sessions().map(|s| s.tokens_at_us.len()).sum();
    let wanted: u64 = sessions().map(|s| u64::from(s.wanted_tokens)).sum();
    let recoveries: usize = sessions().map(|s| s.recoveries.len()).sum();
    let time = |of: fn(&Times) -> f64| words::or_none(times, |t| words::time_ms(of(&t)));
    let started = match group {
        [session] if !summed => words::time_us(session.asked_at_us),
        _ => group.len().to_string(),
    };
    let mut row = vec![
        group
            .first()
            .map_or_else(String::new, |s| name(record, s.requester)),
        started,
        format!("{tokens}/{wanted}"),
        words::or_none(tokens_per_s(sessions()), words::figure),
        words::or_none(first, |t| words::time_ms(t.p50)),
        time(|times| times.p50),
        time(|times| times.p90),
        time(|times| times.p99),
        recoveries.to_string(),
    ];
    if let ([session], false) = (group, summed) {
        row.push(ending(session));
    }
    row
}

fn ending(session: &SessionRecord) -> String {
    match &session.ending {
        Ending::Complete => "whole".to_owned(),
        Ending::Running => "still at work".to_owned(),
        Ending::Kept(why) => format!("kept: {why}"),
        Ending::RequesterGone(how) => format!("its device was gone: {how}"),
        Ending::Refused(why) => format!("refused: {why}"),
    }
}

/// Devices by how long they computed, the busiest first.
pub(crate) fn busiest(record: &Record) -> Vec<usize> {
    let mut order: Vec<_> = (0..record.devices.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(record.devices[*index].busy_us));
    order
}

/// Devices: layers, temperature, battery, energy.
pub(crate) fn devices(record: &Record, rows: usize) -> Told {
    let order = match record.devices.len() > rows {
        true => busiest(record),
        false => (0..record.devices.len()).collect(),
    };
    let numbers = [
        "offers",
        "held at most",
        "layers at most",
        "computed",
        "chip",
        "battery",
        "energy",
        "sent",
        "received",
    ];
    let mut table = Table::with_words(&["device", "profile"], &numbers);
    for index in order.iter().take(rows) {
        table.row(device_row(&record.devices[*index], record.duration_us));
    }
    (table, left_out(order.len(), rows, "devices, less busy"))
}

fn device_row(device: &DeviceRecord, duration_us: u64) -> [String; 11] {
    let series = &device.series;
    let layers = series.iter().map(|sample| sample.layers).max().unwrap_or(0);
    let chip = |sample: Option<&crate::record::Sample>| sample.map(|s| s.chip_celsius);
    let hottest = series.iter().map(|s| s.chip_celsius).reduce(f64::max);
    let celsius = chip(series.first()).zip(hottest);
    let charge = |sample: Option<&crate::record::Sample>| sample.and_then(|s| s.battery);
    let battery = charge(series.first()).zip(charge(series.last()));
    let from_to = |(from, to): (f64, f64), unit: &str| format!("{from:.0} → {to:.0} {unit}");
    [
        device.name.clone(),
        device.profile.clone(),
        words::bytes(device.memory_bytes),
        words::bytes(device.peak_memory_bytes),
        layers.to_string(),
        words::percent(device.busy_us as f64 / duration_us.max(1) as f64),
        words::or_none(celsius, |pair| from_to(pair, "°C")),
        words::or_none(battery, |(a, b)| {
            format!("{:.1} → {:.1} %", a * 100.0, b * 100.0)
        }),
        words::joules(device.joules),
        words::bytes(device.sent_bytes),
        words::bytes(device.received_bytes),
    ]
}

/// Networks by how much of their air was occupied, the busiest first.
pub(crate) fn busiest_networks(record: &Record) -> Vec<&NetworkRecord> {
    let mut networks: Vec<_> = record.networks.iter().collect();
    networks.sort_by_key(|network| std::cmp::Reverse(network.airtime_us));
    networks
}

/// Networks: airtime, bytes, stalls.
pub(crate) fn networks(record: &Record) -> Told {
    let numbers = ["air occupied", "by sessions' data", "carried", "stalls"];
    let mut table = Table::with_words(&["network"], &numbers);
    let share = |us: u64| words::percent(us as f64 / record.duration_us.max(1) as f64);
    let busiest = busiest_networks(record);
    for network in busiest.iter().take(ROWS) {
        table.row([
            network.name.clone(),
            share(network.airtime_us),
            share(network.data_airtime_us),
            words::bytes(network.bytes),
            network.stalls.to_string(),
        ]);
    }
    (table, left_out(busiest.len(), ROWS, "networks, less busy"))
}
