//! How much room is left in a log, and for which entries.
//!
//! INVARIANT: there is room for [`RESERVED_REVOCATIONS`] revocations by each device that ever was a member,
//! less those that it has written, whatever others write. So a member that fills the log can still be
//! revoked, by every other member. Only a log that was stored under earlier, wider bounds may lack that
//! room; then only such revocations are accepted, as long as they fit.

use std::collections::BTreeMap;

use super::entry::{Act, Entry};
use super::{
    EntryError, MAX_ADMISSIONS_PER_AUTHOR, MAX_ENTRIES, MAX_LOG_BYTES, MAX_NAMES_PER_AUTHOR,
    RESERVED_REVOCATIONS,
};
use crate::PeerId;

/// Bytes that are kept for each of these revocations: with four parents, which is more than an
/// [expulsion](Act::Expel) has.
const RESERVED_BYTES: usize = 2 + 2 + 32 + 4 + 1 + 4 * 32 + 32 + 64;

/// What a log holds.
#[derive(Debug, Clone)]
pub(super) struct Room {
    entries: usize,
    /// Of the stored log: its version, and all entries with their lengths.
    bytes: usize,
    /// Of each device that ever was a member.
    written: BTreeMap<PeerId, Written>,
    /// Revocations that devices may still write whatever else is written.
    reserved: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Written {
    admissions: usize,
    names: usize,
    revocations: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            entries: 0,
            bytes: 1,
            written: BTreeMap::new(),
            reserved: 0,
        }
    }
}

impl Room {
    /// Whether there is room for one more entry.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), EntryError> {
        let written = self.written.get(&entry.author()).copied();
        let written = written.unwrap_or_default();
        let share = match entry.act() {
            Act::Admit { .. } if written.admissions >= MAX_ADMISSIONS_PER_AUTHOR => {
                return Err(EntryError::AuthorFull);
            }
            Act::Rename { .. } if written.names >= MAX_NAMES_PER_AUTHOR => {
                return Err(EntryError::TooManyNames);
            }
            Act::Found { .. } | Act::Admit { .. } | Act::Rename { .. } => 3,
            Act::Revoke { .. } | Act::Expel { .. } => 4,
        };
        let reserved = self.reserved_after(entry);
        let entries = self.entries + 1 + reserved;
        let bytes = self.bytes + stored_len(entry) + RESERVED_BYTES * reserved;
        // One that is reserved for fits by the invariant, if it has as few bytes as that says.
        let is_reserved = reserved < self.reserved;
        if is_reserved && stored_len(entry) <= RESERVED_BYTES {
            return self.check_stored(entry);
        }
        let within =
            |used: usize, all: usize| used <= if is_reserved { all } else { all / 4 * share };
        if within(entries, MAX_ENTRIES) && within(bytes, MAX_LOG_BYTES) {
            Ok(())
        } else {
            Err(EntryError::LogFull)
        }
    }

    /// Whether the log can hold one more entry at all, with nothing reserved for others.
    pub(super) fn check_stored(&self, entry: &Entry) -> Result<(), EntryError> {
        let bytes = self.bytes + stored_len(entry);
        if self.entries < MAX_ENTRIES && bytes <= MAX_LOG_BYTES {
            Ok(())
        } else {
            Err(EntryError::LogFull)
        }
    }

    /// Counts an entry that is taken.
    pub(super) fn take(&mut self, entry: &Entry) {
        self.reserved = self.reserved_after(entry);
        self.entries += 1;
        self.bytes += stored_len(entry);
        if let Act::Admit { peer, .. } = entry.act() {
            self.written.entry(*peer).or_default();
        }
        let written = self.written.entry(entry.author()).or_default();
        match entry.act() {
            Act::Found { .. } => {}
            Act::Admit { .. } => written.admissions += 1,
            Act::Rename { .. } => written.names += 1,
            Act::Revoke { .. } | Act::Expel { .. } => written.revocations += 1,
        }
    }

    fn reserved_after(&self, entry: &Entry) -> usize {
        let is_new = |peer: PeerId| !self.written.contains_key(&peer);
        let written = self.written.get(&entry.author());
        match entry.act() {
            Act::Found { .. } => self.reserved + RESERVED_REVOCATIONS,
            Act::Admit { peer, .. } if is_new(*peer) => self.reserved + RESERVED_REVOCATIONS,
            Act::Revoke { .. } | Act::Expel { .. }
                if written.is_some_and(|w| w.revocations < RESERVED_REVOCATIONS) =>
            {
                self.reserved.saturating_sub(1)
            }
            Act::Admit { .. } | Act::Revoke { .. } | Act::Expel { .. } | Act::Rename { .. } => {
                self.reserved
            }
        }
    }
}

fn stored_len(entry: &Entry) -> usize {
    2 + entry.to_bytes().len()
}
