//! Which pieces of a model are kept, and their log.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::manifest::Manifest;
use crate::private_file;

/// Pieces that are kept, by object and number.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Of each object of the manifest, of each piece.
    kept: Vec<Vec<bool>>,
    bytes: u64,
}

/// Bytes of an entry of the log.
const ENTRY: usize = 8;

impl Pieces {
    /// None.
    pub(super) fn none(manifest: &Manifest) -> Self {
        let objects = manifest.objects();
        let kept = objects.map(|(_, object)| vec![false; object.pieces() as usize]);
        Self {
            kept: kept.collect(),
            bytes: 0,
        }
    }

    /// Those of a log; what is no entry of this manifest is passed over, and so is an end that was cut.
    pub(super) fn of_log(manifest: &Manifest, log: &[u8]) -> Self {
        let mut pieces = Self::none(manifest);
        for entry in log.as_chunks::<ENTRY>().0 {
            let [a, b, c, d, e, f, g, h] = *entry;
            let object = u32::from_le_bytes([a, b, c, d]);
            let piece = u32::from_le_bytes([e, f, g, h]);
            pieces.insert(manifest, object as usize, piece);
        }
        pieces
    }

    /// Bytes of those that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn contains(&self, object: usize, piece: u32) -> bool {
        let pieces = self.kept.get(object);
        let piece = pieces.and_then(|pieces| pieces.get(piece as usize));
        piece.copied().unwrap_or(false)
    }

    /// Whether an object is whole.
    pub(super) fn has_all_of(&self, object: usize) -> bool {
        let pieces = self.kept.get(object);
        pieces.is_some_and(|pieces| pieces.iter().all(|kept| *kept))
    }

    /// Numbers of an object's pieces that are missing.
    pub(super) fn missing_of(&self, object: usize) -> Vec<u32> {
        let pieces = self.kept.get(object).into_iter().flatten();
        let missing = (0..).zip(pieces).filter(|(_, kept)| !**kept);
        missing.map(|(piece, _)| piece).collect()
    }

    /// All that are kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        self.kept.iter().enumerate().flat_map(|(object, pieces)| {
            let kept = (0..).zip(pieces).filter(|(_, kept)| **kept);
            kept.map(move |(piece, _)| (object, piece))
        })
    }

    pub(super) fn insert(&mut self, manifest: &Manifest, object: usize, piece: u32) {
        self.set(manifest, object, piece, true);
    }

    pub(super) fn remove(&mut self, manifest: &Manifest, object: usize, piece: u32) {
        self.set(manifest, object, piece, false);
    }

    fn set(&mut self, manifest: &Manifest, object: usize, piece: u32, kept: bool) {
        let place = self.kept.get_mut(object);
        let place = place.and_then(|pieces| pieces.get_mut(piece as usize));
        let Some(before) = place.map(|place| std::mem::replace(place, kept)) else {
            return;
        };
        let range = manifest.objects().nth(object);
        let range = range.and_then(|(_, object)| object.piece(piece));
        let bytes = range.map_or(0, |range| range.bytes());
        match (before, kept) {
            (false, true) => self.bytes += bytes,
            (true, false) => self.bytes -= bytes,
            _ => {}
        }
    }

    /// Writes a log of exactly these.
    pub(super) fn store(&self, log: &Path) -> io::Result<()> {
        let entries = self.iter().flat_map(|(object, piece)| entry(object, piece));
        private_file::replace(log, &entries.collect::<Vec<_>>())
    }
}

/// Adds a piece to a log.
pub(super) fn append(log: &mut File, object: usize, piece: u32) -> io::Result<()> {
    log.write_all(&entry(object, piece))
}

fn entry(object: usize, piece: u32) -> [u8; ENTRY] {
    let object = u32::try_from(object).unwrap_or(u32::MAX);
    let (a, b) = (object.to_le_bytes(), piece.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}
