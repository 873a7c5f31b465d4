//! Every placement there is, one by one, with the formulas written down a second time.

use super::random::Random;
use super::*;

/// The least costs over all placements.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Least {
    /// Nanoseconds of a step.
    pub(super) latency: Option<u64>,
    /// Nanoseconds of the slowest part, then of a step.
    pub(super) pace: Option<(u64, u64)>,
    /// Picojoules.
    pub(super) energy: Option<u64>,
}

/// The least costs by how many devices hold layers, one first; of all placements that `objective`
/// allows, and the number of those.
pub(super) fn least(instance: &Random) -> (Vec<Least>, u64) {
    let brute = Brute::new(instance);
    let mut found = Found {
        least: vec![Least::default(); brute.peers.len()],
        placements: 0,
    };
    if brute.requester_takes_part() {
        let start = Sums {
            latency: brute.ends_time,
            pace: brute.ends_time,
            energy: brute.ends_energy,
        };
        brute.extend(&mut Vec::new(), 0, start, &mut found);
    }
    (found.least, found.placements)
}

struct Found {
    least: Vec<Least>,
    placements: u64,
}

#[derive(Clone, Copy)]
struct Sums {
    latency: u64,
    pace: u64,
    energy: u64,
}

type OfDevice = Vec<Vec<Option<(u64, u64)>>>;

struct Brute<'a> {
    instance: &'a Random,
    peers: Vec<PeerId>,
    /// `[device][first][end]`: time and energy of a stage, if it may be.
    stages: Vec<OfDevice>,
    /// `[from][to]`: time, occupation and energy, if the link is known.
    hops: Vec<Vec<Option<(u64, u64, u64)>>>,
    requester: usize,
    ends_time: u64,
    ends_energy: u64,
}

impl<'a> Brute<'a> {
    fn new(instance: &'a Random) -> Self {
        let devices = &instance.devices;
        let peers: Vec<PeerId> = devices.profiles.keys().copied().collect();
        let layers = instance.model.layers.len();
        let stage = |peer, first, end| (first < end).then(|| stage(instance, peer, first, end))?;
        let ends = |peer: &PeerId| *peer == devices.requester;
        let (ends_time, ends_energy) = ends_cost(instance).unwrap_or((0, 0));
        Self {
            instance,
            stages: peers
                .iter()
                .map(|&peer| {
                    let of = |first| (0..=layers).map(|end| stage(peer, first, end)).collect();
                    (0..=layers).map(of).collect()
                })
                .collect(),
            hops: peers
                .iter()
                .map(|&from| peers.iter().map(|&to| hop(instance, from, to)).collect())
                .collect(),
            requester: peers
                .iter()
                .position(ends)
                .expect("the requester is a device"),
            peers,
            ends_time,
            ends_energy,
        }
    }

    fn requester_takes_part(&self) -> bool {
        let Random {
            model,
            devices,
            options,
        } = self.instance;
        let profile = &devices.profiles[&devices.requester];
        let knows = options.objective != Objective::Energy || profile.energy.is_some();
        let budget = profile.memory_budget_bytes.value;
        knows && ends_cost(self.instance).is_some() && fits(model.ends_bytes(), budget, options)
    }

    fn extend(&self, used: &mut Vec<usize>, done: usize, sums: Sums, found: &mut Found) {
        let layers = self.instance.model.layers.len();
        let at = used.last().copied().unwrap_or(self.requester);
        if done == layers {
            let Some((time, occupied, energy)) = self.hops[at][self.requester] else {
                return;
            };
            let least = &mut found.least[used.len() - 1];
            found.placements += 1;
            let latency = sums.latency + time;
            let pace = (sums.pace.max(occupied), latency);
            let energy = sums.energy + energy;
            least.latency = Some(least.latency.map_or(latency, |best| best.min(latency)));
            least.pace = Some(least.pace.map_or(pace, |best| best.min(pace)));
            least.energy = Some(least.energy.map_or(energy, |best| best.min(energy)));
            return;
        }
        for device in 0..self.peers.len() {
            let Some((hop, occupied, hop_energy)) = self.hops[at][device] else {
                continue;
            };
            if used.contains(&device) {
                continue;
            }
            used.push(device);
            for end in done + 1..=layers {
                let Some((time, energy)) = self.stages[device][done][end] else {
                    continue;
                };
                let own = if device == self.requester {
                    self.ends_time
                } else {
                    0
                };
                let sums = Sums {
                    latency: sums.latency + hop + time,
                    pace: sums.pace.max(occupied).max(time + own),
                    energy: sums.energy + hop_energy + energy,
                };
                self.extend(used, end, sums, found);
            }
            used.pop();
        }
    }
}

fn ceil(amount: u64, per_second: u64) -> u64 {
    let nanoseconds = (u128::from(amount) * 1_000_000_000).div_ceil(u128::from(per_second));
    u64::try_from(nanoseconds).expect("small")
}

fn fits(bytes: u64, budget: u64, options: &PlacementOptions) -> bool {
    bytes * (100 + u64::from(options.headroom_percent)) <= budget * 100
}

/// Time of weights in so many rows, if their formats are known, and bytes.
fn matrices(
    instance: &Random,
    peer: PeerId,
    weights: &[Weights],
    multiply_adds: u64,
) -> Option<(u64, u64)> {
    let profile = &instance.devices.profiles[&peer];
    let rows = u64::from(instance.options.rows_per_step.get());
    let (mut time, mut bytes) = (0, 0);
    for part in weights {
        let rate = profile.decode.get(&part.quantisation)?.value;
        time += ceil(part.bytes, rate.units_per_second());
        bytes += part.bytes;
    }
    if rows > 1 {
        time = match profile.prefill {
            Some(prefill) => {
                let arithmetic = multiply_adds * (rows + u64::from(UNPACKING_ROWS));
                let arithmetic = ceil(arithmetic, prefill.value.units_per_second());
                time.max(arithmetic).min(time * rows)
            }
            None => time * rows,
        };
    }
    Some((time, bytes))
}

fn ends_cost(instance: &Random) -> Option<(u64, u64)> {
    let peer = instance.devices.requester;
    let model = &instance.model;
    let profile = &instance.devices.profiles[&peer];
    let rows = u64::from(instance.options.rows_per_step.get());
    let (head, bytes) = matrices(instance, peer, &model.head, model.head_multiply_adds)?;
    let read = model.embedding_row_bytes * rows;
    let time = head + ceil(read, profile.kv_read.value.units_per_second());
    let energy = profile.energy.map_or(0, |energy| {
        (bytes + read) * energy.value.picojoules_per_byte_read
            + model.head_multiply_adds * rows * energy.value.picojoules_per_multiply_add
    });
    Some((time, energy))
}

fn stage(instance: &Random, peer: PeerId, first: usize, end: usize) -> Option<(u64, u64)> {
    let Random {
        model,
        devices,
        options,
    } = instance;
    let profile = &devices.profiles[&peer];
    let own = peer == devices.requester;
    if !own && profile.unwilling().is_some() {
        return None;
    }
    if options.objective == Objective::Energy && profile.energy.is_none() {
        return None;
    }
    let rows = u64::from(options.rows_per_step.get());
    let mut memory = if own { model.ends_bytes() } else { 0 };
    let mut time = u64::try_from(profile.stage_overhead.value.as_nanos()).expect("small");
    let mut energy = 0;
    for layer in &model.layers[first..end] {
        let (matrices, bytes) = matrices(instance, peer, &layer.weights, layer.multiply_adds)?;
        let kept = layer.most_kv_positions.unwrap_or(u32::MAX);
        memory += bytes + layer.kv_bytes_per_position * u64::from(options.context.min(kept));
        let seen = u64::from(options.positions.min(layer.window.unwrap_or(u32::MAX)));
        let kv = layer.kv_bytes_per_position * seen * rows;
        let reads = rows.div_ceil(u64::from(ROWS_PER_CACHE_READ));
        let read = layer.kv_bytes_per_position * seen * reads;
        time += matrices + ceil(read, profile.kv_read.value.units_per_second());
        energy += profile.energy.map_or(0, |known| {
            (bytes + kv) * known.value.picojoules_per_byte_read
                + layer.multiply_adds * rows * known.value.picojoules_per_multiply_add
        });
    }
    fits(memory, profile.memory_budget_bytes.value, options).then_some((time, energy))
}

fn hop(instance: &Random, from: PeerId, to: PeerId) -> Option<(u64, u64, u64)> {
    if from == to {
        return Some((0, 0, 0));
    }
    let Random {
        model,
        devices,
        options,
    } = instance;
    let back = || devices.links.get(&(to, from));
    let way = devices.links.get(&(from, to)).or_else(back)?;
    let bytes = 32 + 4 * u64::from(model.d_model) * u64::from(options.rows_per_step.get());
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).expect("small");
    let occupied =
        ceil(bytes, way.bandwidth.value.units_per_second()) + nanoseconds(way.overhead.value);
    let energy = |peer: PeerId| devices.profiles[&peer].energy.map(|energy| energy.value);
    let both = energy(from).zip(energy(to));
    let picojoules = both.map_or(0, |(from, to)| {
        bytes * (from.picojoules_per_byte_sent + to.picojoules_per_byte_received)
    });
    Some((
        occupied + nanoseconds(way.round_trip.value / 2),
        occupied,
        picojoules,
    ))
}
