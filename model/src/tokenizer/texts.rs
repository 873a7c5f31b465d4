//! Packed lists of texts, and lookup of a text's number.

use std::hash::Hasher;

use bytes::Bytes;
use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::TokenizerError;
use crate::gguf::StringArray;

const PREFIX_BYTES: usize = size_of::<u64>();

/// Texts, each preceded by its length in eight little-endian bytes.
///
/// This is the layout of a string array in a GGUF file, so the texts of a mapped file are used in
/// place and take only four more bytes each. They should be UTF-8 but need not be.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    data: Bytes,
    // INVARIANT: ascending; at each start are the text's length and then the text.
    starts: Box<[u32]>,
}

impl Texts {
    /// Packs copies of these texts.
    ///
    /// # Errors
    /// [`TokenizerError::TooLarge`] beyond 4 GiB.
    pub fn pack<T: AsRef<[u8]>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, TokenizerError> {
        let mut data = Vec::new();
        let mut starts = Vec::new();
        for text in texts {
            starts.push(start_of(data.len())?);
            data.extend_from_slice(&(text.as_ref().len() as u64).to_le_bytes());
            data.extend_from_slice(text.as_ref());
        }
        Ok(Self {
            data: data.into(),
            starts: starts.into(),
        })
    }

    /// Creates a view of a file's texts.
    ///
    /// # Errors
    /// [`TokenizerError::TooLarge`] beyond 4 GiB.
    pub fn view(array: &StringArray) -> Result<Self, TokenizerError> {
        let mut starts = Vec::with_capacity(array.len());
        let mut at = 0;
        for text in array.iter_bytes() {
            starts.push(start_of(at)?);
            at += PREFIX_BYTES + text.len();
        }
        Ok(Self {
            data: array.encoded().clone(),
            starts: starts.into(),
        })
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The text with this number; empty beyond the last.
    pub fn get(&self, number: u32) -> &[u8] {
        let Some(&start) = self.starts.get(number as usize) else {
            return &[];
        };
        let (length, rest) = self.data[start as usize..]
            .split_first_chunk()
            .expect("every start is that of a length");
        &rest[..u64::from_le_bytes(*length) as usize]
    }

    /// The texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        // The cast is exact: there are at most 4 GiB of texts, which take at least eight bytes
        // each.
        (0..self.starts.len()).map(|number| self.get(number as u32))
    }
}

fn start_of(at: usize) -> Result<u32, TokenizerError> {
    at.try_into().map_err(|_| TokenizerError::TooLarge)
}

/// Looks up the number of a text among [`Texts`], in about five bytes per text.
///
/// A text may be given in two parts, as merges are stored and looked up.
#[derive(Clone, Default)]
pub(super) struct TextIndex {
    table: HashTable<u32>,
}

impl TextIndex {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            table: HashTable::with_capacity(capacity),
        }
    }

    /// Adds a text. If an equal one exists, returns its number instead.
    ///
    /// `parts_of` returns the parts of the text with a number, in the same split as when it was
    /// added.
    pub(super) fn insert<'t>(
        &mut self,
        number: u32,
        parts_of: impl Fn(u32) -> [&'t [u8]; 2],
    ) -> Option<u32> {
        let parts = parts_of(number);
        let found = self.find(parts, &parts_of);
        if found.is_none() {
            self.table
                .insert_unique(hash(parts), number, |&other| hash(parts_of(other)));
        }
        found
    }

    pub(super) fn find<'t>(
        &self,
        parts: [&[u8]; 2],
        parts_of: impl Fn(u32) -> [&'t [u8]; 2],
    ) -> Option<u32> {
        self.table
            .find(hash(parts), |&number| parts_of(number) == parts)
            .copied()
    }
}

fn hash(parts: [&[u8]; 2]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(parts[0]);
    hasher.write(parts[1]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails with the error"
    )]

    use super::*;

    #[test]
    fn texts_are_found_by_number_and_by_content() {
        let texts = Texts::pack(["", "a", "bc", "ü"]).unwrap();
        assert_eq!(texts.len(), 4);
        assert_eq!(texts.get(2), b"bc");
        assert_eq!(texts.get(4), b"");
        let parts = |number| [texts.get(number), &[]];
        let mut index = TextIndex::with_capacity(4);
        for number in 0..4 {
            assert_eq!(index.insert(number, parts), None);
        }
        assert_eq!(index.insert(1, parts), Some(1));
        assert_eq!(index.find(["ü".as_bytes(), &[]], parts), Some(3));
        assert_eq!(index.find([b"", b""], parts), Some(0));
        assert_eq!(index.find([b"b", b"c"], parts), None);
        assert_eq!(index.find([b"x", b""], parts), None);
    }
}
