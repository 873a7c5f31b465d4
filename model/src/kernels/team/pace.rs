//! What the caller knows of its team's speed: how loops are divided, how long a wait is long, and
//! whether others who want the cores make the team slower than its caller alone.

use std::time::{Duration, Instant};

/// One loop in so many is measured, if it has enough units for that.
const SAMPLED: u32 = 16;
const UNITS_A_THREAD: usize = 4;
/// What a measurement counts against those before it.
const WEIGHT: f32 = 0.125;

/// Shortest time after which a part that can be computed by another is late.
const SOON: Duration = Duration::from_micros(30);
/// Shortest time after which a caller who waits parks, and after which a thread has lost its core:
/// a scheduler's slice is some milliseconds.
const PATIENCE: Duration = Duration::from_micros(100);
const LOST: Duration = Duration::from_millis(1);
/// By how much slower than the caller's a core may be before it counts as lost.
const SLOWER: u32 = 8;

/// For how long a core that was lost may be lost again: some slices or periods of a scheduler.
const LATELY: Duration = Duration::from_millis(50);

/// For how long each way to work is tried: until it has run so many loops, too, but not for ever.
const TRIAL: Duration = Duration::from_millis(20);
const TRIAL_LOOPS: u32 = 128;
const LONGEST_TRIAL: Duration = Duration::from_millis(200);
/// For how long the better way is kept, at first and at most.
const KEPT: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(640)];

/// By how much the caller alone must be faster: what is tried is not always the same.
const CLEARLY: f64 = 1.05;

pub(super) struct Pace {
    /// How much of a loop each thread has done, the caller first.
    shares: Vec<f32>,
    /// The sum of the shares before each thread's, and of all.
    starts: Vec<f32>,
    /// Loops until one is measured.
    unmeasured: u32,
    /// Of the caller's parts.
    ns_a_byte: Option<f32>,
    /// Until when a core that was lost is to be reckoned with.
    lost_until: Option<Instant>,
    contest: Contest,
}

impl Pace {
    pub(super) fn new(capacities: &[u32]) -> Self {
        let all: f32 = capacities.iter().map(|&c| c.max(1) as f32).sum();
        let shares = capacities.iter().map(|&c| c.max(1) as f32 / all);
        let mut pace = Self {
            shares: shares.collect(),
            starts: Vec::new(),
            unmeasured: 0,
            ns_a_byte: None,
            lost_until: None,
            contest: Contest::default(),
        };
        pace.set_starts();
        pace
    }

    fn set_starts(&mut self) {
        let mut sum = 0.0;
        self.starts.clear();
        self.starts.push(0.0);
        self.starts.extend(self.shares.iter().map(|share| {
            sum += share;
            sum
        }));
    }

    /// The first of `units` that are a thread's; all of them for the thread after the last.
    pub(super) fn first_unit(&self, index: usize, units: usize) -> usize {
        if index >= self.shares.len() {
            return units;
        }
        let first = (self.starts[index] * units as f32).round() as usize;
        first.min(units)
    }

    /// Whether a loop of so many units is measured.
    pub(super) fn is_counted(&mut self, units: usize) -> bool {
        if units < UNITS_A_THREAD * self.shares.len() {
            return false;
        }
        let counted = self.unmeasured == 0;
        self.unmeasured = self.unmeasured.checked_sub(1).unwrap_or(SAMPLED);
        counted
    }

    /// How long the caller took for parts that read so many bytes.
    pub(super) fn took(&mut self, time: Duration, bytes: usize) {
        if bytes > 0 {
            let now = time.as_nanos() as f32 / bytes as f32;
            let known = self.ns_a_byte.get_or_insert(now);
            // The caller loses its core at times, too.
            *known += WEIGHT * (now.min(2.0 * *known) - *known);
        }
    }

    /// How many of a loop's `units` the caller and each other thread did: the next loops are divided
    /// like that.
    pub(super) fn count(&mut self, units: usize, own: usize, did: impl Fn(usize) -> usize) {
        // Never nothing: a thread that comes back should have something to begin with.
        let least = WEIGHT / self.shares.len() as f32;
        let mut all = 0.0;
        for (index, share) in self.shares.iter_mut().enumerate() {
            let did = if index == 0 { own } else { did(index) };
            let now = did as f32 / units as f32;
            *share = (*share + WEIGHT * (now - *share)).max(least);
            all += *share;
        }
        self.shares.iter_mut().for_each(|share| *share /= all);
        self.set_starts();
    }

    /// How long a thread may take for a part that reads so many bytes.
    fn expected(&self, bytes: usize) -> Duration {
        let ns = self.ns_a_byte.unwrap_or(1.0) * bytes as f32;
        Duration::from_nanos(ns as u64)
    }

    /// For how long the caller waits for parts that it can compute itself.
    pub(super) fn soon(&self, bytes: usize) -> Duration {
        (2 * self.expected(bytes)).max(SOON)
    }

    /// For how long the caller waits awake for the last parts, of which the longest reads so many
    /// bytes.
    pub(super) fn patience(&self, bytes: usize) -> Duration {
        (2 * self.expected(bytes)).max(PATIENCE)
    }

    /// A wait for them that only a lost core explains.
    pub(super) fn lost(&self, bytes: usize) -> Duration {
        (SLOWER * self.expected(bytes)).max(LOST)
    }

    /// The start of a loop, if its time is of interest.
    pub(super) fn begin(&mut self) -> Option<Instant> {
        self.contest.is_on().then(|| {
            let now = Instant::now();
            self.contest.advance(now);
            now
        })
    }

    /// Whether the caller should work alone now.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.contest.way, Way::Alone { .. })
    }

    /// The end of a loop that read so many bytes.
    pub(super) fn ended(&mut self, bytes: usize, begun: Instant) {
        self.contest.window.add(bytes, begun.elapsed());
    }

    /// A thread lost its core, and was relieved of its part.
    pub(super) fn was_relieved(&mut self) {
        self.lost_until = Some(Instant::now() + LATELY);
    }

    /// Whether that was a short time ago.
    pub(super) fn was_lost_lately(&mut self) -> bool {
        self.lost_until = self.lost_until.filter(|&until| Instant::now() < until);
        self.lost_until.is_some()
    }

    /// A thread lost its core.
    pub(super) fn stalled(&mut self) {
        self.contest.stalled(Instant::now());
    }
}

/// Which way is faster while other programs want the cores.
///
/// | way | until | then |
/// |---|---|---|
/// | calm | a thread lost its core | alone |
/// | alone | it was tried, or kept, for some time | together on trial |
/// | together, on trial | it was tried for some time | the faster way is kept, for twice as long as the last time if it was that, too; calm if no core was lost |
/// | together, kept | that time is over | calm |
#[derive(Default)]
struct Contest {
    way: Way,
    /// Of the way that is tried.
    window: Window,
    alone_ns: Option<f64>,
    /// A core was lost during the trial.
    lost: bool,
    /// For how long the better way was kept last, and whether it was the caller alone.
    kept: Option<(bool, Duration)>,
}

#[derive(Default, Clone, Copy)]
enum Way {
    #[default]
    Calm,
    Alone {
        since: Instant,
        time: Duration,
    },
    OnTrial {
        since: Instant,
    },
    Kept {
        since: Instant,
        time: Duration,
    },
}

/// Loops that were timed.
#[derive(Default, Clone, Copy)]
struct Window {
    loops: u32,
    bytes: usize,
    time: Duration,
}

impl Window {
    fn add(&mut self, bytes: usize, time: Duration) {
        self.loops = self.loops.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.time += time;
    }

    fn ns_a_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.time.as_nanos() as f64 / self.bytes as f64)
    }

    /// Whether a way that was taken for `time` was tried for long enough.
    fn is_enough(&self, time: Duration) -> bool {
        time >= LONGEST_TRIAL || time >= TRIAL && self.loops >= TRIAL_LOOPS
    }
}

impl Contest {
    fn is_on(&self) -> bool {
        !matches!(self.way, Way::Calm)
    }

    fn take(&mut self, way: Way) {
        self.way = way;
        self.window = Window::default();
        self.lost = false;
    }

    fn stalled(&mut self, now: Instant) {
        self.lost = true;
        if !self.is_on() {
            let time = Duration::ZERO;
            self.take(Way::Alone { since: now, time });
        }
    }

    fn advance(&mut self, now: Instant) {
        match self.way {
            Way::Calm => {}
            Way::Alone { since, time } => {
                let passed = now.duration_since(since);
                if passed >= time && self.window.is_enough(passed) {
                    self.alone_ns = self.window.ns_a_byte();
                    self.take(Way::OnTrial { since: now });
                }
            }
            Way::OnTrial { since } => {
                if self.window.is_enough(now.duration_since(since)) {
                    self.decide(now);
                }
            }
            Way::Kept { since, time } => {
                if now.duration_since(since) >= time {
                    self.take(Way::Calm);
                }
            }
        }
    }

    fn decide(&mut self, now: Instant) {
        let together = self.window.ns_a_byte();
        let alone = match (self.alone_ns, together) {
            (Some(alone), Some(together)) => CLEARLY * alone < together,
            // Nothing was to be done meanwhile.
            _ => false,
        };
        if !alone && !self.lost {
            self.kept = None;
            return self.take(Way::Calm);
        }
        let time = match self.kept {
            Some((was_alone, time)) if was_alone == alone => (2 * time).min(KEPT[1]),
            _ => KEPT[0],
        };
        self.kept = Some((alone, time));
        self.take(if alone {
            Way::Alone { since: now, time }
        } else {
            Way::Kept { since: now, time }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_divided_by_capacity_then_by_what_was_done() {
        let mut pace = Pace::new(&[3, 1]);
        assert_eq!((pace.first_unit(0, 16), pace.first_unit(1, 16)), (0, 12));
        assert_eq!(pace.first_unit(2, 16), 16);
        for _ in 0..100 {
            pace.count(16, 4, |_| 12);
        }
        assert_eq!(pace.first_unit(1, 16), 4);
        for _ in 0..100 {
            pace.count(16, 16, |_| 0);
        }
        assert_eq!(pace.first_unit(1, 100), 94, "never nothing");
        assert_eq!(Pace::new(&[0, 0]).first_unit(1, 10), 5);
    }

    #[test]
    fn some_loops_with_enough_units_are_measured() {
        let mut pace = Pace::new(&[1, 1]);
        assert!(!(0..100).any(|_| pace.is_counted(7)));
        let counted = (0..170).filter(|_| pace.is_counted(8)).count();
        assert_eq!(counted, 10);
    }

    #[test]
    fn a_wait_is_long_by_what_parts_take() {
        let mut pace = Pace::new(&[1, 1]);
        assert_eq!((pace.patience(1), pace.lost(1)), (PATIENCE, LOST));
        // A part of 2 ms: waits of that length are usual.
        pace.took(Duration::from_millis(1), 1000);
        assert_eq!(pace.patience(2000), Duration::from_millis(4));
        assert_eq!(pace.lost(2000), Duration::from_millis(16));
    }

    /// Goes through loops of so many bytes, `alone` and together in so many microseconds each, in
    /// which cores are lost or not, and returns the share of loops that the caller did alone.
    fn alone(loops: u32, [alone, together]: [u64; 2], lost: bool) -> f32 {
        let mut contest = Contest::default();
        let mut now = Instant::now();
        let mut of_caller = 0;
        for _ in 0..loops {
            contest.advance(now);
            let is_alone = matches!(contest.way, Way::Alone { .. });
            of_caller += u32::from(is_alone);
            let time = Duration::from_micros(if is_alone { alone } else { together });
            now += time;
            contest.window.add(1000, time);
            if lost && !is_alone {
                contest.stalled(now);
            }
        }
        of_caller as f32 / loops as f32
    }

    #[test]
    fn the_faster_way_is_taken_while_cores_are_lost() {
        assert!(alone(100_000, [100, 150], true) > 0.9);
        assert!(alone(100_000, [150, 100], true) < 0.1);
    }

    #[test]
    fn a_lost_core_is_forgotten_when_the_team_is_faster_again() {
        let mut contest = Contest::default();
        let now = Instant::now();
        contest.stalled(now);
        assert!(matches!(contest.way, Way::Alone { .. }));
        contest.window.add(1000, Duration::from_millis(2));
        contest.advance(now + LONGEST_TRIAL);
        assert!(matches!(contest.way, Way::OnTrial { .. }));
        contest.window.add(1000, Duration::from_millis(1));
        contest.advance(now + 2 * LONGEST_TRIAL);
        assert!(!contest.is_on());
        assert!(alone(100_000, [100, 150], false) == 0.0);
    }

    #[test]
    fn a_lost_core_is_reckoned_with_for_a_while() {
        let mut pace = Pace::new(&[1, 1]);
        assert!(!pace.was_lost_lately());
        pace.was_relieved();
        assert!(pace.lost_until.is_some_and(|until| until > Instant::now()));
        pace.lost_until = Some(Instant::now());
        assert!(!pace.was_lost_lately());
        assert!(pace.lost_until.is_none());
    }

    #[test]
    fn a_pause_ends_a_contest() {
        let mut contest = Contest::default();
        let now = Instant::now();
        contest.stalled(now);
        contest.advance(now + Duration::from_secs(60));
        contest.advance(now + Duration::from_secs(120));
        assert!(!contest.is_on());
    }
}
