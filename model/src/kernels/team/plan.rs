//! One loop: what is done, and into which parts it is divided.

use std::ops::Range;

use super::super::task::Task;
use super::share::MOST_UNITS;

/// Bytes that a unit reads at least: so many that taking is rare, so few that threads finish together.
pub(super) const UNIT_BYTES: usize = 16 * 1024;
/// Bytes that a part reads at most: what a thread without its core keeps from the others.
pub(super) const PART_BYTES: usize = 256 * 1024;
/// Multiply-adds that take about as long as a byte from memory, for loops that read little.
pub(crate) const MACS_A_BYTE: usize = 4;
/// Bytes of a loop for which it is worth to wake others.
pub(super) const WAKE_BYTES: usize = 64 * 1024;

/// Bytes of a loop at most that takes the caller alone less than it might have to wait for another.
pub(super) const SHORT_BYTES: usize = 512 * 1024;

/// A loop's body, its lifetime erased.
pub(super) type Body = *const (dyn Fn(Range<usize>) + Sync);

/// A loop's task, its lifetime erased.
pub(super) type Erased = *const Task<'static>;

/// The loop in hand.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) body: Body,
    /// What helpers do in its place, if they can.
    pub(super) task: Option<Erased>,
    pub(super) epoch: u64,
    pub(super) items: usize,
    /// Items of a unit.
    pub(super) unit: usize,
    /// Units of a part, at most.
    pub(super) most: usize,
    /// Whether units are counted by thread.
    pub(super) counted: bool,
    pub(super) is_worth_waking: bool,
}

impl Plan {
    pub(super) const NONE: Self = Self {
        body: &|_| (),
        task: None,
        epoch: 0,
        items: 0,
        unit: 1,
        most: 1,
        counted: false,
        is_worth_waking: false,
    };

    /// A loop over `items` that read `item_bytes` each.
    pub(super) fn new(body: Body, task: Option<Erased>, items: usize, item_bytes: usize) -> Self {
        let unit = unit(items, item_bytes);
        Self {
            body,
            task,
            epoch: 0,
            items,
            unit,
            most: (PART_BYTES / item_bytes.max(1) / unit).max(1),
            counted: false,
            is_worth_waking: items.saturating_mul(item_bytes) >= WAKE_BYTES,
        }
    }

    pub(super) fn units(&self) -> usize {
        self.items.div_ceil(self.unit)
    }

    pub(super) fn items_of(&self, units: &Range<usize>) -> Range<usize> {
        units.start * self.unit..self.items.min(units.end * self.unit)
    }

    /// Runs the body for some units.
    ///
    /// # Safety
    /// The body is alive.
    pub(super) unsafe fn call(&self, units: &Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { (*self.body)(self.items_of(units)) };
    }
}

/// Items of a unit.
pub(super) fn unit(items: usize, item_bytes: usize) -> usize {
    let least = items.div_ceil(MOST_UNITS);
    (UNIT_BYTES / item_bytes.max(1)).max(least).max(1)
}
