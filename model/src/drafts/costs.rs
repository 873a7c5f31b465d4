//! What a step of several rows costs, measured, and how many guesses pay at that cost.
//!
//! Guessed rows share a step with rows that are wanted anyway. If the chance that a guess is used is
//! `p`, a step of `n` wanted rows with guesses gives `n + Σ p` tokens in the time of all its rows.
//! The number of guesses that gives the most tokens a second is chosen. It depends on time
//! measurements; the tokens of an answer do not.

use std::time::Duration;

use super::average::{Average, FIRST};

/// The most rows of a step whose time is recorded.
const MOST_ROWS: usize = 64;
/// Time that an unmeasured row is assumed to add, as a share of a step with one row. It is low, so
/// that a few rows are tried, and then measured.
const ASSUMED: f64 = 0.2;
/// Guesses must promise to make the step at least this many times as good.
const WORTH: f64 = 1.02;
/// What is assumed counts as so many measurements at first, and as none after `TRUSTED` of them.
const DOUBT: f64 = 3.0;
const TRUSTED: u32 = 16;
/// How much of a change of one step's time is assumed of the steps with other numbers of rows:
/// times grow with the context and with heat.
const DRIFT: f64 = 1.0 / 16.0;
/// After so many steps in a row of one kind (with guesses, or without promising ones), one of the
/// other kind is measured again. The latter number doubles each time, up to `RARELY`.
const AGAIN: u32 = 64;
const RARELY: u32 = 1024;

/// Times of steps, by their number of rows.
#[derive(Debug, Clone)]
pub struct StepCosts {
    /// Entry `n` is of `n + 1` rows.
    steps: Vec<Average>,
    /// Seconds of a computed guess.
    guess: Average,
    /// Steps in a row with guesses.
    guessed: u32,
    /// Steps in a row with promising guesses that were not worth their measured cost, and the number
    /// of them after which one is tried.
    refused: u32,
    patience: u32,
}

impl Default for StepCosts {
    fn default() -> Self {
        Self {
            steps: vec![Average::default(); MOST_ROWS],
            guess: Average::default(),
            guessed: 0,
            refused: 0,
            patience: AGAIN,
        }
    }
}

/// A step that guesses may join.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// Its rows so far.
    pub rows: usize,
    /// The tokens that it is expected to give.
    pub tokens: f64,
}

impl Planned {
    /// A step with one row for each of `answers`.
    pub fn of(answers: usize) -> Self {
        Self {
            rows: answers,
            tokens: answers as f64,
        }
    }
}

impl StepCosts {
    /// Records the time of a step. Steps with parts of prompts do not belong here.
    pub fn took(&mut self, rows: usize, time: Duration) {
        let seconds = time.as_secs_f64();
        let Some(at) = rows.checked_sub(1).filter(|&at| at < MOST_ROWS) else {
            return;
        };
        let before = self.steps[at];
        self.steps[at].add(time);
        if before.count >= FIRST && before.mean > 0.0 {
            let change = (seconds / before.mean).clamp(0.8, 1.25) - 1.0;
            for (other, step) in self.steps.iter_mut().enumerate() {
                if other != at {
                    step.mean *= 1.0 + DRIFT * change;
                }
            }
        }
    }

    /// Records the time of a computed guess.
    pub(super) fn guessed(&mut self, time: Duration) {
        self.guess.add(time);
    }

    /// Seconds of a step with so many rows; estimated from steps with fewer or more rows if none was
    /// measured. Relative to a step with one row as long as none was measured at all.
    pub fn seconds(&self, rows: usize) -> f64 {
        let at = rows.clamp(1, MOST_ROWS) - 1;
        let measured = |at: &usize| self.steps[*at].count > 0;
        let nearest = (0..=at).rev().find(measured);
        match nearest.or_else(|| (at..MOST_ROWS).find(measured)) {
            Some(near) => self.trusted(near) * assumed(at) / assumed(near),
            None => assumed(at),
        }
    }

    /// The measured seconds of steps with `at + 1` rows; as long as there are few of them, together
    /// with what is assumed: a single one on a busy system says little.
    fn trusted(&self, at: usize) -> f64 {
        let Average { mean, count } = self.steps[at];
        let one = self.steps[0];
        if at == 0 || one.count == 0 || count >= TRUSTED {
            return mean;
        }
        let doubt = DOUBT * (1.0 - f64::from(count) / f64::from(TRUSTED));
        let count = f64::from(count);
        (count * mean + doubt * one.mean * assumed(at)) / (count + doubt)
    }

    /// Forgets the time of computed guesses: it is measured again.
    pub(super) fn forget_guesses(&mut self) {
        self.guess = Average::default();
    }

    /// Seconds of a computed guess. As long as there are few measurements, which may include page
    /// faults, it is at most what is assumed: this share of a step with one row.
    fn guess_seconds(&self, share: f64) -> f64 {
        let assumed = share * self.seconds(1);
        match self.guess.count {
            0 => assumed,
            1..FIRST => self.guess.mean.min(assumed),
            _ => self.guess.mean,
        }
    }

    /// How many of a chain of guesses to add to a step, given the chance that each is used (that it
    /// and all before it are right).
    pub(super) fn worth(&mut self, planned: Planned, chances: &[f64]) -> usize {
        let seconds = |rows| self.seconds(rows);
        let best = best(planned, chances, &seconds);
        if best > 0 {
            self.refused = 0;
            self.guessed += 1;
            if self.guessed > AGAIN {
                self.guessed = 0;
                return 0;
            }
            self.patience = AGAIN;
            return best;
        }
        self.guessed = 0;
        let one = self.seconds(planned.rows);
        let hoped = |rows: usize| one * (1.0 + ASSUMED * (rows - planned.rows) as f64);
        let hoped = self::best(planned, chances, &hoped);
        if hoped > 0 {
            self.refused += 1;
            if self.refused >= self.patience {
                self.refused = 0;
                self.patience = (2 * self.patience).min(RARELY);
                return hoped;
            }
        }
        0
    }

    /// Whether a chain of guesses could be worth computing one more, if each is right with this
    /// chance. `chances` are those of the chain so far; `share` is what one is assumed to cost, as a
    /// share of a step with one row.
    pub(super) fn may_pay(&self, planned: Planned, chances: &[f64], each: f64, share: f64) -> bool {
        let guess = self.guess_seconds(share);
        let time = |rows: usize, asked: usize| self.seconds(rows) + asked as f64 * guess;
        let mut tokens = planned.tokens;
        let mut most = tokens / time(planned.rows, 0);
        for (at, chance) in chances.iter().enumerate() {
            tokens += chance;
            most = f64::max(most, tokens / time(planned.rows + at + 1, 0));
        }
        let mut chance = chances.last().copied().unwrap_or(1.0);
        (1..=super::MOST_GUESSES.saturating_sub(chances.len())).any(|more| {
            chance *= each;
            tokens += chance;
            tokens / time(planned.rows + chances.len() + more, more) > most
        })
    }
}

/// What a step of `at + 1` rows is assumed to cost, relative to one row.
fn assumed(at: usize) -> f64 {
    1.0 + ASSUMED * at as f64
}

/// The number of guesses with the most tokens a second.
fn best(planned: Planned, chances: &[f64], seconds: &dyn Fn(usize) -> f64) -> usize {
    let Planned { rows, mut tokens } = planned;
    let mut most = WORTH * tokens / seconds(rows);
    let mut count = 0;
    for (at, chance) in chances.iter().enumerate() {
        tokens += chance;
        let rate = tokens / seconds(rows + at + 1);
        if rate > most {
            (most, count) = (rate, at + 1);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(times: &[(usize, u64)]) -> StepCosts {
        let mut costs = StepCosts::default();
        for &(rows, millis) in times {
            for _ in 0..TRUSTED {
                costs.steps[rows - 1].add(Duration::from_millis(millis));
            }
        }
        costs
    }

    #[test]
    fn guesses_are_added_while_they_pay_at_the_measured_cost() {
        let chances = [0.9, 0.8, 0.7, 0.5, 0.1];
        let one = Planned::of(1);
        // A step of any rows takes as long: all help.
        let mut free = measured(&[(1, 10), (2, 10), (3, 10), (4, 10), (5, 10), (6, 10)]);
        assert_eq!(free.worth(one, &chances), 5);
        // Each row takes as long as a step: none helps.
        let mut dear = measured(&[(1, 10), (2, 20), (3, 30), (4, 40), (5, 50), (6, 60)]);
        assert_eq!(dear.worth(one, &chances), 0);
        // The second row is dear, the next ones are not.
        let mut mixed = measured(&[(1, 10), (2, 19), (3, 20), (4, 21), (5, 22), (6, 30)]);
        assert_eq!(mixed.worth(one, &chances), 4);
        assert_eq!(mixed.worth(one, &[0.9]), 0);
        // Unlikely ones never help.
        assert_eq!(mixed.worth(one, &[0.05, 0.01]), 0);
        assert_eq!(mixed.worth(one, &[]), 0);
    }

    #[test]
    fn what_was_not_measured_is_tried() {
        let mut costs = measured(&[(1, 10)]);
        assert_eq!(costs.worth(Planned::of(1), &[0.8, 0.7]), 2);
        for _ in 0..5 {
            costs.took(3, Duration::from_millis(40));
        }
        assert_eq!(costs.worth(Planned::of(1), &[0.8, 0.7]), 1);
        // One slow step may be the system's fault.
        costs.took(2, Duration::from_millis(14));
        assert_eq!(costs.worth(Planned::of(1), &[0.8, 0.7]), 1);
        for _ in 0..16 {
            costs.took(2, Duration::from_millis(40));
        }
        assert_eq!(costs.worth(Planned::of(1), &[0.8, 0.7]), 0);
    }

    #[test]
    fn a_measurement_is_repeated_now_and_then() {
        let mut dear = measured(&[(1, 10), (2, 40)]);
        let tried = |costs: &mut StepCosts, steps: u32| -> usize {
            (0..steps)
                .map(|_| costs.worth(Planned::of(1), &[0.9]))
                .sum()
        };
        assert_eq!(tried(&mut dear, AGAIN - 1), 0);
        assert_eq!(tried(&mut dear, 1), 1);
        // Less and less often.
        assert_eq!(tried(&mut dear, 2 * AGAIN - 1), 0);
        assert_eq!(tried(&mut dear, 1), 1);
        let mut cheap = measured(&[(1, 10), (2, 10)]);
        assert_eq!(tried(&mut cheap, AGAIN), AGAIN as usize);
        assert_eq!(tried(&mut cheap, 1), 0);
        assert_eq!(tried(&mut cheap, 1), 1);
    }

    #[test]
    fn times_follow_the_machine_without_its_outliers() {
        let mut costs = StepCosts::default();
        // The first step reads the weights from the disk.
        for millis in [500, 11, 10, 10, 10, 10, 90, 10] {
            costs.took(1, Duration::from_millis(millis));
        }
        assert!((costs.seconds(1) - 0.010).abs() < 0.002);
        costs.took(2, Duration::from_millis(13));
        for _ in 0..200 {
            costs.took(1, Duration::from_millis(20));
        }
        // With one row everything takes twice as long by now; with two it is assumed.
        assert!((costs.seconds(1) - 0.020).abs() < 0.001);
        assert!(costs.seconds(2) > 0.015);
        costs.took(0, Duration::from_millis(1));
        costs.took(1000, Duration::from_millis(1));
    }

    #[test]
    fn a_source_is_asked_if_its_guesses_can_pay_for_their_time() {
        let mut costs = measured(&[(1, 100), (2, 110), (3, 120), (4, 130)]);
        for _ in 0..FIRST {
            costs.guessed(Duration::from_millis(10));
        }
        assert!(costs.may_pay(Planned::of(1), &[], 0.6, 0.1));
        assert!(!costs.may_pay(Planned::of(1), &[], 0.1, 0.1));
        // After a chain that is unlikely to be right, another one is not asked for.
        assert!(!costs.may_pay(Planned::of(1), &[0.1], 0.6, 0.1));
    }
}
