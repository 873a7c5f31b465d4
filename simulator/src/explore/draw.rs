//! Draws a random scenario from a seed.

use std::collections::BTreeMap;

use potluck_protocol::LayerRange;
use potluck_protocol::placement::ModelShape;

use crate::device::{Rows, Speeds};
use crate::profiles;
use crate::quantisation::Format;
use crate::random::{Purpose, Random};
use crate::scenario::{
    Checks, ChoiceSpec, DeviceSpec, FaultKind, FaultSpec, Goal, ModelSpec, NetworkKind,
    NetworkSpec, RequestSpec, Scenario, Weights,
};
use crate::units::{BitRate, ByteCount, Span};

/// Faults strike until then, and are undone by then.
const TROUBLE: u64 = 60_000_000;
/// Devices lack weights only of models that are sent within this, so that many of them, one after
/// the other, have theirs before peace is over.
const SENT_WITHIN: u64 = 5_000_000;
/// How long peace lasts: the slowest networks that are drawn take some minutes to carry what the longest
/// conversations need, one after the other, and all again that was lost.
const PEACE: u64 = 540_000_000;

const PROFILES: [&str; 6] = [
    "galaxy-s23",
    "poco-x7",
    "oneplus-12",
    "snapdragon-680",
    "pixel-9",
    "iphone-17-pro",
];

const FAULTS: [FaultKind; 11] = [
    FaultKind::Kill,
    FaultKind::Kill,
    FaultKind::PowerOff,
    FaultKind::Freeze,
    FaultKind::Freeze,
    FaultKind::Cut,
    FaultKind::Cut,
    FaultKind::Leave,
    FaultKind::Slow,
    FaultKind::Background,
    FaultKind::Call,
];

/// The scenario of a seed.
pub fn scenario_of(seed: u64) -> Scenario {
    scenario_with(seed, None)
}

/// The scenario of a seed, with this model if one is given.
pub fn scenario_with(seed: u64, model: Option<&ModelSpec>) -> Scenario {
    let mut random = Random::new(seed, Purpose::Explore, 0);
    let phones = 3 + random.below(6);
    let drawn = drawn_model(&mut random);
    let model = model.cloned().unwrap_or(drawn);
    let networks = vec![network(&mut random)];
    // Where people write placements, all devices have room for them; else the planner has to look.
    let forced = random.happens(0.65);
    let devices = devices(&mut random, phones, &model, forced);
    let requests = requests(&mut random, phones, &model, forced);
    let asked: Vec<u64> = requests.iter().map(|request| request.at.0).collect();
    let named = named(&requests);
    let faults = (0..random.below(18)).map(|_| fault(&mut random, phones, &asked, &named));
    let faults = faults.collect();
    let mut scenario = Scenario {
        name: format!("explorer {seed}"),
        seed,
        duration: Span(TROUBLE + PEACE),
        series_every: Some(Span::seconds(10)),
        model,
        checks: Checks {
            all_complete: true,
            ..Checks::default()
        },
        devices,
        networks,
        requests,
        faults,
        ..Scenario::default()
    };
    take_weights(&mut random, &mut scenario);
    if forced && random.happens(0.4) {
        leave_no_room(&mut scenario);
    }
    for request in &mut scenario.requests {
        if random.happens(0.4) {
            request.guesses = between(&mut random, 1, 6) as u32;
        }
    }
    scenario
}

/// Devices have room for the stages that are written for them and hardly more: when one fails, its
/// session waits until it is back, and goes on over the same stages, which hold what they held. Not
/// where somebody may take the best placement.
fn leave_no_room(scenario: &mut Scenario) {
    let Ok(shape) = scenario.model.shape() else {
        return;
    };
    let mut needed: BTreeMap<String, u64> = BTreeMap::new();
    for request in &scenario.requests {
        let ChoiceSpec::Forced(text) = &request.choice else {
            return;
        };
        *needed.entry(request.who.clone()).or_default() += shape.ends_bytes();
        for stage in text.split(',') {
            let Some((named, layers)) = stage.split_once(':') else {
                continue;
            };
            let ends = layers.split_once("..");
            let ends = ends.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let (first, end): (usize, usize) = ends.unwrap_or_default();
            let layers = shape.layers.get(first..end).unwrap_or_default();
            let bytes = layers.iter().map(|l| l.memory_bytes(request.context()));
            let name = if named == "self" {
                request.who.as_str()
            } else {
                named
            };
            *needed.entry(name.to_owned()).or_default() += bytes.sum::<u64>();
        }
    }
    for device in &mut scenario.devices {
        let bytes = needed.get(device.base_name()).copied().unwrap_or(0);
        // A fifth is headroom.
        device.memory = Some(ByteCount(bytes + bytes / 4 + 4_096));
    }
}

/// Some that ask for nothing begin without weights, if all of the model is sent within some seconds;
/// and what others give them may be wrong for a while.
fn take_weights(random: &mut Random, scenario: &mut Scenario) {
    let bytes = scenario.model.shape().map_or(0, |shape| {
        let layers = shape.layers.iter().map(|layer| layer.memory_bytes(0));
        layers.sum()
    });
    let rate = scenario.networks.first().map(|network| network.rate);
    // Twice on the air of an access point.
    let sent = rate.map_or(u64::MAX, |rate| rate.micros_for(2 * bytes));
    if sent > SENT_WITHIN || random.happens(0.4) {
        return;
    }
    for device in &mut scenario.devices {
        let asks = scenario
            .requests
            .iter()
            .any(|request| request.who == device.base_name());
        if !asks && random.happens(0.5) {
            device.weights = Weights::None;
        }
    }
    if random.happens(0.4) {
        let at = magnitude(random, 200_000.0, 30e6) as u64;
        let who = random.below(scenario.devices.len() as u64);
        scenario.faults.push(FaultSpec {
            at: Span(at),
            kind: FaultKind::Spoil,
            who: name(who),
            other: None,
            times: None,
            lasts: Some(Span(random.below(TROUBLE - at))),
        });
    }
}

/// `least..=most`.
fn between(random: &mut Random, least: u64, most: u64) -> u64 {
    least + random.below(most - least + 1)
}

/// From one magnitude to another, each as likely.
fn magnitude(random: &mut Random, least: f64, most: f64) -> f64 {
    let (low, high) = (libm::log(least), libm::log(most));
    libm::exp(low + (high - low) * random.unit())
}

fn name(phone: u64) -> String {
    format!("phone{phone}")
}

fn drawn_model(random: &mut Random) -> ModelSpec {
    let wide = [16, 64, 64, 256, 1_024];
    let d_model = random.one_of(&wide).unwrap_or(64);
    ModelSpec {
        name: "explored".to_owned(),
        quantisation: Some(Format::Q4_0),
        embedding: Some(Format::Q8_0),
        layers: Some(between(random, 2, 24) as u32),
        d_model: Some(d_model),
        d_ff: Some(d_model * 3),
        heads: Some(2),
        kv_heads: Some(1),
        head_dim: Some(d_model / 2),
        vocabulary: Some(1_000),
        tied: Some(random.happens(0.7)),
    }
}

fn network(random: &mut Random) -> NetworkSpec {
    let kinds = [
        NetworkKind::AccessPoint,
        NetworkKind::AccessPoint,
        NetworkKind::Hotspot,
        NetworkKind::Direct,
    ];
    let kind = random.one_of(&kinds).unwrap_or_default();
    let stalls = random.happens(0.5);
    NetworkSpec {
        kind,
        delay: Span(magnitude(random, 200.0, 60_000.0) as u64),
        jitter: Span(if random.happens(0.5) {
            magnitude(random, 100.0, 50_000.0) as u64
        } else {
            0
        }),
        rate: BitRate::new(magnitude(random, 1e6, 600e6) as u64),
        stall_rate: if stalls { 0.02 * random.unit() } else { 0.0 },
        stall: Span(magnitude(random, 5_000.0, 1e6) as u64),
        burst_packets: between(random, 1, 16) as u32,
        hotspot: (kind == NetworkKind::Hotspot).then(|| name(0)),
        ..NetworkSpec::default()
    }
}

fn devices(random: &mut Random, phones: u64, model: &ModelSpec, roomy: bool) -> Vec<DeviceSpec> {
    let Ok(shape) = model.shape() else {
        return Vec::new();
    };
    let (ends, whole) = (shape.ends_bytes(), shape.bytes_with_context(4 * 500));
    // So that most devices cannot have the whole, but all of them together while one is missing, or
    // hardly without any; a fifth is headroom.
    let all_needed = random.happens(0.4);
    let least = match all_needed {
        true => 1.0 / phones as f64,
        false => 1.5 / (phones - 1) as f64,
    };
    let most = if all_needed { 1.3 * least } else { 1.2 };
    let share = least + (most - least) * random.unit();
    let layer = whole / shape.layers.len() as u64;
    let device = |phone: u64| {
        let profile = random.one_of(&PROFILES).unwrap_or("pixel-9");
        let tight = (1.2 * (share * whole as f64 + (2 * layer + ends) as f64)) as u64;
        DeviceSpec {
            profile: profile.to_owned(),
            name: Some(name(phone)),
            memory: Some(ByteCount(if roomy { 8 * whole } else { tight })),
            slow: slowest(profile, &shape) * magnitude(random, 0.05, 1.0),
            joins_at: Span(if random.happens(0.15) {
                random.below(TROUBLE / 2)
            } else {
                0
            }),
            suspended_after: Span(between(random, 100_000, 6_000_000)),
            ..DeviceSpec::default()
        }
    };
    (0..phones).map(device).collect()
}

/// Times that a device may be slower, so that a step through the whole model takes at most 0.3 s, and
/// the longest prompt 10 s.
fn slowest(profile: &str, shape: &ModelShape) -> f64 {
    let Ok(hardware) = profiles::load(profile) else {
        return 1.0;
    };
    let speeds = Speeds::new(&hardware, shape, 4.0);
    let layers = LayerRange::new(0, shape.layers.len() as u32);
    let seconds = |count: u32| {
        let rows = layers.map(|layers| Rows {
            layers,
            start: 0,
            count,
        });
        speeds.step(rows.as_slice()) as f64 / 1e9
    };
    let times = (0.3 / seconds(1)).min(10.0 / seconds(400));
    times.clamp(1.0, 900.0)
}

fn requests(random: &mut Random, phones: u64, model: &ModelSpec, forced: bool) -> Vec<RequestSpec> {
    let layers = u64::from(model.layers.unwrap_or(1));
    let count = 1 + random.below(4);
    let request = |_| {
        let phone = random.below(phones);
        RequestSpec {
            who: name(phone),
            at: Span(magnitude(random, 200_000.0, 30e6) as u64),
            prompt: magnitude(random, 1.0, 400.0) as u32,
            tokens: between(random, 1, 120) as u32,
            choice: if forced {
                choice(random, phones, phone, layers)
            } else {
                ChoiceSpec::Best
            },
            objective: random
                .one_of(&[Goal::Latency, Goal::Latency, Goal::Throughput])
                .unwrap_or_default(),
            ..RequestSpec::default()
        }
    };
    (0..count).map(request).collect()
}

/// Often over several phones, as a small model is best alone.
fn choice(random: &mut Random, phones: u64, asks: u64, layers: u64) -> ChoiceSpec {
    if random.happens(0.3) {
        return ChoiceSpec::Best;
    }
    let mut left: Vec<u64> = (0..phones).collect();
    let most = phones.min(layers).min(4);
    let stages = between(random, 1, most);
    let mut text: Vec<String> = Vec::new();
    let mut first = 0;
    for stage in 0..stages {
        let phone = left.remove(random.below(left.len() as u64) as usize);
        let after = stages - stage - 1;
        let end = if after == 0 {
            layers
        } else {
            between(random, first + 1, layers - after)
        };
        let called = if phone == asks {
            "self".to_owned()
        } else {
            name(phone)
        };
        text.push(format!("{called}:{first}..{end}"));
        first = end;
    }
    // Else it stays within those that are named.
    if random.happens(0.5) {
        text.push("*".to_owned());
    }
    ChoiceSpec::Forced(text.join(","))
}

/// Phones that written placements go over.
fn named(requests: &[RequestSpec]) -> Vec<u64> {
    let number = |name: &str| name.strip_prefix("phone")?.parse::<u64>().ok();
    let mut named = Vec::new();
    for request in requests {
        if let ChoiceSpec::Forced(text) = &request.choice {
            let stages = text.split(',').filter_map(|stage| stage.split(':').next());
            named.extend(stages.filter_map(number));
        }
    }
    named
}

/// Soon after a question, more often than not while it is answered, and of somebody who computes.
fn fault(random: &mut Random, phones: u64, asked: &[u64], named: &[u64]) -> FaultSpec {
    let kind = random.one_of(&FAULTS).unwrap_or(FaultKind::Freeze);
    let after = random.one_of(asked).unwrap_or(0);
    let at = (after + magnitude(random, 20_000.0, 15e6) as u64).min(TROUBLE - 1);
    let lasts = magnitude(random, 5_000.0, 40e6) as u64;
    let aimed = random.happens(0.6);
    let who = random.below(phones);
    let who = random.one_of(named).filter(|_| aimed).unwrap_or(who);
    let other = (who + 1 + random.below(phones - 1)) % phones;
    FaultSpec {
        at: Span(at),
        kind,
        who: name(who),
        other: kind.needs_other().then(|| name(other)),
        // Or one step would take as long as a session may stand still.
        times: (kind == FaultKind::Slow).then(|| magnitude(random, 2.0, 8.0)),
        lasts: Some(Span(lasts.min(TROUBLE - at))),
    }
}
