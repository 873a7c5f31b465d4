//! Progress of helpers that fetch their layers' weights, on stderr.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use potluck_protocol::PeerId;

use super::{format, output};

/// Minimum time between lines if stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows the progress of fetches: one changing line on a terminal, single lines elsewhere.
pub(super) struct Fetches {
    of: Vec<Fetch>,
    live: ProgressBar,
    /// Whether stderr is a terminal.
    is_terminal: bool,
    quiet: bool,
    written_at: Option<Instant>,
}

/// The progress of one device.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) peer: PeerId,
    pub(super) name: String,
    pub(super) received_bytes: u64,
    pub(super) total_bytes: u64,
}

impl Fetches {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            of: Vec::new(),
            live: ProgressBar::hidden(),
            is_terminal: output::stderr_is_terminal(),
            quiet,
            written_at: None,
        }
    }

    /// Shows a device's progress.
    pub(super) fn show(&mut self, fetch: Fetch) {
        note(&mut self.of, fetch);
        if self.quiet {
            return;
        }
        if self.is_terminal {
            if self.live.is_hidden() {
                self.live = output::live_line(true);
            }
            self.live.set_message(line(&self.of));
        } else if is_due(self.written_at, Instant::now()) {
            self.written_at = Some(Instant::now());
            output::note(&line(&self.of));
        }
    }

    /// Removes the line: nothing is fetched any more, or another line comes.
    pub(super) fn end(&mut self) {
        self.of.clear();
        self.live.finish_and_clear();
        self.live = ProgressBar::hidden();
    }
}

/// Updates a device's progress, or appends a device that is new.
fn note(of: &mut Vec<Fetch>, fetch: Fetch) {
    let mut known = of.iter_mut();
    match known.find(|known| known.peer == fetch.peer) {
        Some(known) => *known = fetch,
        None => of.push(fetch),
    }
}

fn line(of: &[Fetch]) -> String {
    let fetches = of.iter().map(|fetch| {
        let amount = format::bytes_of(fetch.received_bytes, fetch.total_bytes);
        format!("{} fetches its layers: {amount}", fetch.name)
    });
    fetches.collect::<Vec<_>>().join(" · ")
}

/// Whether enough time has passed since the last line.
fn is_due(before: Option<Instant>, now: Instant) -> bool {
    before.is_none_or(|before| now.saturating_duration_since(before) >= LINE_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_each_device_is() {
        let mut of = Vec::new();
        let mut told = |peer: u8, name: &str, received_bytes, total_bytes| {
            let fetch = Fetch {
                peer: PeerId::from_public_key([peer; 32]),
                name: name.to_owned(),
                received_bytes,
                total_bytes,
            };
            note(&mut of, fetch);
            line(&of)
        };
        assert_eq!(
            told(1, "kitchen", 0, 80_000_000),
            "kitchen fetches its layers: 0 of 80 MB"
        );
        assert_eq!(
            told(2, "tablet", 1_250_000, 4_000_000),
            "kitchen fetches its layers: 0 of 80 MB · tablet fetches its layers: 1.2 of 4.0 MB"
        );
        assert_eq!(
            told(1, "kitchen", 12_345_678, 80_000_000),
            "kitchen fetches its layers: 12 of 80 MB · tablet fetches its layers: 1.2 of 4.0 MB"
        );
        // Another of the same name.
        assert_eq!(
            told(3, "tablet", 0, 900).matches("tablet fetches").count(),
            2
        );
    }

    #[test]
    fn lines_that_stay_are_written_seldom() {
        let now = Instant::now();
        assert!(is_due(None, now));
        assert!(!is_due(Some(now), now + LINE_EVERY / 2));
        assert!(is_due(Some(now), now + LINE_EVERY));
    }
}
