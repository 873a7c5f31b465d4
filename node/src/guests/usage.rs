//! Tokens that guests used today, in a file that the server writes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::private_file;

/// The largest file that is read, in bytes.
const MOST_BYTES: usize = 1 << 16;

/// Tokens that guests used on one day, and the time of each guest's last request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The day number; see [`day_of`](crate::serve::day_of).
    day: u64,
    /// Tokens used, by guest id.
    used: BTreeMap<u64, u64>,
    /// The last request in seconds since 1970, by guest id.
    seen: BTreeMap<u64, u64>,
}

impl Usage {
    /// The path of the file.
    pub(super) fn path(home: &Home) -> PathBuf {
        home.root().join("guests-usage.json")
    }

    /// The usage last saved by a server of this home. An unreadable file counts as empty, so that
    /// it does not lock guests out.
    pub fn of(home: &Home) -> Self {
        Self::read(&Self::path(home))
    }

    pub(super) fn read(path: &Path) -> Self {
        let bytes = private_file::read(path, MOST_BYTES);
        let bytes = bytes.ok().flatten();
        let usage = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        usage.unwrap_or_default()
    }

    pub(super) fn new(day: u64) -> Self {
        Self {
            day,
            ..Self::default()
        }
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        private_file::replace(path, &serde_json::to_vec(self)?)
    }

    /// The day that tokens are counted for.
    pub(super) fn day(&self, today: u64) -> u64 {
        later_day(self.day, today)
    }

    /// Tokens that a guest used on this day.
    pub fn used(&self, id: u64, day: u64) -> u64 {
        match self.day >= day {
            true => self.used.get(&id).copied().unwrap_or(0),
            false => 0,
        }
    }

    /// The time of a guest's last request, in seconds since 1970.
    pub fn seen(&self, id: u64) -> Option<u64> {
        self.seen.get(&id).copied()
    }

    pub(super) fn note(&mut self, id: u64, used: u64, seen: Option<u64>) {
        self.used.insert(id, used);
        if let Some(seen) = seen {
            self.seen.insert(id, seen);
        }
    }
}

/// The day to count for: `today`, or the day `before` it that was already reached. Setting the clock
/// back therefore does not renew anyone's tokens. A day further ahead than tomorrow was a mistake of
/// the clock: were it kept, nobody would get new tokens before it comes.
pub(super) fn later_day(before: u64, today: u64) -> u64 {
    match before > today + 1 {
        true => today,
        false => before.max(today),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_there_after_a_restart_and_not_the_next_day() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path());
        assert_eq!(Usage::of(&home), Usage::default());
        let mut usage = Usage::new(20_000);
        usage.note(7, 123, Some(5));
        usage.write(&Usage::path(&home)).expect("writable");
        let again = Usage::of(&home);
        assert_eq!(again, usage);
        assert_eq!((again.used(7, 20_000), again.used(8, 20_000)), (123, 0));
        assert_eq!((again.used(7, 20_001), again.seen(7)), (0, Some(5)));
        // The clock was set back.
        assert_eq!((again.used(7, 19_999), again.day(19_999)), (123, 20_000));
        // The clock was wrong before: nothing is given back, and tomorrow comes tomorrow.
        assert_eq!((again.used(7, 19_000), again.day(19_000)), (123, 19_000));
    }
}
