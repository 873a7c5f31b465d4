//! The memory budget set by the owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use potluck_protocol::wire::limits::MAX_BYTES;

/// A budget in bytes for weights and KV caches. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    reserved: AtomicU64,
}

/// A part of a budget. Dropping it gives the bytes back.
#[derive(Debug)]
#[must_use = "it is given back when dropped"]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: u64,
}

/// The budget has fewer bytes available than requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes are needed, and {available} of the {limit} that this device offers are free"
)]
pub struct NoRoom {
    /// Bytes requested.
    pub needed: u64,
    /// Bytes available.
    pub available: u64,
    /// The whole budget in bytes.
    pub limit: u64,
}

impl MemoryBudget {
    /// A budget of `limit` bytes; unlimited if `None`.
    pub fn new(limit: Option<u64>) -> Self {
        Self(Arc::new(Inner {
            // A peer cannot be sent a larger number.
            limit: limit.unwrap_or(MAX_BYTES).min(MAX_BYTES),
            reserved: AtomicU64::new(0),
        }))
    }

    /// The whole budget in bytes; [`MAX_BYTES`] if there is no limit.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes reserved.
    pub fn reserved(&self) -> u64 {
        self.0.reserved.load(Ordering::Relaxed)
    }

    /// Bytes that can still be reserved.
    pub fn available(&self) -> u64 {
        self.limit().saturating_sub(self.reserved())
    }

    /// Reserves `bytes` for optional use, if an eighth of the budget stays free for required use.
    pub fn reserve_spare(&self, bytes: u64) -> Option<Reservation> {
        let spare = self.available().saturating_sub(self.limit() / 8);
        (bytes <= spare).then(|| self.reserve(bytes).ok()).flatten()
    }

    /// Reserves `bytes`.
    ///
    /// # Errors
    /// Fewer bytes are available.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        let limit = self.limit();
        let more = |reserved: u64| reserved.checked_add(bytes).filter(|&sum| sum <= limit);
        let relaxed = Ordering::Relaxed;
        match self.0.reserved.fetch_update(relaxed, relaxed, more) {
            Ok(_) => Ok(Reservation {
                budget: self.clone(),
                bytes,
            }),
            Err(reserved) => Err(NoRoom {
                needed: bytes,
                available: limit.saturating_sub(reserved),
                limit,
            }),
        }
    }
}

impl Reservation {
    /// The size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Merges another reservation of the same budget.
    pub fn join(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget.0, &other.budget.0));
        self.bytes += other.bytes;
        other.bytes = 0;
    }

    /// Splits off `bytes`, or everything if there are fewer.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: self.budget.clone(),
            bytes,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let reserved = &self.budget.0.reserved;
        reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_comes_back_once() {
        let budget = MemoryBudget::new(Some(100));
        let mut whole = budget.reserve(100).expect("all of it");
        assert_eq!(budget.available(), 0);
        let part = whole.split(30);
        assert_eq!(
            (whole.bytes(), part.bytes(), budget.reserved()),
            (70, 30, 100)
        );
        drop(whole);
        assert_eq!(budget.available(), 70);
        let refused = budget.clone().reserve(71).expect_err("one too many");
        assert_eq!(
            (refused.needed, refused.available, refused.limit),
            (71, 70, 100)
        );
        drop(part);
        assert_eq!(budget.available(), 100);
        assert!(budget.reserve(u64::MAX).is_err());
    }

    #[test]
    fn no_limit_is_one_that_can_be_told() {
        assert_eq!(MemoryBudget::new(None).available(), MAX_BYTES);
        assert_eq!(MemoryBudget::new(Some(u64::MAX)).available(), MAX_BYTES);
    }
}
