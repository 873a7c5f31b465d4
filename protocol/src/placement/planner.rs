//! The planner: from devices and a model to a plan.

use super::candidate::{Selection, no_layer, without_headroom};
use super::cost::{self, Step};
use super::devices::{Devices, Unused, UnusedReason};
use super::error::{AloneError, PlacementError};
use super::filter::{self, Rank};
use super::instance::Costs;
use super::options::{Objective, PlacementOptions};
use super::prediction::{Prediction, predict};
use super::search::{MOST_DEVICES, NEVER, Placed, Problem, Table, members};
use super::shape::{MOST_LAYERS, ModelShape};
use super::stage::Stage;
use crate::LayerRange;

/// The subset of the requester alone.
const ALONE: usize = 1;

/// A placement that costs up to one part in so many more than the best is taken if it fetches less.
const NEARLY: u64 = 100;

/// Where each layer should run, and what else could be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The best placement, or one nearly as good that has less to fetch. Staying alone is one; it is
    /// taken where nothing is better.
    pub best: Prediction,
    /// The requester with all layers.
    pub alone: Result<Prediction, AloneError>,
    /// The best placement, whatever it fetches, whose layers are on exactly one device, two, …; `None`
    /// where there is none. The one device may be a helper, with embedding and head at the requester.
    pub by_devices: Vec<Option<Prediction>>,
    /// Every device without layers in `best`, and why, by their ids.
    pub unused: Vec<Unused>,
}

/// Finds the best placement of all layers on devices with room.
///
/// Of placements that are equally good by the objective, and for throughput in a step's time, it is
/// one on the fewest devices. One that costs up to a hundredth more is taken if it has less weights to
/// fetch, as the [module's page](super) says. The plan is a pure function of the arguments. With up to
/// [`MOST_DEVICES`] usable devices no better one exists; with more it is the best over those that
/// promise most, which always include the requester.
///
/// # Errors
/// The requester cannot take part, or no placement has room; see [`PlacementError`].
pub fn plan(
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
) -> Result<Plan, PlacementError> {
    let layers = model.layers.len();
    if layers == 0 || layers > MOST_LAYERS {
        return Err(PlacementError::LayerCount { layers });
    }
    let mut selection = Selection::new(model, devices, options)?;
    selection.drop_unreachable(devices);
    let costs = Costs {
        model,
        devices,
        options,
        selection: &selection,
    };
    let (chosen, left) = choose(&costs, Rank::Promise);
    if let Some(plan) = Search::new(&costs, &chosen, &left).plan() {
        return Ok(plan);
    }
    if !left.is_empty() {
        let (chosen, left) = choose(&costs, Rank::Room);
        if let Some(plan) = Search::new(&costs, &chosen, &left).plan() {
            return Ok(plan);
        }
    }
    Err(why_none(model, devices, options)?)
}

fn choose(costs: &Costs<'_>, rank: Rank) -> (Vec<usize>, Vec<usize>) {
    let promise = |number| costs.promise(number);
    filter::split(costs.selection.candidates.len(), rank, promise)
}

/// One search and its answers.
struct Search<'a> {
    costs: &'a Costs<'a>,
    chosen: &'a [usize],
    left: &'a [usize],
    problem: Problem,
}

/// A ring and what it costs, for comparison: by the objective, then by latency where the objective
/// leaves a choice, then by its devices.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ring {
    cost: u64,
    latency: u64,
    devices: usize,
    subset: usize,
    stages: Vec<Placed>,
}

impl<'a> Search<'a> {
    fn new(costs: &'a Costs<'a>, chosen: &'a [usize], left: &'a [usize]) -> Self {
        Self {
            costs,
            chosen,
            left,
            problem: costs.problem(chosen),
        }
    }

    fn plan(&self) -> Option<Plan> {
        let table = Table::new(&self.problem, MOST_DEVICES);
        let closed: Vec<u64> = (0..1 << self.chosen.len())
            .map(|subset| table.closed(subset))
            .collect();
        let rings: Vec<Option<Ring>> = (1..=self.chosen.len())
            .map(|devices| self.best_over(&table, &closed, devices))
            .collect();
        let best = rings.iter().flatten().min()?;
        let fetches_less = self.fetching_less(best);
        let best = fetches_less.as_ref().unwrap_or(best);
        let placed = self.predicted(&best.stages);
        let by_devices = rings.iter().map(|ring| {
            let ring = ring.as_ref()?;
            Some(self.predicted(&ring.stages))
        });
        Some(Plan {
            alone: self.alone(&table),
            by_devices: by_devices.collect(),
            unused: self.unused(&closed, best),
            best: placed,
        })
    }

    /// The best ring over exactly so many devices.
    fn best_over(&self, table: &Table<'_>, closed: &[u64], devices: usize) -> Option<Ring> {
        let subsets = || (1..closed.len()).filter(|subset| members(*subset).count() == devices);
        let cost = subsets().map(|subset| closed[subset]).min()?;
        if cost == NEVER {
            return None;
        }
        let ring = |table: &Table<'_>, latency: u64, subset: usize| {
            Some(Ring {
                cost,
                latency,
                devices,
                subset,
                stages: table.ring(subset)?,
            })
        };
        if self.costs.options.objective != Objective::Throughput {
            let subset = subsets().find(|&subset| closed[subset] == cost)?;
            return ring(table, 0, subset);
        }
        // Many rings have the same slowest part. Those are all that keep its pace, and the search
        // by latency over them alone is exact again.
        let problem = self.costs.latency_within(self.chosen, cost);
        let table = Table::new(&problem, devices);
        let (latency, subset) = subsets()
            .map(|subset| (table.closed(subset), subset))
            .min()?;
        ring(&table, latency, subset)
    }

    /// A ring that is nearly as good as the best and fetches less, if there is one.
    ///
    /// By the price of its fetches the best placement itself costs at most a hundredth more. So the cheapest
    /// one by that price costs at most a hundredth more, and fetches no more.
    fn fetching_less(&self, best: &Ring) -> Option<Ring> {
        let costs = self.costs;
        let bytes = costs.lacked_bytes(self.chosen, &best.stages);
        // As long as the requester's own store has not said, staying alone would seem to fetch all.
        if bytes == 0 || !costs.devices.holdings.contains(costs.devices.requester) {
            return None;
        }
        let objective = costs.options.objective;
        let (mut problem, cost) = if objective == Objective::Throughput {
            let within = costs.latency_within(self.chosen, best.cost);
            (within, best.latency)
        } else {
            (costs.problem(self.chosen), best.cost)
        };
        costs.price_fetches(&mut problem, self.chosen, cost / NEARLY, bytes);
        let table = Table::new(&problem, MOST_DEVICES);
        let subsets = 1..1_usize << self.chosen.len();
        let least = subsets.map(|subset| (table.closed(subset), members(subset).count(), subset));
        let (_, devices, subset) = least.min()?;
        let stages = table.ring(subset)?;
        if costs.lacked_bytes(self.chosen, &stages) >= bytes {
            return None;
        }
        let cost = self.predicted(&stages).cost(objective)?;
        Some(Ring {
            cost: u64::try_from(cost).ok()?,
            latency: best.latency,
            devices,
            subset,
            stages,
        })
    }

    fn alone(&self, table: &Table<'_>) -> Result<Prediction, AloneError> {
        if let Some(stages) = table.ring(ALONE) {
            return Ok(self.predicted(&stages));
        }
        let (offers_bytes, needs_bytes) = self.costs.offered_and_needed(&[0]);
        if needs_bytes > offers_bytes {
            return Err(AloneError::TooLarge {
                offers_bytes,
                needs_bytes,
            });
        }
        Err(AloneError::Unmeasured)
    }

    fn predicted(&self, stages: &[Placed]) -> Prediction {
        let Costs {
            model,
            devices,
            options,
            selection,
        } = *self.costs;
        let layer = |index| u32::try_from(index).expect("a model has MOST_LAYERS at most");
        let stages: Vec<Stage> = stages
            .iter()
            .map(|placed| Stage {
                peer: selection.candidates[self.chosen[placed.device]].peer,
                layers: LayerRange::new(layer(placed.first), layer(placed.end))
                    .expect("stages go forwards"),
            })
            .collect();
        predict(model, devices, options, &stages).expect("the search keeps to what is measured")
    }

    fn unused(&self, closed: &[u64], best: &Ring) -> Vec<Unused> {
        let candidates = &self.costs.selection.candidates;
        let mut unused = self.costs.selection.unused.clone();
        unused.extend(self.left.iter().map(|&number| Unused {
            peer: candidates[number].peer,
            reason: UnusedReason::FilteredOut,
        }));
        for (device, &number) in self.chosen.iter().enumerate() {
            if best.stages.iter().any(|placed| placed.device == device) {
                continue;
            }
            let with = members_of_all(closed.len(), device).map(|subset| closed[subset]);
            unused.push(Unused {
                peer: candidates[number].peer,
                reason: self.why_unused(number, with.min().unwrap_or(NEVER), best.cost),
            });
        }
        unused.sort_by_key(|unused| unused.peer);
        unused
    }

    fn why_unused(&self, number: usize, with: u64, best: u64) -> UnusedReason {
        let Costs {
            model,
            devices,
            options,
            selection,
        } = *self.costs;
        let candidate = &selection.candidates[number];
        let profile = devices.profiles.get(&candidate.peer);
        let no_layer = profile.and_then(|profile| no_layer(candidate, profile, model, options));
        if let Some(reason) = no_layer {
            return reason;
        }
        if with == NEVER {
            return UnusedReason::NoPlacement;
        }
        if with < best {
            return UnusedReason::MoreToFetch;
        }
        let more = u128::from(with - best) * 1_000;
        let permille = u64::try_from(more.div_ceil(u128::from(best.max(1)))).unwrap_or(u64::MAX);
        match options.objective {
            _ if permille == 0 => UnusedReason::NoGain,
            Objective::Latency | Objective::Throughput => UnusedReason::Slower { permille },
            Objective::Energy => UnusedReason::MoreEnergy { permille },
        }
    }
}

/// The subsets that hold a device.
fn members_of_all(subsets: usize, device: usize) -> impl Iterator<Item = usize> {
    (1..subsets).filter(move |subset| subset & (1 << device) != 0)
}

impl Costs<'_> {
    /// The budgets of candidates together, and what the model needs with headroom.
    fn offered_and_needed(&self, numbers: &[usize]) -> (u64, u64) {
        let budgets = numbers.iter().map(|&number| {
            let profile = self
                .devices
                .profiles
                .get(&self.selection.candidates[number].peer);
            profile.map_or(0, |profile| profile.memory_budget_bytes.value)
        });
        let needed = self.model.bytes_with_context(self.options.context);
        (
            budgets.fold(0, u64::saturating_add),
            cost::with_headroom(needed, self.options.headroom_percent),
        )
    }
}

/// Why there is no placement, though the requester could take part.
fn why_none(
    model: &ModelShape,
    devices: &Devices,
    options: &PlacementOptions,
) -> Result<PlacementError, PlacementError> {
    let selection = Selection::new(model, devices, options)?;
    let costs = Costs {
        model,
        devices,
        options,
        selection: &selection,
    };
    let profiles = || {
        let peers = selection.candidates.iter().map(|device| device.peer);
        peers.filter_map(|peer| devices.profiles.get(&peer))
    };
    let step = Step::from(options);
    for (layer, shape) in (0..).zip(&model.layers) {
        if profiles().all(|profile| cost::layer_time(profile, shape, step).is_none()) {
            return Ok(PlacementError::LayerUnmeasured { layer });
        }
    }
    let all: Vec<usize> = (0..selection.candidates.len()).collect();
    let (offers_bytes, needs_bytes) = costs.offered_and_needed(&all);
    let count = all.len();
    let unavailable = selection.unused.len();
    let usable = without_headroom(offers_bytes, options.headroom_percent);
    if usable < model.bytes_with_context(options.context) {
        return Ok(PlacementError::TooLarge {
            devices: count,
            offers_bytes,
            needs_bytes,
            unavailable,
        });
    }
    let (chosen, _) = choose(&costs, Rank::Room);
    let problem = costs.with_all_links(&chosen);
    let table = Table::new(&problem, MOST_DEVICES);
    if (1..1 << chosen.len()).any(|subset| table.closed(subset) != NEVER) {
        return Ok(PlacementError::LinksUnknown { devices: count });
    }
    Ok(PlacementError::WholeLayersDoNotFit {
        devices: count,
        offers_bytes,
        needs_bytes,
        unavailable,
    })
}
