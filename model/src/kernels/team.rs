//! A small persistent team of threads that share one loop at a time.
//!
//! The thread that calls [`Team::run`] works too. Parts of the loop are handed out one by one from
//! a counter, so that fast and slow cores, or a core that another program took, each do what they
//! can. Between loops the helpers spin for a short bounded time (a decode step has some hundred
//! loops, a few microseconds apart), then park.
//!
//! A helper that is late, because its core was taken from it, is not waited for: the caller closes
//! the gate when the counter is used up, and waits only for helpers that are inside. If one of
//! those keeps it waiting for as long as only a lost core explains, other programs want the cores,
//! and the caller works alone for a while ([`Contention`]): one thread that is never waited for is
//! faster than two that wait for each other.

use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::SharedSlice;
use super::ahead::Ahead;

/// Spins before parking: some tens of microseconds.
const SPINS: u32 = 4000;

/// A wait that only a helper without its core explains: parts take microseconds, at most some
/// hundreds in prefill, a scheduler's slice milliseconds.
const STALL: Duration = Duration::from_millis(1);
/// For how long the caller first works alone after a stall, and at most after many.
const ALONE: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(640)];

/// The part of [`Shared::gate`] that counts helpers inside.
const INSIDE: u64 = (1 << 16) - 1;
/// The gate is open: helpers may enter.
const OPEN: u64 = 1 << 16;
/// The team is ending.
const ENDING: u64 = 1 << 17;
/// One loop; the bits above count them.
const EPOCH: u64 = 1 << 18;

/// A loop's body, its lifetime erased.
type Body = *const (dyn Fn(Range<usize>) + Sync);

/// A team of threads, the caller among them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// One loop at a time.
    turn: Mutex<Contention>,
}

/// What stalls taught the caller: to work alone until some time, for twice as long if the next
/// try stalls soon again.
#[derive(Default)]
struct Contention {
    alone_until: Option<Instant>,
    pause: Duration,
}

impl Contention {
    /// Whether helpers should be left out now.
    fn alone(&self) -> bool {
        self.alone_until.is_some_and(|until| Instant::now() < until)
    }

    fn stalled(&mut self) {
        let now = Instant::now();
        // A try that went well for as long as the pause before it starts over.
        let soon = self
            .alone_until
            .is_some_and(|until| now < until + self.pause);
        self.pause = if soon {
            (self.pause * 2).min(ALONE[1])
        } else {
            ALONE[0]
        };
        self.alone_until = Some(now + self.pause);
    }
}

struct Shared {
    gate: AtomicU64,
    next: AtomicUsize,
    caller_parked: AtomicBool,
    panicked: AtomicBool,
    plan: UnsafeCell<Option<Plan>>,
    ahead: Ahead,
    asleep: Vec<AtomicBool>,
}

/// The loop in hand.
#[derive(Clone)]
struct Plan {
    body: Body,
    items: usize,
    grain: usize,
    /// A part is what is left divided by this, or a grain.
    divisor: usize,
    caller: Thread,
}

// SAFETY: `plan` is written only while the gate is closed and nobody is inside, and read only
// from inside; the gate's acquire and release order the two.
unsafe impl Sync for Shared {}
// SAFETY: as above; `body` points at a `Sync` closure.
unsafe impl Send for Shared {}

impl Team {
    /// A team of `threads`, the caller included.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        let helpers = threads.get() - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            caller_parked: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            plan: UnsafeCell::new(None),
            ahead: Ahead::new(),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
        });
        let helpers = (0..helpers)
            .map_while(|i| {
                let shared = Arc::clone(&shared);
                // Fewer threads than asked for compute the same, only slower.
                thread::Builder::new()
                    .name(format!("potluck-{}", i + 1))
                    .spawn(move || shared.help(i))
                    .ok()
            })
            .collect();
        Self {
            shared,
            helpers,
            turn: Mutex::new(Contention::default()),
        }
    }

    /// Threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// How many of a loop's items its first part has, which is the caller's, if nobody is late.
    pub(crate) fn first_part(&self, items: usize) -> usize {
        items / (2 * self.threads())
    }

    /// Says what a loop to come will read, for helpers to fetch while they wait for it.
    pub(crate) fn expect(&self, weights: &[u8]) {
        if !self.helpers.is_empty() {
            self.shared.ahead.set(weights);
        }
    }

    /// Calls `body` with ranges that cover `0..items` once, `grain` items or more at a time, on all
    /// threads of the team, and returns when all is done.
    ///
    /// # Panics
    /// If `body` panicked on any thread.
    pub(crate) fn run(&self, items: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let grain = grain.max(1);
        if self.helpers.is_empty() || items <= grain {
            if items > 0 {
                body(0..items);
            }
            return;
        }
        let mut contention = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if contention.alone() {
            body(0..items);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `Closer` waits until nobody is inside before `body`
        // goes away, also when `body` unwinds.
        let body: Body =
            unsafe { std::mem::transmute::<*const (dyn Fn(Range<usize>) + Sync + '_), Body>(body) };
        let plan = Plan {
            body,
            items,
            grain,
            divisor: 2 * self.threads(),
            caller: thread::current(),
        };
        // SAFETY: the gate is closed and nobody is inside: see `Closer`.
        unsafe { *shared.plan.get() = Some(plan.clone()) };
        shared.next.store(0, Ordering::Relaxed);
        shared.ahead.clear();
        // SeqCst here and in `wait_for_next`: either a helper sees the gate, or we see it asleep.
        shared.gate.fetch_add(EPOCH | OPEN, Ordering::SeqCst);
        self.wake();
        let mut closer = Closer {
            shared,
            stalled: false,
        };
        shared.work(&plan);
        closer.close();
        if closer.stalled {
            contention.stalled();
        }
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a helper thread panicked"
        );
    }

    /// Calls `body` once for each row of the equally shaped `matrices`, `[rows, width]`, with its
    /// index and its part of each, on all threads, `grain` rows at a time.
    ///
    /// # Panics
    /// If a matrix is not whole rows, or has another number of them than the first.
    pub(crate) fn rows<const N: usize>(
        &self,
        matrices: [&mut [f32]; N],
        width: usize,
        grain: usize,
        body: &(dyn Fn(usize, [&mut [f32]; N]) + Sync),
    ) {
        let shared = matrices.map(SharedSlice::new);
        let rows = shared.first().map_or(0, SharedSlice::len) / width.max(1);
        assert!(shared.iter().all(|m| m.len() == rows * width));
        self.run(rows, grain, &|range| {
            for row in range {
                // SAFETY: the loop gives each row to one thread.
                let parts = shared
                    .each_ref()
                    .map(|m| unsafe { m.part(row * width..(row + 1) * width) });
                body(row, parts);
            }
        });
    }

    fn wake(&self) {
        for (asleep, helper) in self.shared.asleep.iter().zip(&self.helpers) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                helper.thread().unpark();
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.gate.fetch_or(ENDING, Ordering::SeqCst);
        self.wake();
        for helper in self.helpers.drain(..) {
            // A helper's panic was reported by `run`.
            let _ = helper.join();
        }
    }
}

/// Closes the gate and waits until nobody is inside, at the latest when dropped.
struct Closer<'a> {
    shared: &'a Shared,
    stalled: bool,
}

impl Closer<'_> {
    fn close(&mut self) {
        let shared = self.shared;
        // After a panic the counter must not hand out more.
        shared.next.fetch_max(usize::MAX / 2, Ordering::Relaxed);
        let mut gate = shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        let mut parked = None;
        while gate & INSIDE != 0 {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                parked.get_or_insert_with(Instant::now);
                // As in `wait_for_next`.
                shared.caller_parked.swap(true, Ordering::SeqCst);
                if shared.gate.load(Ordering::SeqCst) & INSIDE != 0 {
                    thread::park();
                }
                shared.caller_parked.store(false, Ordering::SeqCst);
            }
            gate = shared.gate.load(Ordering::Acquire);
        }
        self.stalled |= parked.is_some_and(|since| since.elapsed() > STALL);
    }
}

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Takes parts of the loop until none is left: large ones first, so that each thread reads
    /// long stretches of memory, then smaller ones, so that all finish together.
    fn work(&self, plan: &Plan) {
        let part = |start: usize| {
            let left = plan.items.saturating_sub(start);
            (left / plan.divisor).max(plan.grain).min(left)
        };
        // SAFETY: the caller of `run` keeps the closure alive while anyone is inside.
        let body = unsafe { &*plan.body };
        let take = || {
            let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
            let start = self.next.fetch_update(set, get, |start| {
                Some(part(start)).filter(|&n| n > 0).map(|n| start + n)
            });
            start.ok().map(|start| start..start + part(start))
        };
        while let Some(range) = take() {
            body(range);
        }
    }

    /// A helper's life.
    fn help(&self, index: usize) {
        let mut seen = 0;
        loop {
            let gate = self.wait_for_next(index, seen);
            if gate & ENDING != 0 {
                return;
            }
            seen = gate / EPOCH;
            if gate & OPEN == 0 || !self.enter(gate) {
                continue;
            }
            // SAFETY: inside an open gate the plan is set and does not change.
            if let Some(plan) = unsafe { (*self.plan.get()).clone() } {
                let work = std::panic::AssertUnwindSafe(|| self.work(&plan));
                if std::panic::catch_unwind(work).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
                self.leave(&plan.caller);
            }
        }
    }

    /// The gate once it counts another loop than `seen`, or ends: spins, then parks.
    fn wait_for_next(&self, index: usize, seen: u64) -> u64 {
        let mut spins = 0;
        loop {
            let gate = self.gate.load(Ordering::Acquire);
            if gate / EPOCH != seen || gate & ENDING != 0 {
                return gate;
            }
            if spins < SPINS {
                spins += 1;
                if !self.ahead.step() {
                    std::hint::spin_loop();
                }
                continue;
            }
            // Swapped, not stored: emulators have been seen to let a store pass the load after it.
            self.asleep[index].swap(true, Ordering::SeqCst);
            let gate = self.gate.load(Ordering::SeqCst);
            if gate / EPOCH == seen && gate & ENDING == 0 {
                thread::park();
            }
            self.asleep[index].store(false, Ordering::SeqCst);
            spins = 0;
        }
    }

    /// Enters the gate if it is still the open one of `gate`'s loop.
    fn enter(&self, mut gate: u64) -> bool {
        let epoch = gate / EPOCH;
        while gate & OPEN != 0 && gate / EPOCH == epoch {
            match self.gate.compare_exchange_weak(
                gate,
                gate + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => gate = now,
            }
        }
        false
    }

    fn leave(&self, caller: &Thread) {
        let before = self.gate.fetch_sub(1, Ordering::SeqCst);
        if before & INSIDE == 1 && self.caller_parked.load(Ordering::SeqCst) {
            caller.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(threads: usize) -> Team {
        Team::new(NonZeroUsize::new(threads).expect("not zero"))
    }

    #[test]
    fn every_item_is_visited_once() {
        for threads in 1..5 {
            let team = team(threads);
            for items in [0, 1, 2, 7, 100, 1001] {
                let visits: Vec<_> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                team.run(items, 3, &|range| {
                    for i in range {
                        visits[i].fetch_add(1, Ordering::Relaxed);
                    }
                });
                assert!(visits.iter().all(|v| v.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_short_loops_with_pauses_lose_nothing() {
        let team = team(3);
        let sum = AtomicUsize::new(0);
        for round in 0..5000 {
            team.run(8, 1, &|range| {
                sum.fetch_add(range.len(), Ordering::Relaxed);
            });
            if round % 1000 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
        }
        assert_eq!(sum.load(Ordering::Relaxed), 40_000);
    }

    #[test]
    fn a_panic_in_the_body_reaches_the_caller_and_the_team_survives() {
        let team = team(2);
        for _ in 0..20 {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                team.run(64, 1, &|range| assert!(!range.contains(&20), "on purpose"));
            }));
            assert!(result.is_err());
        }
        let count = AtomicUsize::new(0);
        team.run(10, 1, &|r| {
            count.fetch_add(r.len(), Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 10);
    }
}
