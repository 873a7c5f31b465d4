//! Random small instances, a pure function of a seed.

use std::collections::BTreeMap;

use super::*;
use crate::profile::tests::{measured, rate};
use crate::profile::{Energy, OwnerLimits, Power, Profile};

/// splitmix64 (<https://prng.di.unimi.it/splitmix64.c>, public domain).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `least..=most`.
    pub(super) fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.within(1, times) == 1
    }
}

/// A model, devices and options.
#[derive(Debug)]
pub(super) struct Random {
    pub(super) model: ModelShape,
    pub(super) devices: Devices,
    pub(super) options: PlacementOptions,
}

impl Random {
    /// Up to so many devices and layers. Costs are small numbers, so that many placements are
    /// equals; budgets are scarce, formats and links at times unknown.
    pub(super) fn new(seed: u64, most_devices: u64, most_layers: u64) -> Self {
        let mut numbers = Numbers(seed);
        let layers = numbers.within(1, most_layers);
        let model = random_model(&mut numbers, layers);
        let count = numbers.within(1, most_devices);
        let needed = model.bytes_with_context(100) / 50;
        let mut devices = Devices {
            requester: peer(u8::try_from(numbers.within(0, count - 1)).expect("few devices")),
            profiles: BTreeMap::new(),
            links: BTreeMap::new(),
            holdings: Holdings::default(),
        };
        for number in 0..count {
            let number = u8::try_from(number).expect("few devices");
            let budget = numbers.within(needed / 8, needed * 90);
            let profile = random_profile(&mut numbers, budget);
            devices.profiles.insert(peer(number), profile);
            for other in 0..number {
                for way in [(number, other), (other, number)] {
                    if !numbers.once_in(4) {
                        let link = random_link(&mut numbers);
                        devices.links.insert((peer(way.0), peer(way.1)), link);
                    }
                }
            }
        }
        let options = PlacementOptions {
            objective: Objective::Latency,
            headroom_percent: u32::try_from(numbers.within(0, 30)).expect("small"),
            context: u32::try_from(numbers.within(0, 200)).expect("small"),
            positions: u32::try_from(numbers.within(0, 100)).expect("small"),
            rows_per_step: if numbers.once_in(2) {
                NonZeroU32::MIN
            } else {
                NonZeroU32::new(4).expect("not 0")
            },
        };
        Self {
            model,
            devices,
            options,
        }
    }
}

fn random_model(numbers: &mut Numbers, layers: u64) -> ModelShape {
    let alike = numbers.once_in(2);
    let mut layer = random_layer(numbers);
    let layers = (0..layers).map(|_| {
        if !alike {
            layer = random_layer(numbers);
        }
        layer.clone()
    });
    ModelShape {
        layers: layers.collect(),
        d_model: 8,
        embedding_bytes: numbers.within(0, 3_000),
        embedding_row_bytes: 30,
        head: random_weights(numbers, 1),
        head_multiply_adds: numbers.within(0, 4_000),
        head_is_embedding: numbers.once_in(2),
    }
}

fn random_layer(numbers: &mut Numbers) -> LayerShape {
    let (weights, multiply_adds) = (random_weights(numbers, 2), numbers.within(0, 4_000));
    let kv_bytes_per_position = numbers.within(0, 10);
    let window = numbers.once_in(3).then_some(16);
    LayerShape {
        weights,
        multiply_adds,
        kv_bytes_per_position,
        window,
        most_kv_positions: window.map(|window| 2 * window),
    }
}

fn random_weights(numbers: &mut Numbers, most: u64) -> Vec<Weights> {
    let count = numbers.within(1, most);
    let part = |_| Weights {
        quantisation: Quantisation(u32::try_from(numbers.within(0, 1)).expect("small")),
        bytes: 500 * numbers.within(0, 4),
    };
    (0..count).map(part).collect()
}

fn random_profile(numbers: &mut Numbers, budget: u64) -> Profile {
    let mut profile = profile(budget, 1_000_000_000 / numbers.within(1, 5));
    if numbers.once_in(10) {
        profile.decode.remove(&Quantisation(1));
    }
    if numbers.once_in(4) {
        profile.prefill = None;
    }
    profile.stage_overhead = measured(Duration::from_nanos(100 * numbers.within(0, 5)));
    profile.kv_read = measured(rate(1_000_000_000));
    if !numbers.once_in(10) {
        profile.energy = Some(measured(Energy {
            picojoules_per_byte_read: numbers.within(1, 4),
            picojoules_per_multiply_add: numbers.within(0, 2),
            picojoules_per_byte_sent: numbers.within(0, 5),
            picojoules_per_byte_received: numbers.within(0, 5),
        }));
    }
    if numbers.once_in(10) {
        profile.power = measured(Power::Battery {
            percent: 50,
            charging: false,
        });
        profile.limits = OwnerLimits {
            only_when_charging: numbers.once_in(2),
            min_battery_percent: 60,
        };
    }
    profile
}

fn random_link(numbers: &mut Numbers) -> Link {
    let mut way = link(
        Duration::from_nanos(200 * numbers.within(0, 9)),
        1_000_000_000,
    );
    way.overhead = measured(Duration::from_nanos(100 * numbers.within(0, 9)));
    way
}
