//! How fast requests are served: how much of a prompt is read beside answers, and when there is room
//! for another request.

use std::time::{Duration, Instant};

use crate::engine::PREFILL_CHUNK;

/// Tokens of prompts that are read in a step beside answers, at least: fewer cost as much.
const LEAST_BESIDE: usize = 16;
/// The same before anything was measured.
const FIRST_BESIDE: usize = 64;
/// A step beside which prompts are read may take this much longer, or twice as long if that is more.
const BESIDE_SECONDS: f64 = 0.05;

/// What new measurements count in an average.
const NEW: f64 = 0.2;

/// How long steps take.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// A step that only answers, in seconds.
    answers: Option<f64>,
    /// A token of a prompt beyond that.
    row: Option<f64>,
}

impl Pace {
    /// Tokens of prompts that the next step may read, beside so many answers.
    pub(super) fn prompt_tokens(&self, answers: usize) -> usize {
        if answers == 0 {
            return PREFILL_CHUNK;
        }
        let Some(row) = self.row else {
            return FIRST_BESIDE;
        };
        let seconds = self.answers.unwrap_or_default().max(BESIDE_SECONDS);
        ((seconds / row) as usize).clamp(LEAST_BESIDE, PREFILL_CHUNK)
    }

    /// A step of so many answers' tokens and so many of prompts took this long.
    pub(super) fn took(&mut self, answers: usize, prompts: usize, time: Duration) {
        let seconds = time.as_secs_f64();
        if prompts == 0 {
            average(&mut self.answers, seconds);
            return;
        }
        let beside = match answers {
            0 => 0.0,
            _ => self.answers.unwrap_or_default(),
        };
        let row = ((seconds - beside) / prompts as f64).max(1e-9);
        // A few tokens say little of many: the weights are read for them all the same.
        if prompts >= LEAST_BESIDE || self.row.is_none() {
            average(&mut self.row, row);
        }
    }
}

fn average(mean: &mut Option<f64>, new: f64) {
    *mean = Some(mean.map_or(new, |mean| mean + NEW * (new - mean)));
}

/// The longest time after which it is said to be worth trying again: clients ignore longer ones.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// When requests make room for others.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// How long a request is answered, in seconds.
    duration: Option<f64>,
    /// When the last place is free that somebody was promised.
    promised: Option<Instant>,
}

impl Departures {
    /// A request was answered that long.
    pub(super) fn left(&mut self, after: Duration) {
        average(&mut self.duration, after.as_secs_f64());
    }

    /// When one who is refused now finds a place, with so many requests answered at once, of which the
    /// oldest began so long ago. Each who asks is promised a place of their own.
    pub(super) fn next_place(
        &mut self,
        now: Instant,
        running: usize,
        oldest: Duration,
    ) -> Duration {
        // Nobody has left yet: one who began so long ago takes at least as long again.
        let duration = self.duration.unwrap_or(2.0 * oldest.as_secs_f64());
        let apart = duration / running.max(1) as f64;
        let apart = Duration::try_from_secs_f64(apart).unwrap_or(LONGEST_RETRY);
        let after = self.promised.map_or(now, |promised| promised.max(now));
        let place = (after + apart.min(LONGEST_RETRY)).min(now + LONGEST_RETRY);
        self.promised = Some(place);
        // Whole seconds are what can be said.
        let seconds = (place - now).as_secs_f64().ceil().max(1.0);
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_in_parts_that_answers_can_wait_for() {
        let mut pace = Pace::default();
        assert_eq!(pace.prompt_tokens(0), PREFILL_CHUNK);
        assert_eq!(pace.prompt_tokens(1), FIRST_BESIDE);
        // A small model: 1 ms a token.
        pace.took(0, 256, Duration::from_millis(256));
        assert_eq!(pace.prompt_tokens(1), 50);
        // Answers that take longer may be kept waiting for longer.
        pace.took(16, 0, Duration::from_millis(120));
        assert_eq!(pace.prompt_tokens(16), 120);
        // A large one: 100 ms a token.
        let mut pace = Pace::default();
        pace.took(0, 100, Duration::from_secs(10));
        assert_eq!(pace.prompt_tokens(1), LEAST_BESIDE);
        assert_eq!(pace.prompt_tokens(0), PREFILL_CHUNK);
    }

    #[test]
    fn each_who_is_refused_is_promised_another_place() {
        let mut departures = Departures::default();
        departures.left(Duration::from_secs(32));
        let now = Instant::now();
        let mut next = || departures.next_place(now, 16, Duration::ZERO).as_secs();
        assert_eq!([next(), next(), next()], [2, 4, 6]);
        // What was promised is over.
        let later = now + Duration::from_secs(100);
        let again = departures.next_place(later, 16, Duration::ZERO);
        assert_eq!(again.as_secs(), 2);
        let mut slow = Departures::default();
        slow.left(Duration::from_secs(10_000));
        assert_eq!(slow.next_place(now, 1, Duration::ZERO).as_secs(), 60);
        let mut unknown = Departures::default();
        assert_eq!(unknown.next_place(now, 1, Duration::ZERO).as_secs(), 1);
    }
}
