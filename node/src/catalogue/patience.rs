//! How often a source whose connection breaks is tried again, and after what pauses.

use std::thread;
use std::time::{Duration, Instant};

use super::source_error::SourceError;
use crate::Cancel;

/// Tries in a row that brought nothing, at most.
const IN_VAIN: u32 = 5;
/// Tries at most, however much each brought.
const ALL: u32 = 100;
/// How often a pause looks whether it is cancelled.
const POLL: Duration = Duration::from_millis(20);

/// How often one source was tried.
///
/// | what happened | what is done |
/// |---|---|
/// | the source cannot be reached, or refuses, at the first try | the next source, at once |
/// | the connection broke | again after a pause |
/// | cannot be reached, or the server is overloaded or fails (429, 5xx), after the connection broke | again after a pause |
/// | anything else | the next source |
///
/// The pause doubles with each try that brought nothing, and is the first again after one that did.
#[derive(Debug)]
pub(super) struct Patience {
    first_pause: Duration,
    in_vain: u32,
    tries: u32,
    broke: bool,
}

impl Patience {
    pub(super) fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            in_vain: 0,
            tries: 0,
            broke: false,
        }
    }

    /// The pause before the next try, after one that ended so and brought something or not; `None` if
    /// there is to be none.
    pub(super) fn pause_after(&mut self, error: &SourceError, brought: bool) -> Option<Duration> {
        self.broke |= matches!(error, SourceError::Broken { .. });
        let passes = matches!(
            error,
            SourceError::Broken { .. }
                | SourceError::Unreachable { .. }
                | SourceError::Refused {
                    status: 429 | 500..=599
                }
        );
        self.tries += 1;
        self.in_vain = if brought { 0 } else { self.in_vain + 1 };
        if !self.broke || !passes || self.in_vain > IN_VAIN || self.tries >= ALL {
            return None;
        }
        Some(self.first_pause * 2_u32.pow(self.in_vain.saturating_sub(1)))
    }
}

/// Waits; false if that was cancelled.
pub(super) fn wait(pause: Duration, cancel: &Cancel) -> bool {
    let end = Instant::now() + pause;
    loop {
        if cancel.is_cancelled() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(POLL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> SourceError {
        SourceError::Broken {
            bytes: 0,
            reason: String::new(),
        }
    }

    fn unreachable() -> SourceError {
        SourceError::Unreachable {
            reason: String::new(),
        }
    }

    #[test]
    fn pauses_double_until_something_comes_and_end() {
        let mut patience = Patience::new(Duration::from_secs(1));
        let mut pause = |brought| {
            let pause = patience.pause_after(&broken(), brought);
            pause.map(|pause| pause.as_secs())
        };
        assert_eq!([pause(true), pause(false)], [Some(1), Some(1)]);
        assert_eq!([pause(false), pause(false)], [Some(2), Some(4)]);
        assert_eq!(pause(true), Some(1));
        let in_vain = [(); 6].map(|()| pause(false));
        assert_eq!(
            in_vain,
            [Some(1), Some(2), Some(4), Some(8), Some(16), None]
        );
    }

    #[test]
    fn only_what_has_begun_is_tried_again() {
        let first = |error| Patience::new(Duration::ZERO).pause_after(&error, false);
        assert_eq!(first(unreachable()), None);
        assert_eq!(first(SourceError::Refused { status: 503 }), None);
        assert_eq!(first(SourceError::WebPage), None);
        let mut patience = Patience::new(Duration::ZERO);
        for error in [
            broken(),
            unreachable(),
            SourceError::Refused { status: 503 },
        ] {
            assert!(patience.pause_after(&error, false).is_some(), "{error}");
        }
        assert_eq!(patience.pause_after(&SourceError::OtherBytes, false), None);
        let mut patience = Patience::new(Duration::ZERO);
        let tries = std::iter::from_fn(|| patience.pause_after(&broken(), true)).count();
        assert_eq!(tries, ALL as usize - 1);
    }

    #[test]
    fn a_pause_can_be_cancelled() {
        let cancel = Cancel::new();
        assert!(wait(Duration::ZERO, &cancel));
        cancel.cancel();
        assert!(!wait(Duration::from_secs(600), &cancel));
    }
}
