//! What a guess gains where other devices compute the model's layers.

use std::time::Duration;

use super::average::Average;

/// Times of trips round the devices and of the guesses that are sent behind a token.
///
/// A guess that is right spares a trip, because its row is already under way when it is known to be
/// right. If it is right with the chance `p`, it is worth its time if `p · trip > guess`, also where
/// this device could have done nothing else meanwhile: what it computes costs battery.
#[derive(Debug, Default)]
pub(super) struct Trips {
    trip: Average,
    guess: Average,
}

impl Trips {
    /// Records the time from sending a row to its answer.
    pub(super) fn took(&mut self, time: Duration) {
        self.trip.add(time);
    }

    /// Records the time of a computed guess.
    pub(super) fn guessed(&mut self, time: Duration) {
        self.guess.add(time);
    }

    /// Forgets the time of guesses: it is measured again.
    pub(super) fn forget_guesses(&mut self) {
        self.guess = Average::default();
    }

    /// The expected gain of a computed guess that is right with this chance, in trips. A guess is
    /// assumed to cost nothing until its time is known.
    pub(super) fn gain(&self, chance: f32) -> f32 {
        let cost = match self.trip.count.min(self.guess.count) {
            0 => 0.0,
            _ => self.guess.mean / self.trip.mean,
        };
        chance - cost as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(trip_ms: u64, guess_ms: u64) -> Trips {
        let mut trips = Trips::default();
        for _ in 0..8 {
            trips.took(Duration::from_millis(trip_ms));
            trips.guessed(Duration::from_millis(guess_ms));
        }
        trips
    }

    #[test]
    fn a_guess_gains_if_it_takes_less_time_than_it_spares() {
        assert!(measured(100, 20).gain(0.5) > 0.0);
        assert!(measured(100, 60).gain(0.5) < 0.0);
        assert!(measured(100, 120).gain(1.0) < 0.0);
        // Unlikely ones gain nothing, however long the trip.
        assert!(measured(1000, 20).gain(0.01) < 0.0);
    }

    #[test]
    fn what_was_not_measured_is_tried() {
        let mut trips = Trips::default();
        assert!(trips.gain(0.1) > 0.0);
        trips.took(Duration::from_millis(1));
        assert!(trips.gain(0.1) > 0.0);
        trips.guessed(Duration::from_millis(2));
        assert!(trips.gain(0.9) < 0.0);
        trips.forget_guesses();
        assert!(trips.gain(0.1) > 0.0);
    }
}
