//! Bounded reading of little-endian fields.

use std::fmt::Display;

use bytes::Bytes;

use super::GgufError;

/// A position in a file's bytes; every read is checked against what is left.
///
/// Readers say what they read (`item`), so that an error can name it; it is formatted only then.
pub(super) struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far, which is the offset of the next one.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: u64, item: &dyn Display) -> Result<&'a [u8], GgufError> {
        let length = self.bounded(length, 1, item)?;
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    /// The next `length` bytes, sharing the file's memory.
    pub(super) fn share(&mut self, length: u64, item: &dyn Display) -> Result<Bytes, GgufError> {
        let start = self.at;
        self.take(length, item)?;
        Ok(self.since(start))
    }

    /// Everything from `start`, an offset reached before, to here, sharing the file's memory.
    pub(super) fn since(&self, start: usize) -> Bytes {
        self.bytes.slice(start..self.at)
    }

    /// `count` as a `usize`, if that many entries of at least `entry_bytes` each can still follow.
    pub(super) fn bounded(
        &self,
        count: u64,
        entry_bytes: u64,
        item: &dyn Display,
    ) -> Result<usize, GgufError> {
        let needed = count.saturating_mul(entry_bytes);
        let available = self.remaining() as u64;
        match usize::try_from(count) {
            Ok(count) if needed <= available => Ok(count),
            _ => Err(GgufError::Truncated {
                item: item.to_string(),
                offset: self.at as u64,
                needed,
                available,
            }),
        }
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        item: &dyn Display,
    ) -> Result<[u8; N], GgufError> {
        let taken = self.take(N as u64, item)?;
        Ok(taken.try_into().expect("take returns the length asked for"))
    }

    pub(super) fn u32(&mut self, item: &dyn Display) -> Result<u32, GgufError> {
        self.array(item).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, item: &dyn Display) -> Result<u64, GgufError> {
        self.array(item).map(u64::from_le_bytes)
    }

    /// A count of at most `limit`.
    pub(super) fn count(&mut self, limit: u64, item: &dyn Display) -> Result<u64, GgufError> {
        let offset = self.at as u64;
        let count = self.u64(item)?;
        if count > limit {
            return Err(GgufError::TooMany {
                item: item.to_string(),
                offset,
                count,
                limit,
            });
        }
        Ok(count)
    }

    /// A length-prefixed string of any bytes.
    pub(super) fn string(&mut self, item: &dyn Display) -> Result<Bytes, GgufError> {
        let length = self.u64(item)?;
        self.share(length, item)
    }

    /// A length-prefixed UTF-8 name of at most `limit` bytes.
    pub(super) fn name(&mut self, limit: u64, item: &dyn Display) -> Result<String, GgufError> {
        let length = self.count(limit, &format_args!("length of {item}"))?;
        let offset = self.at as u64;
        let bytes = self.take(length, item)?;
        match str::from_utf8(bytes) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => Err(GgufError::InvalidName {
                item: item.to_string(),
                offset,
            }),
        }
    }
}
