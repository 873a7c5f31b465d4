//! Profiles that `potluck bench --profile --json` wrote.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::defaults::{LOAD, MESSAGE_OVERHEAD, OPENING, REQUESTER_OVERHEAD};
use super::{Hardware, PowerSpec, ProfileError};
use crate::quantisation::Format;
use crate::units::{ByteCount, Span, Speed};

/// Query heads for each head of keys in the layers that `potluck bench --profile` measures with.
const QUERIES: f64 = 4.0;

/// The fields that are used; later versions may add others.
#[derive(Debug, Deserialize)]
struct Measured {
    decode_bytes_per_s: BTreeMap<String, u64>,
    kv_read_bytes_per_s: u64,
    prefill_multiply_adds_per_s: u64,
    stage_overhead_ns: u64,
    memory_budget_bytes: u64,
    with: With,
}

#[derive(Debug, Deserialize)]
struct With {
    processor: String,
    threads: usize,
    isa: String,
}

/// A measured device, which neither heats up nor has a battery.
pub(super) fn parse(name: &str, text: &str) -> Result<Hardware, ProfileError> {
    let measured: Measured =
        serde_json::from_str(text).map_err(|error| ProfileError::Unreadable {
            name: name.to_owned(),
            words: format!("{error}; write it with `potluck bench --profile --json`"),
        })?;
    let With {
        processor,
        threads,
        isa,
    } = measured.with;
    let rates = measured.decode_bytes_per_s.iter();
    let decode = rates.filter_map(|(name, &rate)| Some((name.parse().ok()?, Speed::new(rate))));
    let decode: BTreeMap<Format, Speed> = decode.collect();
    Ok(Hardware {
        name: name.to_owned(),
        words: format!("{processor}, {threads} threads, {isa}"),
        source: "measured by potluck bench --profile".to_owned(),
        memory: ByteCount(measured.memory_budget_bytes),
        decode,
        kv_read: Speed::new(measured.kv_read_bytes_per_s),
        kv_queries: Some(QUERIES),
        prefill: Speed::new(measured.prefill_multiply_adds_per_s),
        stage_overhead: Span(measured.stage_overhead_ns.div_ceil(1_000)),
        message_overhead: MESSAGE_OVERHEAD,
        requester_overhead: REQUESTER_OVERHEAD,
        opening: OPENING,
        load: LOAD,
        heat: None,
        power: PowerSpec::default(),
        battery_watt_hours: None,
    })
}
