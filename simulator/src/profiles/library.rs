//! Profiles as files.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use super::defaults::{LOAD, MESSAGE_OVERHEAD, OPENING, REQUESTER_OVERHEAD, STAGE_OVERHEAD};
use super::{Hardware, HeatSpec, PowerSpec, ProfileError, measured};
use crate::quantisation::Format;
use crate::units::{ByteCount, Span, Speed};

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../profiles/", $name, ".toml")))),+]
    };
}

const LIBRARY: [(&str, &str); 11] = built_in![
    "galaxy-s22",
    "galaxy-s23",
    "galaxy-s24",
    "galaxy-s25-ultra",
    "iphone-17-pro",
    "laptop",
    "oneplus-12",
    "pixel-9",
    "poco-f",
    "poco-x7",
    "snapdragon-680",
];

/// Names and texts of the profiles that are built in.
pub fn library() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIBRARY.into_iter()
}

/// The profile of this name, or of the file at this path.
///
/// # Errors
/// [`ProfileError`].
pub fn load(name: &str) -> Result<Hardware, ProfileError> {
    if let Some((_, text)) = library().find(|(built_in, _)| *built_in == name) {
        return parse(name, text);
    }
    let ends = |ending: &str| name.to_ascii_lowercase().ends_with(ending);
    let (toml, json) = (ends(".toml"), ends(".json"));
    if !toml && !json {
        let name = name.to_owned();
        return Err(ProfileError::Unknown { name });
    }
    let text = fs::read_to_string(name).map_err(|why| ProfileError::File {
        path: name.to_owned(),
        why,
    })?;
    if json {
        measured::parse(name, &text)
    } else {
        parse(name, &text)
    }
}

/// A profile's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    words: String,
    source: String,
    memory: ByteCount,
    decode: BTreeMap<String, Speed>,
    kv_read: Option<Speed>,
    kv_queries: Option<f64>,
    prefill: Speed,
    stage_overhead: Option<Span>,
    message_overhead: Option<Span>,
    requester_overhead: Option<Span>,
    opening: Option<Span>,
    load: Option<Speed>,
    heat: Option<HeatSpec>,
    power: Option<PowerSpec>,
    battery: Option<Battery>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Battery {
    watt_hours: f64,
}

fn parse(name: &str, text: &str) -> Result<Hardware, ProfileError> {
    let unreadable = |words: String| ProfileError::Unreadable {
        name: name.to_owned(),
        words,
    };
    let file: File = toml::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let decode = decode_rates(&file.decode).map_err(unreadable)?;
    let fastest = decode.values().max().copied();
    let kv_read = file.kv_read.or(fastest);
    let kv_read = kv_read.ok_or_else(|| unreadable("decode has no rate".to_owned()))?;
    if let Some(words) = file.heat.and_then(|heat| wrong_heat(&heat)) {
        return Err(unreadable(words.to_owned()));
    }
    Ok(Hardware {
        name: name.to_owned(),
        words: file.words,
        source: file.source.trim().to_owned(),
        memory: file.memory,
        decode,
        kv_read,
        kv_queries: file.kv_queries.filter(|queries| *queries > 0.0),
        prefill: file.prefill,
        stage_overhead: file.stage_overhead.unwrap_or(STAGE_OVERHEAD),
        message_overhead: file.message_overhead.unwrap_or(MESSAGE_OVERHEAD),
        requester_overhead: file.requester_overhead.unwrap_or(REQUESTER_OVERHEAD),
        opening: file.opening.unwrap_or(OPENING),
        load: file.load.unwrap_or(LOAD),
        heat: file.heat,
        power: file.power.unwrap_or_default(),
        battery_watt_hours: file.battery.map(|battery| battery.watt_hours),
    })
}

/// The rate of every format: its own, else that of its bits (`4-bit`), else of the closest bits.
fn decode_rates(given: &BTreeMap<String, Speed>) -> Result<BTreeMap<Format, Speed>, String> {
    let mut by_bits = BTreeMap::new();
    let mut own = BTreeMap::new();
    for (name, speed) in given {
        match name.strip_suffix("-bit").map(str::parse::<u64>) {
            Some(Ok(bits)) => drop(by_bits.insert(bits, *speed)),
            _ => {
                let format: Format = name
                    .parse()
                    .map_err(|unknown| format!("decode: {unknown}; or 4-bit, 8-bit"))?;
                own.insert(format, *speed);
                by_bits.entry(format.bits()).or_insert(*speed);
            }
        }
    }
    let speed = |format: Format| {
        let closest = || {
            let bits = by_bits.iter();
            bits.min_by_key(|(bits, _)| bits.abs_diff(format.bits()))
        };
        let of_bits = || closest().map(|(_, speed)| *speed);
        own.get(&format).copied().or_else(of_bits)
    };
    Ok(Format::all()
        .filter_map(|format| Some((format, speed(format)?)))
        .collect())
}

/// What is wrong with it.
fn wrong_heat(heat: &HeatSpec) -> Option<&'static str> {
    let positive = [
        heat.chip_joules_per_kelvin,
        heat.chip_kelvin_per_watt,
        heat.case_joules_per_kelvin,
        heat.case_kelvin_per_watt,
        heat.slowest,
    ];
    if positive
        .iter()
        .any(|number| !number.is_finite() || *number <= 0.0)
    {
        return Some("heat: capacities, resistances and the least speed are above 0");
    }
    let rises = heat.slows_from < heat.slowest_at && heat.slowest_at <= heat.critical_at;
    if !rises || heat.slowest > 1.0 {
        return Some("heat: slows_from < slowest_at <= critical_at, and slowest at most 1");
    }
    None
}
