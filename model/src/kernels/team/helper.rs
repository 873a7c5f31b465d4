//! What helpers do, and how the caller waits for them.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use super::super::task::Desk;
use super::ahead::{Ahead, Fetched};
use super::doing::Doing;
use super::plan::{Erased, Plan};
use super::{AWAKE, Finish, Seat, Share, Shared};

/// Looks between two looks at the clock, which costs as much as several of them.
const LOOKS: u32 = 32;

impl Seat {
    pub(super) fn new() -> Self {
        Self {
            share: Share::new(),
            plan: UnsafeCell::new(Plan::NONE),
            ahead: Ahead::default(),
            most: AtomicUsize::new(1),
            asleep: AtomicBool::new(false),
            doing: Doing::new(),
            did: AtomicUsize::new(0),
        }
    }
}

impl Shared {
    /// Takes a part of the loop for a thread: of its own range, or else of another's.
    pub(super) fn claim(&self, index: usize) -> Option<Range<usize>> {
        let own = &self.seats[index];
        // An earlier loop's is as good: any number of units may be taken.
        let most = own.most.load(Ordering::Relaxed);
        own.share.take_first(most).or_else(|| {
            let (before, after) = self.seats.split_at(index);
            let mut others = after[1..].iter().chain(before);
            others.find_map(|seat| seat.share.take_last(most))
        })
    }

    /// A helper's life.
    pub(super) fn help(&self, index: usize) {
        let seat = &self.seats[index];
        let (mut fetched, mut desk) = (Fetched::default(), Desk::default());
        let mut seen = 0;
        loop {
            let epoch = self.wait_for_next(seat, seen, &mut fetched);
            if self.ending.load(Ordering::Acquire) {
                return;
            }
            seen = epoch;
            fetched.stop(&seat.ahead);
            self.work(index, &mut desk);
        }
    }

    /// Takes parts until none is left, and reports them.
    fn work(&self, index: usize, desk: &mut Desk) {
        let seat = &self.seats[index];
        let (mut did, mut counted) = (0, false);
        let work = AssertUnwindSafe(|| {
            while let Some(part) = self.claim(index) {
                // SAFETY: a loop of which units are claimed and not reported is open, so its plan
                // stays as it is.
                let plan = unsafe { *seat.plan.get() };
                if let Some(task) = plan.task {
                    // SAFETY: as above, and the caller keeps the task alive.
                    if !unsafe { self.work_apart(seat, &plan, task, &part, desk) } {
                        break;
                    }
                    continue;
                }
                did += part.len();
                counted = plan.counted;
                // SAFETY: as above; the caller keeps the body alive.
                unsafe { plan.call(&part) };
            }
        });
        if catch_unwind(work).is_err() {
            self.finish.panicked.store(true, Ordering::Relaxed);
        }
        if did > 0 {
            if counted {
                seat.did.store(did, Ordering::Relaxed);
            }
            self.finish.report(did);
        }
    }

    /// Computes a part from memory that it keeps if it is relieved of the part, and reports it;
    /// false if it was relieved, and the loop may be over.
    ///
    /// # Safety
    /// The part is claimed and not reported, and the task alive until it is.
    unsafe fn work_apart(
        &self,
        seat: &Seat,
        plan: &Plan,
        task: Erased,
        part: &Range<usize>,
        desk: &mut Desk,
    ) -> bool {
        let items = plan.items_of(part);
        // SAFETY: alive, as it cannot be relieved before `begin`.
        let job = unsafe {
            (*task).copy_input(plan.epoch, desk);
            (*task).job()
        };
        seat.doing.begin(part);
        // From here on only the weights are not its own, and who relieves it keeps them.
        let compute = AssertUnwindSafe(|| {
            job.compute(items.clone(), desk);
            #[cfg(test)]
            super::tests::fall_behind();
        });
        let computed = catch_unwind(compute).is_ok();
        drop(job);
        if !seat.doing.put(part) {
            seat.doing.end();
            return false;
        }
        // SAFETY: alive, as the part is not reported and cannot be relieved any more, for which
        // reason nobody else puts its outputs.
        let put = AssertUnwindSafe(|| unsafe { (*task).put(items, desk) });
        if !computed || catch_unwind(put).is_err() {
            self.finish.panicked.store(true, Ordering::Relaxed);
        }
        if plan.counted {
            let did = seat.did.load(Ordering::Relaxed);
            seat.did.store(did + part.len(), Ordering::Relaxed);
        }
        seat.doing.end();
        self.finish.report(part.len());
        true
    }

    /// The number of the next loop after `seen`, or any if the team is ending: looks for some time,
    /// then parks.
    fn wait_for_next(&self, seat: &Seat, seen: u64, fetched: &mut Fetched) -> u64 {
        let mut since = None;
        for look in 1_u32.. {
            let epoch = seat.share.epoch();
            if epoch != seen {
                return epoch;
            }
            if !fetched.step(&seat.ahead) {
                std::hint::spin_loop();
            }
            if look.is_multiple_of(LOOKS) {
                if self.ending.load(Ordering::Acquire) {
                    break;
                }
                let now = Instant::now();
                if now.duration_since(*since.get_or_insert(now)) > AWAKE {
                    self.sleep(seat, seen);
                    since = None;
                }
            }
        }
        seen
    }

    fn sleep(&self, seat: &Seat, seen: u64) {
        seat.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // That the team ends is not overlooked: `unpark` comes after it was said.
        if seat.share.epoch() == seen && !self.ending.load(Ordering::SeqCst) {
            thread::park();
        }
        seat.asleep.store(false, Ordering::Relaxed);
    }
}

impl Finish {
    /// Tells the caller that a helper did so many units.
    fn report(&self, units: usize) {
        // Release: what was written. SeqCst here and in `wait`: either the caller sees the report, or
        // we see it parked.
        self.done.fetch_add(units, Ordering::SeqCst);
        if self.caller_parked.load(Ordering::SeqCst) {
            let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(caller) = &*caller {
                caller.unpark();
            }
        }
    }

    /// Whether helpers have done `units`, or do so within `time`.
    pub(super) fn is_done_within(&self, units: usize, time: Duration) -> bool {
        // Acquire: what helpers wrote.
        let is_done = || self.done.load(Ordering::Acquire) == units;
        let mut since = None;
        for look in 1_u32.. {
            if is_done() {
                return true;
            }
            std::hint::spin_loop();
            if look.is_multiple_of(LOOKS) {
                let now = Instant::now();
                if now.duration_since(*since.get_or_insert(now)) > time {
                    break;
                }
            }
        }
        false
    }

    /// Waits until helpers have done `units`, parked after `patience`, and returns how long that took.
    pub(super) fn wait(&self, units: usize, patience: Duration) -> Duration {
        if self.is_done_within(units, Duration::ZERO) {
            return Duration::ZERO;
        }
        let since = Instant::now();
        if !self.is_done_within(units, patience) {
            self.park_until_done(units);
        }
        since.elapsed()
    }

    fn park_until_done(&self, units: usize) {
        let caller = Some(thread::current());
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = caller;
        // Swapped, not stored: emulators have been seen to let a store pass the load after it.
        self.caller_parked.swap(true, Ordering::SeqCst);
        while self.done.load(Ordering::SeqCst) != units {
            thread::park();
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }
}
