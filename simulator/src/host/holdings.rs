//! What a device holds for sessions: weights and caches, within its owner's budget.

use std::collections::BTreeMap;
use std::ops::Range;

use potluck_protocol::machine::LoadRefused;
use potluck_protocol::placement::ModelShape;
use potluck_protocol::stage::{Load, StepPart};
use potluck_protocol::wire::StageRefusedCode;
use potluck_protocol::{LayerRange, PlanEpoch, SessionId};

use super::arithmetic::{Caches, Row};
use super::recall::{DIGEST_BYTES, Recall};
use crate::device::Rows;

/// A session's stage.
#[derive(Debug)]
struct Held {
    layers: LayerRange,
    context: u32,
    epoch: PlanEpoch,
    cache_bytes: u64,
    caches: Caches,
    /// The caches hold the positions before this.
    filled: u32,
    /// Of all the layers.
    recall: Option<Recall>,
    /// Of those layers that the stage had when it was another.
    kept: Option<Recall>,
}

impl Held {
    fn recall_bytes(&self) -> u64 {
        let recalls = [&self.recall, &self.kept].into_iter().flatten();
        recalls.map(Recall::bytes).sum()
    }
}

/// Weights and caches of a device.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    sessions: BTreeMap<SessionId, Held>,
    /// Of each layer, how many sessions use its weights.
    users: Vec<u16>,
    weight_bytes: u64,
    cache_bytes: u64,
    /// Of what was computed for sessions, while nobody needs the room.
    recall_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// What loading a stage came to.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Bytes reserved, or why not.
    pub(crate) result: Result<u64, LoadRefused>,
    /// Bytes of weights that were not here before.
    pub(crate) new_bytes: u64,
}

/// What a part of a step came to.
#[derive(Debug)]
pub(crate) struct Computed {
    /// The hidden states; none if it could not be computed.
    pub(crate) hidden: Vec<u8>,
    /// What is wrong, for the checkers.
    pub(crate) fault: Option<Fault>,
    /// The rows as their layers' time depends on them; none if all were known.
    pub(crate) rows: Vec<Rows>,
}

impl Computed {
    fn nothing(hidden: Vec<u8>, fault: Option<Fault>) -> Self {
        Self {
            hidden,
            fault,
            rows: Vec::new(),
        }
    }
}

/// What is wrong with rows that were computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Rows before them are missing.
    Gap {
        /// Rows that are held.
        held: u32,
    },
    /// They were made for an older placement than the one that the stage was loaded for.
    Stale {
        /// Theirs.
        made_for: u32,
        /// The stage's.
        in_force: u32,
    },
    /// One is not at its position.
    Misplaced {
        /// The position that it was made for.
        made_for: u32,
        /// Where it came.
        came_as: u32,
    },
}

impl Holdings {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.weight_bytes + self.cache_bytes + self.recall_bytes
    }

    /// Layers held, once for each session that has them.
    pub(crate) fn layers(&self) -> u32 {
        self.users.iter().filter(|users| **users > 0).count() as u32
    }

    /// Nothing is held any more.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            peak_bytes: self.peak_bytes,
            ..Self::default()
        };
    }

    /// Makes a stage ready. A session that had the same layers and context keeps its caches; if the
    /// layers are others, what those that stay hold is used when the rows come again.
    pub(crate) fn load(&mut self, model: &ModelShape, load: &Load, budget: u64) -> Loaded {
        if let Some(held) = self.sessions.get_mut(&load.session)
            && held.layers == load.layers
            && held.context == load.context
        {
            held.epoch = load.epoch;
            let result = Ok(self.bytes_of(model, load.session));
            return Loaded {
                result,
                new_bytes: 0,
            };
        }
        let range = indices(load.layers, model);
        let stays = |layer: &usize| {
            let held = self.sessions.get(&load.session);
            held.is_some_and(|held| indices(held.layers, model).contains(layer))
        };
        // A layer that stays is not mapped anew.
        let stays: Vec<usize> = range.clone().filter(stays).collect();
        let before = self.take(model, load.session);
        let before = before.filter(|before| before.context == load.context);
        if range.len() != load.layers.len() as usize {
            let words = "the model does not have these layers".to_owned();
            return refused(StageRefusedCode::Unsupported, words, 0);
        }
        self.users.resize(model.layers.len(), 0);
        let new = range.clone().filter(|layer| self.users[*layer] == 0);
        let (mut new_bytes, mut read_bytes) = (0, 0);
        for layer in new {
            let bytes = model.layers[layer].memory_bytes(0);
            new_bytes += bytes;
            read_bytes += if stays.contains(&layer) { 0 } else { bytes };
        }
        let kv = |l: usize| {
            let layer = &model.layers[l];
            layer.memory_bytes(load.context) - layer.memory_bytes(0)
        };
        let cache_bytes = range.clone().map(kv).sum::<u64>();
        if new_bytes + cache_bytes > budget.saturating_sub(self.bytes()) {
            self.forget();
        }
        let free = budget.saturating_sub(self.bytes());
        if new_bytes + cache_bytes > free {
            let words = format!(
                "{} bytes are needed, {free} are free",
                new_bytes + cache_bytes
            );
            return refused(StageRefusedCode::Memory, words, free);
        }
        range.for_each(|layer| self.users[layer] += 1);
        self.weight_bytes += new_bytes;
        self.cache_bytes += cache_bytes;
        let held = self.stage(load, before, budget, cache_bytes);
        self.recall_bytes += held.recall_bytes();
        self.peak_bytes = self.peak_bytes.max(self.bytes());
        self.sessions.insert(load.session, held);
        Loaded {
            result: Ok(self.bytes_of(model, load.session)),
            new_bytes: read_bytes,
        }
    }

    /// A stage that has computed nothing, but may know what it computed when it was another.
    fn stage(&self, load: &Load, before: Option<Held>, budget: u64, cache_bytes: u64) -> Held {
        let row_bytes = 4 * u64::from(load.d_model) + DIGEST_BYTES;
        let room = |bytes: u64, taken: u64| {
            let spare = budget.saturating_sub(self.bytes() + taken + budget / 8);
            bytes <= spare
        };
        let (caches, recalls) = match before {
            Some(before) => (
                before.caches.for_layers(load.layers),
                [before.recall, before.kept],
            ),
            None => (Caches::new(load.layers), [None, None]),
        };
        let known = recalls.into_iter().flatten();
        let within = known.filter(|known| load.layers.covers(known.layers()));
        let kept = within.max_by_key(|known| known.end() * known.layers().len() as usize);
        let kept = kept.filter(|kept| room(kept.bytes(), 0));
        let taken = kept.as_ref().map_or(0, Recall::bytes);
        let bytes = u64::from(load.context) * row_bytes;
        let recall = room(bytes, taken).then(|| Recall::new(load.layers, bytes));
        Held {
            layers: load.layers,
            context: load.context,
            epoch: load.epoch,
            cache_bytes,
            caches,
            filled: 0,
            recall,
            kept,
        }
    }

    /// Gives the memory back that knowing what was computed takes.
    fn forget(&mut self) {
        for held in self.sessions.values_mut() {
            (held.recall, held.kept) = (None, None);
        }
        self.recall_bytes = 0;
    }

    pub(crate) fn free(&mut self, model: &ModelShape, session: SessionId) {
        drop(self.take(model, session));
    }

    fn take(&mut self, model: &ModelShape, session: SessionId) -> Option<Held> {
        let held = self.sessions.remove(&session)?;
        self.cache_bytes -= held.cache_bytes;
        self.recall_bytes -= held.recall_bytes();
        for layer in indices(held.layers, model) {
            self.users[layer] -= 1;
            if self.users[layer] == 0 {
                self.weight_bytes -= model.layers[layer].memory_bytes(0);
            }
        }
        Some(held)
    }

    fn bytes_of(&self, model: &ModelShape, session: SessionId) -> u64 {
        self.sessions.get(&session).map_or(0, |held| {
            let layers = indices(held.layers, model);
            let weights: u64 = layers.map(|l| model.layers[l].memory_bytes(0)).sum();
            weights + held.cache_bytes
        })
    }

    /// Sends a part's rows through its layers, but those that are known.
    pub(crate) fn compute(&mut self, part: StepPart) -> Computed {
        let Some(held) = self.sessions.get_mut(&part.session) else {
            // Freed while it waited: nobody wants the result.
            return Computed::nothing(part.hidden, None);
        };
        if part.start_position > held.filled {
            let gap = Fault::Gap { held: held.filled };
            return Computed::nothing(Vec::new(), Some(gap));
        }
        let mut hidden = part.hidden;
        let row_bytes = (hidden.len() / part.rows.max(1) as usize).max(1);
        let rows = hidden.chunks(row_bytes).map_while(Row::read);
        let rows: Vec<Row> = rows.take(part.rows as usize).collect();
        let fault = held.wrong(part.start_position, &rows);
        let mut words: Vec<u64> = rows.iter().map(|row| row.word).collect();
        let before = held.recall_bytes();
        let computed = held.pass(part.start_position, &mut words);
        self.recall_bytes = self.recall_bytes + held.recall_bytes() - before;
        for ((row, word), bytes) in rows.iter().zip(words).zip(hidden.chunks_mut(row_bytes)) {
            Row { word, ..*row }.write(bytes);
        }
        let of = |layers: Range<u32>| {
            let layers = LayerRange::new(layers.start, layers.end)?;
            Some(Rows {
                layers,
                start: part.start_position,
                count: part.rows,
            })
        };
        Computed {
            hidden,
            fault,
            rows: computed.into_iter().filter_map(of).collect(),
        }
    }
}

impl Held {
    /// What is wrong with rows that are to be computed.
    fn wrong(&self, start: u32, rows: &[Row]) -> Option<Fault> {
        let wrong = |(position, row): (u32, &Row)| {
            if row.position != position {
                return Some(Fault::Misplaced {
                    made_for: row.position,
                    came_as: position,
                });
            }
            (row.epoch < self.epoch.0).then_some(Fault::Stale {
                made_for: row.epoch,
                in_force: self.epoch.0,
            })
        };
        (start..).zip(rows).find_map(wrong)
    }

    /// Words through the layers; which of these computed.
    fn pass(&mut self, position: u32, words: &mut Vec<u64>) -> Vec<Range<u32>> {
        let start = position as usize;
        let all = self.layers.first()..self.layers.end();
        if let Some(out) = self
            .recall
            .as_ref()
            .and_then(|known| known.of(start, words))
        {
            *words = out.to_vec();
            return Vec::new();
        }
        self.kept.take_if(|kept| kept.end() <= start);
        let given = words.clone();
        let computed = match self.kept.take() {
            None => {
                self.caches.through(all.clone(), start, words);
                vec![all]
            }
            Some(kept) => {
                let known = kept.layers().first()..kept.layers().end();
                self.caches.through(all.start..known.start, start, words);
                if let Some(out) = kept.of(start, words) {
                    *words = out.to_vec();
                    self.caches.through(known.end..all.end, start, words);
                    self.kept = Some(kept);
                    vec![all.start..known.start, known.end..all.end]
                } else {
                    // Other rows, or more: what is known of those behind is of no use any more.
                    self.caches.through(known.start..all.end, start, words);
                    vec![all]
                }
            }
        };
        self.filled = position + words.len() as u32;
        if let Some(recall) = &mut self.recall {
            recall.learn(start, &given, words);
        }
        computed
    }
}

fn refused(code: StageRefusedCode, words: String, available_bytes: u64) -> Loaded {
    Loaded {
        result: Err(LoadRefused {
            code,
            words,
            available_bytes,
        }),
        new_bytes: 0,
    }
}

fn indices(layers: LayerRange, model: &ModelShape) -> Range<usize> {
    let end = (layers.end() as usize).min(model.layers.len());
    (layers.first() as usize).min(end)..end
}

#[cfg(test)]
mod tests {
    use potluck_protocol::wire::{ContentHash, Dtype, HiddenShape};

    use super::*;
    use crate::scenario::ModelSpec;

    const SESSION: SessionId = SessionId(1);

    fn model() -> ModelShape {
        let spec = ModelSpec {
            name: "tiny".to_owned(),
            ..ModelSpec::default()
        };
        spec.shape().expect("known")
    }

    fn load(first: u32, end: u32) -> Load {
        Load {
            session: SESSION,
            epoch: PlanEpoch(0),
            manifest: ContentHash([0; 32]),
            layers: LayerRange::new(first, end).expect("forwards"),
            context: 100,
            d_model: 64,
        }
    }

    fn part(start: u32, rows: u32) -> StepPart {
        let mut hidden = vec![0; 4 * 64 * rows as usize];
        for (position, bytes) in (start..).zip(hidden.chunks_mut(4 * 64)) {
            Row::embed(u64::from(position), 0, position).write(bytes);
        }
        StepPart {
            session: SESSION,
            start_position: start,
            rows,
            shape: HiddenShape::new(64, Dtype::F32, 100).expect("small"),
            hidden,
        }
    }

    fn layers_of(computed: &Computed) -> Vec<(u32, u32)> {
        let rows = computed.rows.iter().filter(|rows| !rows.layers.is_empty());
        rows.map(|rows| (rows.layers.first(), rows.layers.end()))
            .collect()
    }

    #[test]
    fn rows_that_come_again_are_not_computed_and_layers_that_stay_go_on() {
        let (model, mut holdings) = (model(), Holdings::default());
        let budget = 1 << 30;
        let _ = holdings.load(&model, &load(2, 4), budget);
        let first = holdings.compute(part(0, 5));
        assert_eq!(layers_of(&first), [(2, 4)]);
        let again = holdings.compute(part(1, 4));
        assert_eq!(layers_of(&again), []);
        assert_eq!(again.hidden, first.hidden[4 * 64..]);
        // The stage gets the layers around it.
        let loaded = holdings.load(&model, &load(1, 6), budget);
        let each = model.layers[0].memory_bytes(0);
        assert_eq!(loaded.new_bytes, 3 * each, "what stays is not mapped anew");
        let Some(out) = Row::read(&first.hidden) else {
            panic!("a row came out");
        };
        // Behind layer 1 these rows are others than those that layers 2 and 3 know.
        let other = holdings.compute(part(0, 5));
        assert_eq!(layers_of(&other), [(1, 6)]);
        assert_ne!(Row::read(&other.hidden), Some(out));
        // From their first layer on they are the same.
        let _ = holdings.load(&model, &load(2, 4), budget);
        let _ = holdings.compute(part(0, 5));
        let _ = holdings.load(&model, &load(2, 6), budget);
        assert_eq!(layers_of(&holdings.compute(part(0, 3))), [(4, 6)]);
        assert_eq!(layers_of(&holdings.compute(part(3, 4))), [(2, 6)]);
        holdings.free(&model, SESSION);
        assert_eq!((holdings.bytes(), holdings.recall_bytes), (0, 0));
    }

    #[test]
    fn what_was_computed_makes_room_for_what_must_be() {
        let (model, mut holdings) = (model(), Holdings::default());
        let stage: u64 = model.layers[..2].iter().map(|l| l.memory_bytes(100)).sum();
        let budget = 3 * stage;
        let _ = holdings.load(&model, &load(0, 2), budget);
        assert!(holdings.recall_bytes > 0 && holdings.bytes() <= budget);
        let other = Load {
            session: SessionId(2),
            ..load(2, 6)
        };
        assert!(holdings.load(&model, &other, budget).result.is_ok());
        assert_eq!((holdings.recall_bytes, holdings.bytes()), (0, budget));
    }
}
