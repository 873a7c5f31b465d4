//! Pacing: how much of a prompt to process beside running answers, and when a busy node expects to
//! have room again.

use std::time::{Duration, Instant};

use crate::engine::PREFILL_CHUNK;

/// The fewest prompt tokens in a step beside answers: fewer cost as much time.
const LEAST_BESIDE: usize = 16;
/// The number used until a step has been measured.
const FIRST_BESIDE: usize = 64;
/// Prompts may add this much time to a step, or the time of the step itself if that is longer.
const BESIDE_SECONDS: f64 = 0.05;

/// Weight of a new measurement in a moving average.
const NEW: f64 = 0.2;

/// Measured step times.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds of a step without prompts.
    answers: Option<f64>,
    /// Additional seconds per prompt token.
    row: Option<f64>,
}

impl Pace {
    /// How many prompt tokens the next step may process beside this many answers.
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

    /// Records a step's time, given its numbers of answer and prompt tokens.
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
        // A few tokens are not representative: the step reads all weights in any case.
        if prompts >= LEAST_BESIDE || self.row.is_none() {
            average(&mut self.row, row);
        }
    }
}

fn average(mean: &mut Option<f64>, new: f64) {
    *mean = Some(mean.map_or(new, |mean| mean + NEW * (new - mean)));
}

/// The longest retry time to report: clients ignore longer ones.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Estimates when running requests make room.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// Mean duration of a request, in seconds.
    duration: Option<f64>,
    /// When the last place promised to a client becomes free.
    promised: Option<Instant>,
}

impl Departures {
    /// Records the duration of a finished request.
    pub(super) fn left(&mut self, after: Duration) {
        average(&mut self.duration, after.as_secs_f64());
    }

    /// When a client that is refused now will find room, given the number of running requests and
    /// the age of the oldest. Each client is promised a separate place.
    pub(super) fn next_place(
        &mut self,
        now: Instant,
        running: usize,
        oldest: Duration,
    ) -> Duration {
        // No request has finished yet: assume that the oldest is halfway.
        let duration = self.duration.unwrap_or(2.0 * oldest.as_secs_f64());
        let apart = duration / running.max(1) as f64;
        let apart = Duration::try_from_secs_f64(apart).unwrap_or(LONGEST_RETRY);
        let after = self.promised.map_or(now, |promised| promised.max(now));
        let place = (after + apart.min(LONGEST_RETRY)).min(now + LONGEST_RETRY);
        self.promised = Some(place);
        // `Retry-After` has whole seconds.
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
        // A small model: 1 ms per token.
        pace.took(0, 256, Duration::from_millis(256));
        assert_eq!(pace.prompt_tokens(1), 50);
        // Slower answers tolerate longer prompt parts.
        pace.took(16, 0, Duration::from_millis(120));
        assert_eq!(pace.prompt_tokens(16), 120);
        // A large model: 100 ms per token.
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
        // Earlier promises have expired.
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
