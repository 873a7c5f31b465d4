//! What guests used today, in a file of the server's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::private_file;

/// Bytes of the file that are read.
const MOST_BYTES: usize = 1 << 16;

/// What guests used on one day, and when each asked something last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The day's number, see [`day_of`](crate::serve::day_of).
    day: u64,
    /// Tokens by the guest's id.
    used: BTreeMap<u64, u64>,
    /// Seconds since 1970 by the guest's id.
    seen: BTreeMap<u64, u64>,
}

impl Usage {
    /// Where it is kept.
    pub(super) fn path(home: &Home) -> PathBuf {
        home.root().join("guests-usage.json")
    }

    /// As a server of this home wrote it last. A file that cannot be read counts as none: no guest should
    /// be locked out for it.
    pub fn of(home: &Home) -> Self {
        let bytes = private_file::read(&Self::path(home), MOST_BYTES);
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

    /// The day that counts: this one, or a later one that was reached before. A clock that is set back
    /// hands out nothing again.
    pub(super) fn day(&self, today: u64) -> u64 {
        self.day.max(today)
    }

    /// Tokens that a guest used on a day.
    pub fn used(&self, id: u64, day: u64) -> u64 {
        match self.day >= day {
            true => self.used.get(&id).copied().unwrap_or(0),
            false => 0,
        }
    }

    /// When a guest asked something last, in seconds since 1970.
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
        // A clock that was set back.
        assert_eq!((again.used(7, 19_990), again.day(19_990)), (123, 20_000));
    }
}
