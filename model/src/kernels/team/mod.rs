//! A small persistent team of threads that share one loop at a time.
//!
//! The thread that calls [`Team::run`] works too. Each thread is given a range of the loop's units
//! ([`Share`]), takes parts of it from the front, and when it has none left, parts of others' from the
//! back. So each reads one long stretch of memory, threads do not get in each other's way until the
//! end, and fast and slow cores, or a core that another program took, each do what they can.
//!
//! Threads stay with the caller from loop to loop: they look at one word of their own, which tells
//! that a loop is open, and need not be woken. A decode step has some hundred loops, a few
//! microseconds apart. After [`AWAKE`] without one they park.
//!
//! A thread that is late, because its core was taken from it, is not waited for: there is nothing to
//! enter and to leave. The caller waits for units that were *taken*; a thread that comes when all are
//! done finds empty ranges, and goes to the next loop. A thread that loses its core in the middle of a
//! part is relieved of it, where the part is one of a [`Task`], else waited for ([`Doing`]). If the
//! latter takes so long that only a lost core explains it, [`Pace`] measures whether the team is still
//! faster than the caller alone.
//!
//! What one thread writes and others read at the same time has a cache line for itself ([`Seat`]).

mod ahead;
mod doing;
mod helper;
mod pace;
mod plan;
mod share;
#[cfg(test)]
pub(super) mod tests;

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::SharedSlice;
use super::task::{Kept, Task};
use ahead::Ahead;
use doing::Doing;
use pace::Pace;
pub(crate) use plan::MACS_A_BYTE;
use plan::{Body, Plan, SHORT_BYTES, unit};
use share::{Share, part};

/// For how long a thread looks for the next loop before it parks: longer than what is between two
/// steps of an answer, if nothing holds it up.
const AWAKE: Duration = Duration::from_micros(200);

/// A team of threads, the caller among them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// One loop at a time.
    turn: Mutex<Turn>,
}

/// What the caller has.
struct Turn {
    pace: Pace,
    /// Loops so far.
    epoch: u64,
    /// What helpers may still read after they were relieved, by their number.
    kept: Vec<(usize, Kept)>,
}

/// What threads share.
struct Shared {
    /// One a thread, the caller's first.
    seats: Vec<Seat>,
    finish: Finish,
    ending: AtomicBool,
}

/// What the caller tells one thread.
///
/// Two lines of 64 bytes, as processors fetch them in pairs.
#[repr(align(128))]
struct Seat {
    share: Share,
    /// The caller writes it while no loop is open.
    plan: UnsafeCell<Plan>,
    ahead: Ahead,
    /// Units of a part, at most: of the loop that was opened last.
    most: AtomicUsize,
    asleep: AtomicBool,
    doing: Doing,
    /// Units that the thread did of the last loop whose units are counted by thread.
    did: AtomicUsize,
}

/// What threads tell the caller.
#[repr(align(128))]
struct Finish {
    /// Units that helpers have done.
    done: AtomicUsize,
    caller_parked: AtomicBool,
    panicked: AtomicBool,
    /// Set before `caller_parked`.
    caller: Mutex<Option<Thread>>,
}

// SAFETY: a seat's `plan` is written only by the thread that has `turn`, while no loop is open, and
// read only by a thread that has claimed units which it has not yet reported as done, and of which it
// cannot be relieved (`Doing`). A loop is open until all its units are, or are relieved; claims
// (acquire) come after the plan was written (release, in `Share::open`), and the next plan is written
// after all reports were seen (`Finish::done`).
unsafe impl Sync for Shared {}
// SAFETY: as above; `body` points at a `Sync` closure that outlives the loop, see `Closer`.
unsafe impl Send for Shared {}

impl Team {
    /// A team of as many threads as there are `capacities`, the caller's first: how fast their cores
    /// are in proportion, if that is known. None are one thread.
    pub(crate) fn new(capacities: &[u32]) -> Self {
        let threads = capacities.len().max(1);
        let shared = Arc::new(Shared {
            seats: (0..threads).map(|_| Seat::new()).collect(),
            finish: Finish {
                done: AtomicUsize::new(0),
                caller_parked: AtomicBool::new(false),
                panicked: AtomicBool::new(false),
                caller: Mutex::new(None),
            },
            ending: AtomicBool::new(false),
        });
        let helpers: Vec<_> = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                // Fewer threads than asked for compute the same, only slower.
                thread::Builder::new()
                    .name(format!("potluck-{index}"))
                    .spawn(move || shared.help(index))
                    .ok()
            })
            .collect();
        let there = helpers.len() + 1;
        Self {
            shared,
            helpers,
            turn: Mutex::new(Turn {
                pace: Pace::new(capacities.get(..there).unwrap_or(&[1])),
                epoch: 0,
                kept: Vec::new(),
            }),
        }
    }

    /// A team of threads on equal cores.
    #[cfg(test)]
    pub(crate) fn equal(threads: std::num::NonZeroUsize) -> Self {
        Self::new(&vec![1; threads.get()])
    }

    /// Threads, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a loop to come will read, for helpers to fetch while they wait for it: a loop over
    /// `items`, of `item_bytes` each, of which each reads from `weights(item)` on.
    pub(crate) fn expect<'a>(
        &self,
        items: usize,
        item_bytes: usize,
        weights: impl Fn(usize) -> &'a [u8],
    ) {
        let unit = unit(items, item_bytes);
        if self.helpers.is_empty() || items <= unit {
            return;
        }
        let pace = &self.turn().pace;
        let units = items.div_ceil(unit);
        for (index, seat) in self.shared.seats[..self.threads()]
            .iter()
            .enumerate()
            .skip(1)
        {
            let first = pace.first_unit(index, units) * unit;
            if first < items {
                seat.ahead.set(weights(first));
            }
        }
    }

    /// Calls `body` with ranges that cover `0..items` once on all threads of the team, and returns
    /// when all is done. An item reads about `item_bytes` from memory, or takes as long as that:
    /// by it loops are divided, and those that are too short for several threads are not.
    ///
    /// # Panics
    /// If `body` panicked on any thread.
    pub(crate) fn run(
        &self,
        items: usize,
        item_bytes: usize,
        body: &(dyn Fn(Range<usize>) + Sync),
    ) {
        self.run_task(items, item_bytes, body, None);
    }

    /// As [`Self::run`]; helpers do the `task` in place of `body`, which has the same results.
    ///
    /// # Panics
    /// If either panicked on any thread.
    pub(super) fn run_task(
        &self,
        items: usize,
        item_bytes: usize,
        body: &(dyn Fn(Range<usize>) + Sync),
        task: Option<&Task<'_>>,
    ) {
        if self.helpers.is_empty() || items <= unit(items, item_bytes) {
            if items > 0 {
                body(0..items);
            }
            return;
        }
        let mut turn = self.turn();
        let seats = &self.shared.seats;
        turn.kept
            .retain(|&(index, _)| seats[index].doing.is_relieved());
        let bytes = items.saturating_mul(item_bytes);
        let watched = turn.pace.begin();
        let short = task.is_none() && bytes <= SHORT_BYTES;
        if turn.pace.is_alone() || short && turn.pace.was_lost_lately() {
            body(0..items);
        } else {
            self.share(items, item_bytes, body, task, &mut turn);
        }
        if let Some(begun) = watched {
            turn.pace.ended(bytes, begun);
        }
    }

    /// As [`Self::run_task`], on all threads.
    fn share(
        &self,
        items: usize,
        item_bytes: usize,
        body: &(dyn Fn(Range<usize>) + Sync),
        task: Option<&Task<'_>>,
        turn: &mut Turn,
    ) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `Closer` waits until nobody has units of this loop
        // before `body` goes away, also when `body` unwinds.
        let body: Body =
            unsafe { std::mem::transmute::<*const (dyn Fn(Range<usize>) + Sync + '_), Body>(body) };
        // A helper that is relieved of its units does not touch the task any more.
        let erased = task.map(|task| std::ptr::from_ref(task).cast());
        let mut plan = Plan::new(body, erased, items, item_bytes);
        let units = plan.units();
        plan.counted = turn.pace.is_counted(units);
        turn.epoch += 1;
        plan.epoch = turn.epoch;
        let begun = plan.counted.then(Instant::now);
        let first = self.open(&plan, &turn.pace);
        let mut closer = Closer {
            shared,
            units,
            own: first.len(),
            closed: false,
        };
        if !first.is_empty() {
            // SAFETY: `closer` keeps the body alive.
            unsafe { plan.call(&first) };
        }
        while let Some(part) = shared.claim(0) {
            closer.own += part.len();
            // SAFETY: as above.
            unsafe { plan.call(&part) };
        }
        if let Some(begun) = begun {
            let own = closer.own * plan.unit * item_bytes;
            turn.pace.took(begun.elapsed(), own);
        }
        let longest = part(units, plan.most) * plan.unit * item_bytes;
        if let Some(task) = task {
            closer.relieve(task, &plan, turn, longest);
        }
        if closer.close(turn.pace.patience(longest)) > turn.pace.lost(longest) {
            turn.pace.stalled();
        }
        if plan.counted {
            let did = |index: usize| shared.seats[index].did.swap(0, Ordering::Relaxed);
            turn.pace.count(units, closer.own, did);
        }
        assert!(
            !shared.finish.panicked.swap(false, Ordering::Relaxed),
            "a helper thread panicked"
        );
    }

    /// Opens a loop for all threads, and returns the caller's first units.
    fn open(&self, plan: &Plan, pace: &Pace) -> Range<usize> {
        let seats = &self.shared.seats[..self.threads()];
        for seat in seats {
            // SAFETY: no loop is open: `Closer` saw to that.
            unsafe { *seat.plan.get() = *plan };
            seat.most.store(plan.most, Ordering::Relaxed);
        }
        let finish = &self.shared.finish;
        finish.done.store(0, Ordering::Relaxed);
        finish.panicked.store(false, Ordering::Relaxed);
        let units = plan.units();
        let mut own = 0..pace.first_unit(1, units);
        let first = own.start..part(own.len(), plan.most);
        own.start = first.end;
        for (index, seat) in seats.iter().enumerate().skip(1) {
            let end = pace.first_unit(index + 1, units);
            seat.share.open(pace.first_unit(index, units)..end);
        }
        seats[0].share.open(own);
        if plan.is_worth_waking {
            self.wake();
        }
        first
    }

    /// Calls `body` once for each row of the equally shaped `matrices`, `[rows, width]`, with its
    /// index and its part of each, on all threads.
    ///
    /// # Panics
    /// If a matrix is not whole rows, or has another number of them than the first.
    pub(crate) fn rows<const N: usize>(
        &self,
        matrices: [&mut [f32]; N],
        width: usize,
        body: &(dyn Fn(usize, [&mut [f32]; N]) + Sync),
    ) {
        let shared = matrices.map(SharedSlice::new);
        let rows = shared.first().map_or(0, SharedSlice::len) / width.max(1);
        assert!(shared.iter().all(|m| m.len() == rows * width));
        self.run(rows, width * size_of::<f32>(), &|range| {
            for row in range {
                // SAFETY: the loop gives each row to one thread.
                let parts = shared
                    .each_ref()
                    .map(|m| unsafe { m.part(row * width..(row + 1) * width) });
                body(row, parts);
            }
        });
    }

    /// Wakes who sleeps.
    ///
    /// A helper that falls asleep at this moment may be overlooked, as no order is kept between the
    /// stores of the ranges and this load, which would cost each loop more than it is worth: nobody
    /// waits for that helper, and the next loop wakes it.
    fn wake(&self) {
        for (seat, helper) in self.shared.seats[1..].iter().zip(&self.helpers) {
            let asleep = &seat.asleep;
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed) {
                helper.thread().unpark();
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper's panic was reported by `run`.
            let _ = helper.join();
        }
    }
}

/// Takes what is left of a loop and waits for units that others took, at the latest when dropped.
struct Closer<'a> {
    shared: &'a Shared,
    units: usize,
    /// Those that the caller took.
    own: usize,
    closed: bool,
}

impl Closer<'_> {
    /// Computes in place of helpers what keeps the caller waiting for longer than it takes. That costs
    /// so little that it says nothing against working together; but the caller then does short loops
    /// of which it cannot relieve anybody alone for a while.
    fn relieve(&mut self, task: &Task<'_>, plan: &Plan, turn: &mut Turn, longest: usize) {
        let others = self.units - self.own;
        let finish = &self.shared.finish;
        if finish.is_done_within(others, turn.pace.soon(longest)) {
            return;
        }
        for (index, seat) in self.shared.seats.iter().enumerate().skip(1) {
            if !seat.doing.is_computing() {
                continue;
            }
            let Some(kept) = task.keep() else {
                return;
            };
            let Some(part) = seat.doing.relieve() else {
                continue;
            };
            turn.kept.push((index, kept));
            turn.pace.was_relieved();
            self.own += part.len();
            // SAFETY: this closer keeps the body alive.
            unsafe { plan.call(&part) };
        }
    }

    /// Returns how long it had to wait; parks after `patience`.
    fn close(&mut self, patience: Duration) -> Duration {
        // After a panic nobody should begin another part.
        while let Some(part) = self.shared.claim(0) {
            self.own += part.len();
        }
        self.closed = true;
        let others = self.units - self.own;
        self.shared.finish.wait(others, patience)
    }
}

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        if !self.closed {
            self.close(Duration::ZERO);
        }
    }
}
