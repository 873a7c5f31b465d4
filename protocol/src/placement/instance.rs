//! The devices to search over and their links, as the search's numbers.

use super::candidate::Selection;
use super::cost::{self, HopTime, MOST_TERM, Step};
use super::devices::Devices;
use super::filter::Promise;
use super::options::{Objective, PlacementOptions};
use super::search::{Fold, Lane, NEVER, Placed, Problem};
use super::shape::ModelShape;
use crate::LayerRange;
use crate::profile::Energy;

/// What all searches of one plan share.
pub(super) struct Costs<'a> {
    pub(super) model: &'a ModelShape,
    pub(super) devices: &'a Devices,
    pub(super) options: &'a PlacementOptions,
    pub(super) selection: &'a Selection,
}

impl Costs<'_> {
    /// What the searched devices' rings cost by the objective.
    pub(super) fn problem(&self, chosen: &[usize]) -> Problem {
        let objective = self.options.objective;
        let lane = |&number: &usize| {
            let device = &self.selection.candidates[number];
            let before = match objective {
                Objective::Latency | Objective::Throughput => &device.time_before,
                Objective::Energy => &device.energy_before,
            };
            Lane {
                fixed: self.fixed(number),
                before: before.clone(),
                earliest: device.earliest.clone(),
            }
        };
        Problem {
            layers: self.model.layers.len(),
            fold: match objective {
                Objective::Latency | Objective::Energy => Fold::Sum,
                Objective::Throughput => Fold::Greatest,
            },
            start: match objective {
                Objective::Latency | Objective::Throughput => self.selection.ends_time,
                Objective::Energy => self.ends_energy(),
            },
            lanes: chosen.iter().map(lane).collect(),
            hops: self.hops(chosen, |from, to| self.hop(from, to)),
        }
    }

    /// What rings cost by latency, of those whose every stage and hop keeps this pace.
    pub(super) fn latency_within(&self, chosen: &[usize], pace: u64) -> Problem {
        let lane = |&number: &usize| {
            let device = &self.selection.candidates[number];
            let occupied = |first: usize, end: usize| {
                device.time_before[end] - device.time_before[first] + self.fixed(number)
            };
            let mut first = 0;
            let slow_from = |(end, &earliest): (usize, &usize)| {
                first = first.max(earliest);
                while first < end && occupied(first, end) > pace {
                    first += 1;
                }
                first
            };
            let earliest = device.earliest.iter().enumerate().map(slow_from).collect();
            Lane {
                fixed: device.overhead,
                before: device.time_before.clone(),
                earliest,
            }
        };
        let hop = |from: usize, to: usize| match self.hop_time(from, to) {
            Some(time) if time.occupied <= pace => time.nanoseconds,
            Some(_) | None => NEVER,
        };
        Problem {
            layers: self.model.layers.len(),
            fold: Fold::Sum,
            start: self.selection.ends_time,
            lanes: chosen.iter().map(lane).collect(),
            hops: self.hops(chosen, hop),
        }
    }

    /// Bytes that stages have to fetch, as far as is known.
    pub(super) fn lacked_bytes(&self, chosen: &[usize], stages: &[Placed]) -> u64 {
        let of_stages = stages.iter().flat_map(|placed| {
            let lacked = self.lacked_by_layer(chosen[placed.device]);
            lacked.skip(placed.first).take(placed.end - placed.first)
        });
        of_stages.fold(0, u64::saturating_add)
    }

    fn lacked_by_layer(&self, number: usize) -> impl Iterator<Item = u64> {
        let peer = self.selection.candidates[number].peer;
        let layers = u32::try_from(self.model.layers.len()).ok();
        let all = layers.and_then(|layers| LayerRange::new(0, layers));
        let all = all.expect("a model has MOST_LAYERS at most");
        let holdings = &self.devices.holdings;
        holdings.lacked_bytes(self.model, peer, all)
    }

    /// Adds to what layers cost where they have to be fetched: `slack` for `bytes` of them.
    pub(super) fn price_fetches(
        &self,
        problem: &mut Problem,
        chosen: &[usize],
        slack: u64,
        bytes: u64,
    ) {
        for (lane, &number) in problem.lanes.iter_mut().zip(chosen) {
            let mut price = 0;
            let lacked = self.lacked_by_layer(number);
            for (before, lacked) in lane.before.iter_mut().skip(1).zip(lacked) {
                let of_layer = u128::from(slack) * u128::from(lacked) / u128::from(bytes.max(1));
                // A device that has to fetch a layer that costs more than the slack is not chosen anyway;
                // the bound keeps sums within what the search can add.
                price += u64::try_from(of_layer).map_or(slack + 1, |of| of.min(slack + 1));
                *before += price;
            }
        }
    }

    /// The problem as if every link were known.
    pub(super) fn with_all_links(&self, chosen: &[usize]) -> Problem {
        let mut problem = self.problem(chosen);
        problem.hops.fill(0);
        problem
    }

    /// What a helper would cost if it alone worked for the requester.
    pub(super) fn promise(&self, number: usize) -> Promise {
        let device = &self.selection.candidates[number];
        let (first, end) = device.longest();
        let before = match self.options.objective {
            Objective::Latency | Objective::Throughput => &device.time_before,
            Objective::Energy => &device.energy_before,
        };
        let stage = before[end] - before[first] + self.fixed(number);
        let there = self.hop(0, number).min(MOST_TERM);
        let back = self.hop(number, 0).min(MOST_TERM);
        Promise {
            cost: match self.options.objective {
                Objective::Latency | Objective::Energy => there + stage + back,
                Objective::Throughput => there.max(stage).max(back),
            },
            layers: end - first,
        }
    }

    /// What any stage of a device costs beyond its layers. As embedding and head occupy the
    /// requester, too, they count towards the pace of its stage.
    fn fixed(&self, number: usize) -> u64 {
        let overhead = self.selection.candidates[number].overhead;
        match self.options.objective {
            Objective::Latency => overhead,
            Objective::Throughput if number == 0 => overhead + self.selection.ends_time,
            Objective::Throughput => overhead,
            Objective::Energy => 0,
        }
    }

    fn hops(&self, chosen: &[usize], hop: impl Fn(usize, usize) -> u64) -> Vec<u64> {
        let rows = chosen.iter();
        rows.flat_map(|&from| chosen.iter().map(move |&to| (from, to)))
            .map(|(from, to)| hop(from, to))
            .collect()
    }

    /// What a hop costs by the objective; [`NEVER`] if the link is unknown.
    fn hop(&self, from: usize, to: usize) -> u64 {
        let Some(time) = self.hop_time(from, to) else {
            return NEVER;
        };
        match self.options.objective {
            Objective::Latency => time.nanoseconds,
            Objective::Throughput => time.occupied,
            Objective::Energy if from == to => 0,
            Objective::Energy => {
                cost::hop_energy(&self.energy(from), &self.energy(to), self.frame_bytes())
            }
        }
    }

    fn hop_time(&self, from: usize, to: usize) -> Option<HopTime> {
        let peer = |number: usize| self.selection.candidates[number].peer;
        cost::hop_time(self.devices, peer(from), peer(to), self.frame_bytes())
    }

    fn frame_bytes(&self) -> u64 {
        cost::frame_bytes(self.model, self.options.rows_per_step.get())
    }

    fn ends_energy(&self) -> u64 {
        cost::ends_energy(&self.energy(0), self.model, Step::from(self.options))
    }

    fn energy(&self, number: usize) -> Energy {
        let energy = self.selection.candidates[number].energy;
        energy.expect("candidates know theirs where energy is the objective")
    }
}
