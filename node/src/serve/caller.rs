//! Callers: who sends a request, whose turn is next, and a guest's token budget.
//!
//! The owner goes first: of the queued requests, the owner's start before those of guests, and
//! guests take turns. While both are being answered, guests get a fifth of the time ([`Courtesy`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The sender of a request.
#[derive(Debug, Clone, Default)]
pub enum Caller {
    /// The owner of this device.
    #[default]
    Owner,
    /// A guest, with its token budget.
    Guest(Arc<Tab>),
}

/// Identifies a caller. The owner sorts before all guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallerId {
    Owner,
    Guest(u64),
}

/// A guest's token use and limit for today, shared by all its requests. Each token counts as soon
/// as it is processed or generated for one of them.
#[derive(Debug)]
pub struct Tab {
    id: u64,
    used: AtomicU64,
    limit: AtomicU64,
    withdrawn: AtomicBool,
}

impl Tab {
    /// The tab of the guest with this id; ids are never reused.
    pub fn new(id: u64, used: u64, limit: u64) -> Self {
        Self {
            id,
            used: AtomicU64::new(used),
            limit: AtomicU64::new(limit),
            withdrawn: AtomicBool::new(false),
        }
    }

    /// The guest's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Tokens used today.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Tokens left for today.
    pub fn left(&self) -> u64 {
        let limit = self.limit.load(Ordering::Relaxed);
        limit.saturating_sub(self.used())
    }

    /// Resets the use at the start of a new day.
    pub fn begin_day(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// Sets the limit of tokens per day.
    pub fn set_limit(&self, tokens: u64) {
        self.limit.store(tokens, Ordering::Relaxed);
    }

    /// Withdraws or restores the guest's access. Withdrawing ends its running answers within a
    /// step.
    pub fn set_withdrawn(&self, withdrawn: bool) {
        self.withdrawn.store(withdrawn, Ordering::Relaxed);
    }

    /// Whether the guest's access is withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }
}

impl Caller {
    pub(super) fn id(&self) -> CallerId {
        match self {
            Self::Owner => CallerId::Owner,
            Self::Guest(tab) => CallerId::Guest(tab.id),
        }
    }

    pub(super) fn is_guest(&self) -> bool {
        matches!(self, Self::Guest(_))
    }

    /// Counts tokens that were processed or generated.
    pub(crate) fn charge(&self, tokens: usize) {
        if let Self::Guest(tab) = self {
            tab.used.fetch_add(tokens as u64, Ordering::Relaxed);
        }
    }

    /// Tokens left for today; unlimited for the owner.
    pub(super) fn left(&self) -> u64 {
        match self {
            Self::Owner => u64::MAX,
            Self::Guest(tab) => tab.left(),
        }
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        match self {
            Self::Owner => false,
            Self::Guest(tab) => tab.is_withdrawn(),
        }
    }
}

impl CallerId {
    pub(super) fn is_guest(self) -> bool {
        self != Self::Owner
    }
}

/// The number of the UTC day since 1970. Token limits apply per such day.
pub fn day_of(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / DAY.as_secs()
}

/// Time until the next UTC day.
pub fn until_next_day(now: SystemTime) -> Duration {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    DAY - Duration::from_secs(since.as_secs() % DAY.as_secs())
}

/// Decides whose request starts next.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When each guest's last request started, counted in started guest requests.
    last: HashMap<u64, u64>,
    count: u64,
}

impl Turns {
    /// The most guests remembered. Beyond that, all turns are reset.
    const MOST: usize = 256;

    /// The index of the next request, given the callers in order of arrival.
    pub(super) fn next<'a>(&self, waiting: impl Iterator<Item = &'a Caller>) -> Option<usize> {
        let turn = |caller: &Caller| match caller.id() {
            CallerId::Owner => (false, 0),
            CallerId::Guest(id) => (true, self.last.get(&id).copied().unwrap_or(0)),
        };
        // Ties go to the first in the queue.
        let next = waiting.enumerate().min_by_key(|(_at, caller)| turn(caller));
        next.map(|(at, _caller)| at)
    }

    /// Puts this guest ahead of all other guests, because its request could not start.
    pub(super) fn goes_first(&mut self, caller: CallerId) {
        if let CallerId::Guest(id) = caller {
            self.last.remove(&id);
        }
    }

    /// Records that a request has started.
    pub(super) fn begun(&mut self, caller: CallerId) {
        if let CallerId::Guest(id) = caller {
            if self.last.len() >= Self::MOST {
                self.last.clear();
            }
            self.count += 1;
            self.last.insert(id, self.count);
        }
    }
}

/// Whose requests a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    All,
    Owner,
    Guests,
}

impl Side {
    pub(super) fn has(self, caller: &Caller) -> bool {
        match self {
            Self::All => true,
            Self::Owner => !caller.is_guest(),
            Self::Guests => caller.is_guest(),
        }
    }
}

/// Shares time between the owner and guests while both are being answered. Guests get separate
/// steps for a fifth of the time, so the owner's answers keep four fifths of their full speed.
#[derive(Debug)]
pub(super) struct Courtesy {
    /// Seconds that the owner is due before guests are next.
    owed: f64,
}

/// Seconds that the owner gets for each second of guests.
pub(super) const OWNER_SECONDS: u32 = 4;
/// Seconds that the owner gets first when both begin to be served.
const FIRST_SECONDS: f64 = 0.05;

impl Default for Courtesy {
    fn default() -> Self {
        Self {
            owed: FIRST_SECONDS,
        }
    }
}

impl Courtesy {
    /// Whose step is next, given the numbers of running requests.
    pub(super) fn next(&mut self, owner: usize, guests: usize) -> Side {
        if owner == 0 || guests == 0 {
            *self = Self::default();
            return Side::All;
        }
        match self.owed > 0.0 {
            true => Side::Owner,
            false => Side::Guests,
        }
    }

    /// Records how long a step took.
    pub(super) fn took(&mut self, side: Side, time: Duration) {
        match side {
            Side::All => {}
            Side::Owner => self.owed -= time.as_secs_f64(),
            Side::Guests => self.owed += f64::from(OWNER_SECONDS) * time.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(id: u64) -> Caller {
        Caller::Guest(Arc::new(Tab::new(id, 0, 10)))
    }

    #[test]
    fn the_owner_goes_first_and_guests_take_turns() {
        let mut turns = Turns::default();
        let mut waiting = vec![
            guest(1),
            guest(1),
            guest(1),
            guest(2),
            guest(3),
            Caller::Owner,
        ];
        let mut order = Vec::new();
        while let Some(at) = turns.next(waiting.iter()) {
            let caller = waiting.remove(at);
            turns.begun(caller.id());
            order.push(caller.id());
            if order.len() == 3 {
                waiting.push(Caller::Owner);
            }
        }
        let [owner, one, two, three] = [
            CallerId::Owner,
            CallerId::Guest(1),
            CallerId::Guest(2),
            CallerId::Guest(3),
        ];
        assert_eq!(order, [owner, one, two, owner, three, one, one]);
    }

    #[test]
    fn guests_get_a_fifth_of_the_time_beside_the_owner() {
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.next(0, 3), Side::All);
        assert_eq!(courtesy.next(2, 0), Side::All);
        let (mut owner, mut guests) = (0, 0);
        let mut first = None;
        for _ in 0..1000 {
            let side = courtesy.next(1, 4);
            first.get_or_insert(side);
            let millis = match side {
                Side::Owner => 10,
                _ => 35,
            };
            courtesy.took(side, Duration::from_millis(millis));
            match side {
                Side::Owner => owner += millis,
                _ => guests += millis,
            }
        }
        assert_eq!(first, Some(Side::Owner));
        assert!(owner >= 4 * guests - 200, "{owner} {guests}");
        assert!(owner <= 4 * guests + 200, "{owner} {guests}");
    }

    #[test]
    fn tokens_are_counted_for_guests_and_days_are_those_of_utc() {
        let tab = Arc::new(Tab::new(1, 4, 10));
        let caller = Caller::Guest(Arc::clone(&tab));
        caller.charge(5);
        assert_eq!((tab.used(), caller.left()), (9, 1));
        caller.charge(5);
        assert_eq!(caller.left(), 0);
        tab.set_limit(20);
        assert_eq!(caller.left(), 6);
        tab.begin_day();
        assert_eq!(caller.left(), 20);
        assert_eq!(Caller::Owner.left(), u64::MAX);
        let late = UNIX_EPOCH + 3 * DAY - Duration::from_secs(5);
        assert_eq!((day_of(late), until_next_day(late).as_secs()), (2, 5));
        assert_eq!(until_next_day(UNIX_EPOCH), DAY);
    }
}
