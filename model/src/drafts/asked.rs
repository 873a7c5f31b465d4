//! A source that computes its guesses, and whether asking it pays.

use super::guesser::Guesser;
use super::rate::Rate;
use super::trips::Trips;

/// How often a guess is right, of any probability, until more is known: this share of so many.
const RATE_AT_FIRST: f32 = 0.6;
pub(super) const COUNT: f32 = 12.0;

/// The gain of asking, in steps with one row or in trips, is averaged over about this many steps.
const GAIN_STEPS: f32 = 12.0;
/// The gain that is assumed at first.
const GAIN_AT_FIRST: f32 = 0.15;
/// When asking does not pay, it is tried again after so many tokens, then after twice as many.
const REST: usize = 64;
const LONGEST_REST: usize = 1024;

/// A source of guesses for one text.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) source: Box<dyn Guesser>,
    /// The share of guesses that are right, of any kind.
    rate: Rate,
    /// What guesses gain if other devices compute the layers.
    pub(super) trips: Trips,
    /// The average gain, in steps with one row or in trips.
    gain: f32,
    /// Do not ask it for this many tokens after `seen`.
    rest: usize,
    seen: usize,
    next_rest: usize,
}

impl Asked {
    pub(super) fn new(source: Box<dyn Guesser>) -> Self {
        Self {
            source,
            rate: Rate::assumed(RATE_AT_FIRST, COUNT),
            trips: Trips::default(),
            gain: GAIN_AT_FIRST,
            rest: 0,
            seen: 0,
            next_rest: REST,
        }
    }

    /// The chance that a guess is right, of any kind.
    pub(super) fn chance(&self) -> f32 {
        self.rate.of_one()
    }

    /// Learns whether a guess was right.
    pub(super) fn heard(&mut self, right: bool) {
        self.rate.heard(right);
    }

    /// Whether it is not asked for a while.
    pub(super) fn rests(&self) -> bool {
        self.rest > 0
    }

    /// Counts the tokens that were known since it was told last as rest. Returns whether the rest ends
    /// with them.
    pub(super) fn went_on(&mut self, known: usize) -> bool {
        let rested = self.rests();
        self.rest = self.rest.saturating_sub(known.saturating_sub(self.seen));
        self.seen = known;
        rested && !self.rests()
    }

    /// Updates whether asking pays by the gain of a step, or of a guess that is sent to other devices.
    /// It is the expected one: what was gained varies far more from step to step, and says no more,
    /// because the chances are measured.
    pub(super) fn gained(&mut self, gain: f32) {
        self.gain += (gain - self.gain) / GAIN_STEPS;
        if self.gain < 0.0 {
            self.give_rest();
        } else if self.gain > GAIN_AT_FIRST {
            self.next_rest = REST;
        }
    }

    /// Does not ask the source for a while. Then it is tried again as if little were known of it.
    pub(super) fn give_rest(&mut self) {
        if self.rest == 0 {
            self.rest = self.next_rest;
            self.next_rest = (2 * self.next_rest).min(LONGEST_REST);
            self.gain = GAIN_AT_FIRST / 2.0;
            self.rate = Rate::assumed(RATE_AT_FIRST, COUNT / 3.0);
        }
    }
}
