//! The exact search: which devices, in which order, with which layers.
//!
//! `cost[S][j][l]` is the least cost of `l` layers done by exactly the devices of `S`, `j` last:
//!
//! ```text
//! cost[S][j][l] = min over k < l where k..l may be j's stage of
//!                 (min over i in S \ {j} of cost[S \ {j}][i][k] ⊕ hop(i, j)) ⊕ stage_j(k..l)
//! ```
//!
//! starting and closing at the requester, where `⊕` is the sum or the greater. Every device has at
//! most one contiguous range, the requester too, at whatever place of the ring: where two helpers'
//! own link is slow or unknown, a requester between them is best. Costs are whole numbers, so the
//! least one is exact; the ring is read back from the table by searching each minimum again.

use std::ops::Range;

/// More devices are never searched: time and memory double with each.
pub const MOST_DEVICES: usize = 8;

/// The cost of what is impossible.
pub(super) const NEVER: u64 = u64::MAX;

/// How costs of stages and hops make the cost of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// Their sum.
    Sum,
    /// The greatest.
    Greatest,
}

impl Fold {
    fn of(self, a: u64, b: u64) -> u64 {
        match self {
            _ if a == NEVER || b == NEVER => NEVER,
            Self::Sum => a + b,
            Self::Greatest => a.max(b),
        }
    }
}

/// What is searched. Device 0 is the requester.
///
/// INVARIANT: any sum of a ring's finite terms is below `i64::MAX`; see [`super::cost::MOST_TERM`].
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) layers: usize,
    pub(super) fold: Fold,
    /// What the requester does whatever the placement.
    pub(super) start: u64,
    /// One a device, at most [`MOST_DEVICES`].
    pub(super) lanes: Vec<Lane>,
    /// From each device to each, row by row; [`NEVER`] where no link is known.
    pub(super) hops: Vec<u64>,
}

/// What stages of one device cost, and which it may have.
#[derive(Debug)]
pub(super) struct Lane {
    /// What a stage costs beyond its layers.
    pub(super) fixed: u64,
    /// `[layers + 1]`, the cost of the layers before each.
    pub(super) before: Vec<u64>,
    /// `[layers + 1]`: a stage that ends before layer `l` may start at `earliest[l]` or later; at
    /// `l`, where there is none. Never falls.
    pub(super) earliest: Vec<usize>,
}

impl Lane {
    fn stage(&self, range: Range<usize>) -> u64 {
        self.before[range.end] - self.before[range.start] + self.fixed
    }
}

impl Problem {
    fn hop(&self, from: usize, to: usize) -> u64 {
        self.hops[from * self.lanes.len() + to]
    }
}

/// Layers `first..end` on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Placed {
    pub(super) device: usize,
    pub(super) first: usize,
    pub(super) end: usize,
}

/// All least costs.
pub(super) struct Table<'a> {
    problem: &'a Problem,
    /// `[subset, last device, layers + 1]`.
    costs: Vec<u64>,
}

impl<'a> Table<'a> {
    /// Searches all subsets of at most so many devices; larger ones have no ring then.
    pub(super) fn new(problem: &'a Problem, most: usize) -> Self {
        let devices = problem.lanes.len();
        assert!(devices <= MOST_DEVICES, "the filter leaves {MOST_DEVICES}");
        let row = problem.layers + 1;
        let mut table = Self {
            problem,
            costs: vec![NEVER; (devices * row) << devices],
        };
        let mut arrivals = vec![NEVER; row];
        let mut window = Vec::with_capacity(row);
        let searched = |subset: &usize| members(*subset).count() <= most;
        for subset in (1..1_usize << devices).filter(searched) {
            for last in members(subset) {
                table.arrive(subset & !(1 << last), last, &mut arrivals);
                let start = table.row(subset, last);
                let costs = &mut table.costs[start..start + row];
                let lane = &problem.lanes[last];
                match problem.fold {
                    Fold::Sum => add_stage(lane, &arrivals, &mut window, costs),
                    Fold::Greatest => widen_stage(lane, &arrivals, costs),
                }
            }
        }
        table
    }

    /// The least cost of a ring over exactly these devices, [`NEVER`] if there is none.
    pub(super) fn closed(&self, subset: usize) -> u64 {
        let rings = members(subset).map(|last| self.closed_by(subset, last));
        rings.min().unwrap_or(NEVER)
    }

    /// The stages of the best ring over exactly these devices; `None` if there is none. Of equals,
    /// the one whose last device, then whose last cut comes first.
    pub(super) fn ring(&self, subset: usize) -> Option<Vec<Placed>> {
        let cost = self.closed(subset);
        if cost == NEVER {
            return None;
        }
        let mut stages = Vec::with_capacity(MOST_DEVICES);
        let mut last = members(subset).find(|&last| self.closed_by(subset, last) == cost)?;
        let (mut rest, mut end) = (subset, self.problem.layers);
        let mut arrivals = vec![NEVER; self.problem.layers + 1];
        loop {
            let cost = self.cost(rest, last, end);
            rest &= !(1 << last);
            self.arrive(rest, last, &mut arrivals);
            let lane = &self.problem.lanes[last];
            let fold = self.problem.fold;
            let first = (lane.earliest[end]..end)
                .find(|&first| fold.of(arrivals[first], lane.stage(first..end)) == cost)?;
            stages.push(Placed {
                device: last,
                first,
                end,
            });
            if rest == 0 {
                stages.reverse();
                return Some(stages);
            }
            let to = last;
            last = members(rest).find(|&from| {
                let arrived = self.cost(rest, from, first);
                fold.of(arrived, self.problem.hop(from, to)) == arrivals[first]
            })?;
            end = first;
        }
    }

    fn closed_by(&self, subset: usize, last: usize) -> u64 {
        let done = self.cost(subset, last, self.problem.layers);
        self.problem.fold.of(done, self.problem.hop(last, 0))
    }

    /// The least cost of having hidden states at `to` after each number of layers, which the
    /// devices of `rest` have done.
    fn arrive(&self, rest: usize, to: usize, arrivals: &mut [u64]) {
        let fold = self.problem.fold;
        arrivals.fill(NEVER);
        if rest == 0 {
            arrivals[0] = fold.of(self.problem.start, self.problem.hop(0, to));
        }
        for from in members(rest) {
            let hop = self.problem.hop(from, to);
            let start = self.row(rest, from);
            let costs = &self.costs[start..start + arrivals.len()];
            for (arrival, &cost) in arrivals.iter_mut().zip(costs) {
                *arrival = fold.of(cost, hop).min(*arrival);
            }
        }
    }

    fn cost(&self, subset: usize, last: usize, layers: usize) -> u64 {
        self.costs[self.row(subset, last) + layers]
    }

    fn row(&self, subset: usize, last: usize) -> usize {
        (subset * self.problem.lanes.len() + last) * (self.problem.layers + 1)
    }
}

/// The devices of a subset, ascending.
pub(super) fn members(subset: usize) -> impl Iterator<Item = usize> {
    (0..MOST_DEVICES).filter(move |device| subset & (1 << device) != 0)
}

/// `costs[l] = min over first in earliest[l]..l of arrivals[first] + stage(first..l)`.
///
/// As `earliest` never falls, this is the minimum of a sliding window over
/// `arrivals[first] - before[first]`: `window` holds the candidates that no later one beats.
fn add_stage(lane: &Lane, arrivals: &[u64], window: &mut Vec<(usize, i64)>, costs: &mut [u64]) {
    let signed = |cost: u64| i64::try_from(cost).expect("see Problem's invariant");
    window.clear();
    let mut front = 0;
    for (end, cost) in costs.iter_mut().enumerate().skip(1) {
        let first = end - 1;
        if arrivals[first] != NEVER {
            let key = signed(arrivals[first]) - signed(lane.before[first]);
            while window.len() > front && window.last().is_some_and(|&(_, last)| last > key) {
                window.pop();
            }
            window.push((first, key));
        }
        while window
            .get(front)
            .is_some_and(|&(first, _)| first < lane.earliest[end])
        {
            front += 1;
        }
        *cost = match window.get(front) {
            Some(&(first, _)) => arrivals[first] + lane.stage(first..end),
            None => NEVER,
        };
    }
}

/// `costs[l] = min over first in earliest[l]..l of max(arrivals[first], stage(first..l))`.
///
/// From short stages to long ones, whose own cost grows: once that alone is no less than the best,
/// no longer one helps.
fn widen_stage(lane: &Lane, arrivals: &[u64], costs: &mut [u64]) {
    for (end, cost) in costs.iter_mut().enumerate().skip(1) {
        let mut least = NEVER;
        for first in (lane.earliest[end]..end).rev() {
            let stage = lane.stage(first..end);
            if stage >= least {
                break;
            }
            least = least.min(arrivals[first].max(stage));
        }
        *cost = least;
    }
}
