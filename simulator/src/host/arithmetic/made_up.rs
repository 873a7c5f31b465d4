//! The [made-up model](potluck_protocol::made_up) of the protocol's tests, in rows as long as a real
//! model's.
//!
//! A row's bytes are its word, the placement and the position that it was made for (for the checkers), and
//! zeros.

use potluck_protocol::LayerRange;
use potluck_protocol::made_up::{self, Folds};

use super::{Arithmetic, Caches, Fault, Passed};

/// Bytes of a row that mean something.
const MEANT: usize = 16;

/// What a row is, beside its zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    word: u64,
    /// The placement that it was made for.
    epoch: u32,
    position: u32,
}

impl Row {
    /// What a token is to the first layer.
    fn embed(token: u64, epoch: u32, position: u32) -> Self {
        Self {
            word: made_up::embed(token),
            epoch,
            position,
        }
    }

    /// What is wrong with it as the row of a position, for a placement in force.
    fn fault(&self, position: u32, epoch: u32) -> Option<Fault> {
        if self.epoch < epoch {
            return Some(Fault::Stale {
                made_for: self.epoch,
                in_force: epoch,
            });
        }
        (self.position != position).then_some(Fault::Misplaced {
            made_for: self.position,
            came_as: position,
        })
    }

    /// Of the first bytes of a row.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<MEANT>()?;
        let (word, rest) = head.split_first_chunk::<8>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (position, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            word: u64::from_le_bytes(*word),
            epoch: u32::from_le_bytes(*epoch),
            position: u32::from_le_bytes(*position),
        })
    }

    /// Over the first bytes of a row.
    fn write(self, bytes: &mut [u8]) {
        if let Some((head, _)) = bytes.split_first_chunk_mut::<MEANT>() {
            head[..8].copy_from_slice(&self.word.to_le_bytes());
            head[8..12].copy_from_slice(&self.epoch.to_le_bytes());
            head[12..].copy_from_slice(&self.position.to_le_bytes());
        }
    }
}

/// The made-up model of so many layers, whose rows have so many bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeUp {
    pub(crate) layers: u32,
    pub(crate) row_bytes: usize,
}

impl Arithmetic for MadeUp {
    fn prompt(&self, session: u64, rows: u32) -> Vec<u64> {
        made_up::prompt(session, rows)
    }

    fn alone(&self, prompt: &[u64], wanted: u32) -> Vec<u64> {
        made_up::generate(self.layers, prompt, wanted as usize)
    }

    fn embed(&self, tokens: &[u64], first: u32, epoch: u32) -> Vec<u8> {
        let mut hidden = vec![0; self.row_bytes * tokens.len()];
        let rows = (first..).zip(tokens).zip(hidden.chunks_mut(self.row_bytes));
        for ((position, &token), bytes) in rows {
            Row::embed(token, epoch, position).write(bytes);
        }
        hidden
    }

    fn sample(&self, hidden: &[u8]) -> u64 {
        Row::read(hidden).map_or(0, |row| made_up::sample(row.word))
    }

    fn position(&self, row: &[u8]) -> Option<u32> {
        Row::read(row).map(|row| row.position)
    }

    fn caches(&self, layers: LayerRange, _context: u32) -> Box<dyn Caches> {
        Box::new(Memo::new(Folds::new(layers)))
    }
}

/// Caches that remember what went through all of them, so that it is not computed again.
#[derive(Debug)]
struct Memo {
    folds: Folds,
    /// Positions that all of them hold, for the rows as they are.
    filled: u32,
    /// What went into all of the layers, and came out.
    known: Known,
    /// The same of those that stayed when the stage became another: their folds hold as much.
    kept: Option<Known>,
}

/// What went into layers and came out, of each position: a real node does not compute it again.
#[derive(Debug)]
struct Known {
    layers: LayerRange,
    words: Vec<(u64, u64)>,
}

impl Known {
    fn nothing(layers: LayerRange) -> Self {
        Self {
            layers,
            words: Vec::new(),
        }
    }

    /// What comes out of these rows, if they are all known.
    fn of(&self, start: usize, words: &[u64]) -> Option<Vec<u64>> {
        let known = self.words.get(start..start + words.len())?;
        let same = known
            .iter()
            .zip(words)
            .all(|((went_in, _), word)| went_in == word);
        same.then(|| known.iter().map(|(_, out)| *out).collect())
    }
}

impl Memo {
    fn new(folds: Folds) -> Self {
        Self {
            filled: 0,
            known: Known::nothing(folds.layers()),
            kept: None,
            folds,
        }
    }

    /// Rows that follow what is held, and the layers that they had to go through.
    fn pass_words(&mut self, start: usize, words: &mut [u64]) -> [Option<LayerRange>; 2] {
        if let Some(out) = self.known.of(start, words) {
            words.copy_from_slice(&out);
            return [None, None];
        }
        let went_in = words.to_vec();
        let all = self.folds.layers();
        let kept = self.kept.take();
        let computed = match kept.filter(|kept| kept.words.len() > start) {
            None => {
                self.folds.pass(all, start, words);
                [Some(all), None]
            }
            Some(kept) => {
                let range = |first, end| LayerRange::new(first, end).unwrap_or(all);
                let before = range(all.first(), kept.layers.first());
                self.folds.pass(before, start, words);
                if let Some(out) = kept.of(start, words) {
                    let after = range(kept.layers.end(), all.end());
                    words.copy_from_slice(&out);
                    self.folds.pass(after, start, words);
                    self.kept = Some(kept);
                    [Some(before), Some(after)]
                } else {
                    // Other rows, or more: what is known of those behind is of no use any more.
                    self.folds
                        .pass(range(kept.layers.first(), all.end()), start, words);
                    [Some(all), None]
                }
            }
        };
        self.known.words.truncate(start);
        let both = went_in.into_iter().zip(words.iter().copied());
        self.known.words.extend(both);
        computed
    }
}

impl Caches for Memo {
    fn filled(&self) -> u32 {
        self.filled
    }

    fn pass(&mut self, start: u32, rows: u32, mut hidden: Vec<u8>, epoch: u32) -> Passed {
        let row_bytes = (hidden.len() / rows.max(1) as usize).max(1);
        let mut fault = None;
        let read = hidden.chunks(row_bytes).map(Row::read);
        let read: Vec<_> = read.take(rows as usize).flatten().collect();
        for (position, row) in (start..).zip(&read) {
            fault = fault.or_else(|| row.fault(position, epoch));
        }
        let mut words: Vec<_> = read.iter().map(|row| row.word).collect();
        let computed = self.pass_words(start as usize, &mut words);
        for ((row, word), bytes) in read.iter().zip(words).zip(hidden.chunks_mut(row_bytes)) {
            Row { word, ..*row }.write(bytes);
        }
        // Rows that are known from before stay, as the same rows are before them.
        self.filled = match computed {
            [None, None] => self.filled.max(start + rows),
            _ => start + rows,
        };
        Passed {
            hidden,
            fault,
            computed,
        }
    }

    fn of_layers(self: Box<Self>, layers: LayerRange) -> Box<dyn Caches> {
        let mut new = Self::new(self.folds.of_layers(layers));
        let known = [Some(self.known), self.kept].into_iter().flatten();
        let within = known.filter(|known| layers.covers(known.layers));
        new.kept = within.max_by_key(|known| known.words.len() * known.layers.len() as usize);
        Box::new(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: MadeUp = MadeUp {
        layers: 12,
        row_bytes: 64,
    };

    fn range(first: u32, end: u32) -> LayerRange {
        LayerRange::new(first, end).expect("forwards")
    }

    /// Rows of these tokens through two stages, and the token of the last.
    fn pass(stages: &mut [Box<dyn Caches>], start: usize, tokens: &[u64]) -> u64 {
        let mut hidden = MODEL.embed(&tokens[start..], start as u32, 1);
        let rows = (tokens.len() - start) as u32;
        for stage in stages {
            let passed = stage.pass(start as u32, rows, hidden, 1);
            assert_eq!(passed.fault, None);
            hidden = passed.hidden;
        }
        let last = hidden.len() - MODEL.row_bytes;
        MODEL.sample(&hidden[last..])
    }

    #[test]
    fn split_layers_give_the_tokens_of_one_device() {
        let prompt = MODEL.prompt(9, 20);
        let whole = MODEL.alone(&prompt, 16);
        for layer in [1, 5, 11] {
            let mut stages = [range(0, layer), range(layer, 12)].map(|l| MODEL.caches(l, 64));
            let mut tokens = prompt.clone();
            let mut start = 0;
            while tokens.len() < 36 {
                let next = pass(&mut stages, start, &tokens);
                start = tokens.len();
                tokens.push(next);
            }
            assert_eq!(tokens[20..], whole);
        }
    }

    #[test]
    fn what_is_known_is_not_computed_again_and_the_same() {
        let tokens = MODEL.prompt(9, 20);
        let mut small = MODEL.caches(range(4, 8), 64);
        let rows =
            |start: u32, end: u32| MODEL.embed(&tokens[start as usize..end as usize], start, 1);
        let first = small.pass(0, 20, rows(0, 20), 1);
        assert_eq!(first.computed, [Some(range(4, 8)), None]);
        let again = small.pass(5, 3, rows(5, 8), 1);
        assert_eq!((again.computed, small.filled()), ([None, None], 20));
        assert_eq!(again.hidden, first.hidden[5 * 64..8 * 64]);

        // More layers join behind: those that were there go on.
        let mut more = small.of_layers(range(4, 12));
        assert_eq!(more.filled(), 0);
        let passed = more.pass(0, 20, rows(0, 20), 1);
        assert_eq!(passed.computed, [Some(range(4, 4)), Some(range(8, 12))]);
        let mut fresh = MODEL.caches(range(4, 12), 64);
        assert_eq!(passed.hidden, fresh.pass(0, 20, rows(0, 20), 1).hidden);
        // Another row: nothing behind it is known.
        let other = MODEL.embed(&[7, 8], 10, 1);
        let passed = more.pass(10, 2, other.clone(), 1);
        assert_eq!(passed.computed, [Some(range(4, 12)), None]);
        assert_eq!(passed.hidden, fresh.pass(10, 2, other, 1).hidden);
        assert_eq!(more.filled(), 12);
    }

    #[test]
    fn rows_that_are_out_of_place_or_late_are_seen() {
        let mut stage = MODEL.caches(range(0, 12), 64);
        let misplaced = stage.pass(0, 1, MODEL.embed(&[5], 3, 2), 2).fault;
        let (made_for, came_as) = (3, 0);
        assert_eq!(misplaced, Some(Fault::Misplaced { made_for, came_as }));
        let stale = stage.pass(0, 1, MODEL.embed(&[5], 0, 1), 2).fault;
        let (made_for, in_force) = (1, 2);
        assert_eq!(stale, Some(Fault::Stale { made_for, in_force }));
    }
}
