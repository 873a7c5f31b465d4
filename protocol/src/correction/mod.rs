//! Corrections of a profile: real steps correct the rates that a device measured once.
//!
//! A device is measured in seconds, once, perhaps in a busy minute. From then on, each step that it computes
//! for itself or for others reports the time that it really took. [`Correction`] keeps a factor for each
//! rate, *time measured over time claimed*, and [`Correction::corrected`] is the profile that plans use and
//! peers get.
//!
//! # How a factor is found
//! Steps are classified by the rate that bounds most of their claimed time ([`RateKind`]): reading weights of
//! a format, reading the KV cache, or prefill arithmetic.
//!
//! | rule | value | why |
//! |---|---|---|
//! | steps of one row, or of at least [`LEAST_ROWS`], count | | between them the cost model is rough |
//! | the median of a window of steps counts, never a single step | [`WINDOW`], of prefill [`PREFILL_WINDOW`] | one slow step on a busy machine is noise |
//! | a first step through weights counts if it took less than claimed | | it may read them from a disk |
//! | share of the difference that a median corrects | all of it the first time, then 1/2, 1/3, at least [`LEAST_SHARE`] | fast at first, steady later, and still able to follow |
//! | which rates it corrects | those with at least [`MAJOR`] of the claimed time, in proportion to it | a sum says nothing about its small terms |
//! | rates that have bounded no step yet | follow the others | a disturbance affects the whole measurement |
//! | bounds of a median, once there were others | 1/4 to 4 times what is claimed | a busy second is not another device |
//! | bounds of a factor | 1/[`MOST`] to [`MOST`] | errors stay bounded |
//!
//! Only `+ − × ÷` and comparisons are used, so the same steps give the same factors on every machine.
//! Factors have no influence on tokens.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::placement::{ComputedRows, ModelShape, claim};
use crate::profile::{Profile, Rate, RateKind};

/// Steps of fewer rows, but for those of one, do not count.
pub const LEAST_ROWS: u32 = 16;
/// The median of so many steps counts.
pub const WINDOW: usize = 7;
/// Of prefill steps, which are few and long, so many are enough.
pub const PREFILL_WINDOW: usize = 3;
/// A median corrects at least this share of the difference.
pub const LEAST_SHARE: f64 = 0.25;
/// Terms of a smaller share of a step's claimed time are not corrected by it.
pub const MAJOR: f64 = 0.125;
/// The greatest factor; its inverse is the least.
pub const MOST: f64 = 32.0;
/// The most that one median counts as, once there were others.
const MOST_AT_ONCE: f64 = 4.0;

/// Rows that were computed, and how long that took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedRows {
    /// The model.
    pub model: Arc<ModelShape>,
    /// Which rows went through which part of it.
    pub computed: ComputedRows,
    /// How long that took, without the overhead of a stage.
    pub took: Duration,
    /// Whether nothing was computed with these weights before, so that some may have come from a disk.
    pub first: bool,
}

/// A factor, and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Time measured over time claimed.
    pub factor: f64,
    /// Medians that it was found from.
    pub medians: u32,
}

/// What real steps say of a device's measured rates; see the module's page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Correction {
    /// For rates that nothing is known of.
    common: Found,
    own: BTreeMap<RateKind, Found>,
    /// Steps that were counted.
    steps: u64,
    /// By the rate that bounds them; fewer than their window has.
    waiting: BTreeMap<RateKind, Vec<Sample>>,
}

/// What one step says.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    /// Claimed nanoseconds, without any correction.
    terms: BTreeMap<RateKind, u64>,
    took: f64,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            factor: 1.0,
            medians: 0,
        }
    }
}

impl Found {
    fn is_sound(&self) -> bool {
        (1.0 / MOST..=MOST).contains(&self.factor)
    }

    /// The share of a difference that the next median corrects.
    fn share(&self) -> f64 {
        (1.0 / (f64::from(self.medians) + 1.0)).max(LEAST_SHARE)
    }

    fn set(&mut self, factor: f64) {
        self.factor = factor.clamp(1.0 / MOST, MOST);
        self.medians = self.medians.saturating_add(1);
    }
}

impl Correction {
    /// What was found before, as [`common`](Self::common), [`own`](Self::own) and
    /// [`steps`](Self::steps) told it; `None` if a factor is out of bounds.
    pub fn from_parts(common: Found, own: BTreeMap<RateKind, Found>, steps: u64) -> Option<Self> {
        let sound = own.values().chain([&common]).all(Found::is_sound);
        sound.then(|| Self {
            common,
            own,
            steps,
            waiting: BTreeMap::new(),
        })
    }

    /// The factor of rates without one of their own.
    pub fn common(&self) -> Found {
        self.common
    }

    /// The factors of rates that bound steps.
    pub fn own(&self) -> &BTreeMap<RateKind, Found> {
        &self.own
    }

    /// How many steps it rests on; 0 if nothing is corrected.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The profile that was measured, with its rates corrected.
    pub fn corrected(&self, measured: &Profile) -> Profile {
        let mut profile = measured.clone();
        for (format, rate) in &mut profile.decode {
            rate.value = self.corrected_rate(RateKind::Decode(*format), rate.value);
        }
        let kv_read = &mut profile.kv_read.value;
        *kv_read = self.corrected_rate(RateKind::KvRead, *kv_read);
        if let Some(rate) = &mut profile.prefill {
            rate.value = self.corrected_rate(RateKind::Prefill, rate.value);
        }
        profile
    }

    /// A step was computed by the device that measured this profile, uncorrected; whether that corrected
    /// something.
    pub fn add(&mut self, measured: &Profile, step: &TimedRows) -> bool {
        let Some(kind) = self.keep(measured, step) else {
            return false;
        };
        let window = match kind {
            RateKind::Prefill => PREFILL_WINDOW,
            RateKind::Decode(_) | RateKind::KvRead => WINDOW,
        };
        let full = self.waiting.get(&kind).is_some_and(|w| w.len() >= window);
        full && self.correct(kind)
    }

    /// No more steps come for now: those that wait count, if they are enough to have a median that one
    /// of them does not make. Whether that corrected something.
    pub fn finish(&mut self) -> bool {
        let kinds: Vec<_> = self.waiting.keys().copied().collect();
        let mut any = false;
        for kind in kinds {
            if self.waiting[&kind].len() >= PREFILL_WINDOW {
                any |= self.correct(kind);
            }
        }
        self.waiting.clear();
        any
    }

    fn factor(&self, kind: RateKind) -> f64 {
        self.own.get(&kind).unwrap_or(&self.common).factor
    }

    fn corrected_rate(&self, kind: RateKind, rate: Rate) -> Rate {
        let units = rate.units_per_second() as f64 / self.factor(kind);
        // A number beyond the integers is the largest of them.
        Rate::per_second(units as u64).unwrap_or(rate)
    }

    /// Keeps what a step says, under the rate that bounds it; `None` if it says nothing.
    fn keep(&mut self, measured: &Profile, step: &TimedRows) -> Option<RateKind> {
        let rows = step.computed.rows;
        if rows != 1 && rows < LEAST_ROWS {
            return None;
        }
        // Which term bounds a step of several rows depends on the corrected rates.
        let corrected = self.corrected(measured);
        let terms: BTreeMap<_, _> = claim(&corrected, &step.model, &step.computed)?;
        let (&kind, _) = terms.iter().max_by_key(|(_, time)| **time)?;
        let claimed: f64 = terms.values().map(|&time| time as f64).sum();
        let took = step.took.as_nanos() as f64;
        if took <= 0.0 || (step.first && took > claimed) {
            return None;
        }
        let sample = Sample {
            terms: uncorrected(terms, |kind| self.factor(kind)),
            took,
        };
        self.waiting.entry(kind).or_default().push(sample);
        Some(kind)
    }

    /// Corrects by the median of the steps of a kind that wait.
    fn correct(&mut self, kind: RateKind) -> bool {
        let Some(mut samples) = self.waiting.remove(&kind) else {
            return false;
        };
        self.steps = self.steps.saturating_add(samples.len() as u64);
        samples.sort_by(|a, b| self.ratio(a).total_cmp(&self.ratio(b)));
        let Some(median) = samples.get(samples.len() / 2) else {
            return false;
        };
        let of_kind = self.own.get(&kind).copied().unwrap_or_default();
        let most = if of_kind.medians == 0 {
            MOST
        } else {
            MOST_AT_ONCE
        };
        let ratio = self.ratio(median).clamp(1.0 / most, most);
        let claimed = self.claimed(median);
        let shares = median.terms.iter().map(|(&kind, &time)| {
            let share = time as f64 * self.factor(kind) / claimed;
            (kind, share)
        });
        let shares: Vec<_> = shares.filter(|(_, share)| *share >= MAJOR).collect();
        let known = shares.iter().any(|(kind, _)| self.own.contains_key(kind));
        let squares: f64 = shares.iter().map(|(_, share)| share * share).sum();
        for (major, share) in shares {
            // So that the sum of terms changes as it should, if not by much; alike, where nothing
            // tells them apart yet.
            let of_it = if known { share / squares } else { 1.0 };
            let times = part_of(ratio, of_kind.share() * of_it);
            let start = Found {
                factor: self.common.factor,
                medians: 0,
            };
            let own = self.own.entry(major).or_insert(start);
            own.set(own.factor * times);
        }
        let found = self.factor(kind);
        let difference = found - self.common.factor;
        self.common
            .set(self.common.factor + self.common.share() * difference);
        true
    }

    /// Time measured over time claimed now.
    fn ratio(&self, sample: &Sample) -> f64 {
        sample.took / self.claimed(sample)
    }

    /// Nanoseconds that are claimed for a step now.
    fn claimed(&self, sample: &Sample) -> f64 {
        let terms = sample.terms.iter();
        terms
            .map(|(&kind, &time)| time as f64 * self.factor(kind))
            .sum()
    }
}

/// A part of a ratio, 1 for 0 and the whole for 1: as quick downwards as upwards.
fn part_of(ratio: f64, part: f64) -> f64 {
    if ratio >= 1.0 {
        1.0 + part * (ratio - 1.0)
    } else {
        1.0 / (1.0 + part * (1.0 / ratio - 1.0))
    }
}

/// Terms without the factors that they were made with.
fn uncorrected(
    mut terms: BTreeMap<RateKind, u64>,
    factor: impl Fn(RateKind) -> f64,
) -> BTreeMap<RateKind, u64> {
    for (&kind, time) in &mut terms {
        *time = ((*time as f64 / factor(kind)) as u64).max(1);
    }
    terms
}
