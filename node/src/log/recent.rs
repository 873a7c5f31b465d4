//! The most recent events, for later queries.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::record::{Level, Record};

/// Number of events kept.
pub const KEPT: usize = 1000;
/// Most events of a page. However long their text, a page fits into one message between a command
/// and its node.
const PAGE: usize = 128;

static RECENT: Recent = Recent::new();

/// The most recent events of this process.
pub fn recent() -> &'static Recent {
    &RECENT
}

/// The last [`KEPT`] events.
#[derive(Debug)]
pub struct Recent(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    /// The number of the last event.
    last: u64,
    records: VecDeque<Record>,
}

/// Some of the events that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Events in order.
    pub records: Vec<Record>,
    /// The number to continue after for the next page.
    pub last: u64,
    /// Whether more events are available now.
    pub more: bool,
    /// How many of the requested events are no longer kept.
    pub lost: u64,
}

impl Recent {
    const fn new() -> Self {
        Self(Mutex::new(Ring {
            last: 0,
            records: VecDeque::new(),
        }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an event, and assigns its number.
    pub(super) fn keep(&self, record: &mut Record) {
        let mut ring = self.ring();
        ring.last += 1;
        record.number = ring.last;
        if ring.records.len() >= KEPT {
            ring.records.pop_front();
        }
        ring.records.push_back(record.clone());
    }

    /// The next events after this number of level `least` and above, at most one page. From 0 on,
    /// events that are no longer kept do not count as lost.
    pub fn after(&self, number: u64, least: Level) -> Page {
        let ring = self.ring();
        let first = ring
            .records
            .front()
            .map_or(ring.last + 1, |record| record.number);
        let mut page = Page {
            last: number.min(ring.last),
            lost: match number {
                0 => 0,
                _ => first.saturating_sub(number.saturating_add(1)),
            },
            ..Page::default()
        };
        for record in ring.records.iter().filter(|record| record.number > number) {
            if page.records.len() >= PAGE {
                page.more = true;
                break;
            }
            page.last = record.number;
            if record.level <= least {
                page.records.push(record.clone());
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::{Fields, MOST_BYTES, words};

    fn record(level: Level) -> Record {
        Record {
            number: 0,
            time: String::new(),
            level,
            target: String::new(),
            spans: Vec::new(),
            message: String::new(),
            fields: Fields::default(),
        }
    }

    /// All events after a number, page by page.
    fn all(recent: &Recent, mut after: u64, least: Level) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let page = recent.after(after, least);
            numbers.extend(page.records.iter().map(|record| record.number));
            after = page.last;
            if !page.more {
                return numbers;
            }
        }
    }

    #[test]
    fn the_last_ones_are_kept_and_told_in_pages() {
        let recent = Recent::new();
        assert_eq!(recent.after(0, Level::Trace), Page::default());
        for at in 0..2 * KEPT {
            let level = if at % 2 == 0 {
                Level::Info
            } else {
                Level::Debug
            };
            recent.keep(&mut record(level));
        }
        let first = KEPT as u64 + 1;
        let last = 2 * KEPT as u64;
        assert!(all(&recent, 0, Level::Debug).into_iter().eq(first..=last));
        let odd = (first..=last).step_by(2);
        assert!(all(&recent, 0, Level::Info).into_iter().eq(odd));
        assert_eq!(recent.after(0, Level::Debug).lost, 0);
        assert_eq!(recent.after(first - 11, Level::Debug).lost, 10);
        assert_eq!(recent.after(last, Level::Debug).lost, 0);
        // A restarted node has fewer events: the page ends at its last one.
        assert_eq!(recent.after(last + 5, Level::Debug).last, last);
    }

    #[test]
    fn a_page_is_shorter_than_a_message_may_be() {
        let recent = Recent::new();
        for _ in 0..KEPT {
            let mut left = MOST_BYTES;
            let mut long = record(Level::Info);
            while left > 0 {
                long.message.push_str(&words(&"\"".repeat(500), &mut left));
            }
            recent.keep(&mut long);
        }
        let page = serde_json::to_vec(&recent.after(0, Level::Info)).expect("JSON");
        assert!(page.len() < 700_000, "{}", page.len());
    }
}
