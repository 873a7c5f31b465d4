//! One session's stage on this device, and the steps through it.

use std::iter::once;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use potluck_model::gguf::Gguf;
use potluck_model::{KvCache, ModelConfig, ModelError, SequenceStep, Shard};
use potluck_protocol::correction::TimedRows;
use potluck_protocol::placement::{ComputedRows, ModelShape};
use potluck_protocol::stage::{Load, StepPart};
use potluck_protocol::wire::ContentHash;
use potluck_protocol::{LayerRange, StageId};

use super::Reservation;
use super::recall::Recall;
use crate::packed_store::Packing;

/// A step of at least this many rows may take long, so it can be aborted.
const LONG_STEP: usize = 16;

/// One session's stage.
pub(super) struct Sequence {
    pub(super) shard: Arc<HeldShard>,
    cache: KvCache,
    cache_memory: Reservation,
    /// The number of positions in the cache.
    filled: u32,
    /// Whether the requester has opened it again and sent nothing since: rows that it sends again are
    /// those that are known, and it goes on behind them.
    is_reopened: bool,
    /// Known outputs of all layers of the stage.
    recall: Option<Recall>,
    /// Known outputs of the layers that the stage had before its layers changed.
    kept: Option<Recall>,
}

/// What remains of a stage when its layers change.
pub(super) struct Kept {
    cache: KvCache,
    recalls: [Option<Recall>; 2],
    /// Held so that pages of remaining layers need not be mapped again.
    _file: Arc<Gguf>,
}

/// Layers shared by one or more sessions.
pub(super) struct HeldShard {
    pub(super) manifest: ContentHash,
    pub(super) layers: LayerRange,
    pub(super) config: ModelConfig,
    pub(super) shape: Arc<ModelShape>,
    /// Whether any rows went through it. Until then its weights may have to be read from storage.
    pub(super) is_warm: AtomicBool,
    pub(super) shard: Arc<Shard>,
    /// Held while the shard is used.
    pub(super) _packing: Option<Packing>,
    /// Held so that all users of the file share one mapping.
    pub(super) file: Arc<Gguf>,
    /// One entry per layer.
    pub(super) weights: Vec<Arc<LayerWeights>>,
}

/// One layer's weights, shared by all shards that contain it.
pub(super) struct LayerWeights {
    pub(super) manifest: ContentHash,
    pub(super) layer: u32,
    pub(super) memory: Reservation,
}

impl Sequence {
    /// An empty stage, reusing what is kept of an earlier one.
    ///
    /// # Errors
    /// The system has no memory for the caches.
    pub(super) fn new(
        shard: Arc<HeldShard>,
        context: u32,
        cache_memory: Reservation,
        recall: Option<Recall>,
        kept: Option<Kept>,
    ) -> Result<Self, ModelError> {
        let range = indices(shard.layers);
        let (cache, recalls) = match kept {
            Some(kept) => (kept.cache.for_layers(range)?, kept.recalls),
            None => {
                let compute = shard.shard.compute();
                let cache = KvCache::new(&shard.config, range, context as usize, compute)?;
                (cache, [None, None])
            }
        };
        let known = recalls.into_iter().flatten();
        let within = known.filter(|known| shard.layers.covers(known.layers()));
        let kept = within.max_by_key(|known| known.end() * indices(known.layers()).len());
        Ok(Self {
            shard,
            cache,
            cache_memory,
            filled: 0,
            is_reopened: true,
            recall,
            kept,
        })
    }

    /// What the session's next stage can reuse; `None` if it has another model or context.
    pub(super) fn keep(self, load: &Load) -> Option<Kept> {
        let same = self.shard.manifest == load.manifest && self.has_context_of(load);
        same.then(|| Kept {
            cache: self.cache,
            recalls: [self.recall, self.kept],
            _file: Arc::clone(&self.shard.file),
        })
    }

    pub(super) fn is_of(&self, load: &Load) -> bool {
        // The width was checked when the stage was opened.
        let same_width = load.d_model as usize == self.shard.config.d_model;
        self.shard.is_of(load) && self.has_context_of(load) && same_width
    }

    fn has_context_of(&self, load: &Load) -> bool {
        load.context as usize == self.cache.capacity()
    }

    /// The requester has opened it again.
    pub(super) fn reopened(&mut self) {
        self.is_reopened = true;
    }

    /// Notes that rows from this position on are next. If the requester itself begins anew, what is
    /// known of the old rows is forgotten where caches have overwritten some of them: the new rows may
    /// be the same up to a position that the caches cannot go on from.
    pub(super) fn starts(&mut self, start_position: u32) {
        let is_replay = std::mem::take(&mut self.is_reopened);
        if start_position == 0 && !is_replay && !self.cache.holds(1) {
            self.start_over();
        }
    }

    /// Whether the caches hold what a row at this position sees.
    pub(super) fn reaches(&self, start_position: u32) -> bool {
        self.cache.holds(start_position as usize)
    }

    /// Holds nothing any more: all rows have to be sent again, and are computed.
    pub(super) fn start_over(&mut self) {
        self.filled = 0;
        self.kept = None;
        if let Some(known) = &mut self.recall {
            known.forget(0);
        }
    }

    /// Whether the part continues what the cache holds, fits into it, and is complete.
    pub(super) fn takes(&self, part: &StepPart) -> bool {
        let rows = part.rows as usize;
        let end = part.start_position.checked_add(part.rows);
        let fits = end.is_some_and(|end| end as usize <= self.cache.capacity());
        let whole = rows.checked_mul(self.shard.shard.hidden_row_bytes());
        let whole = rows > 0 && whole == Some(part.hidden.len());
        part.start_position <= self.filled && fits && whole
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let weights = self.shard.weights.iter().map(|w| w.memory.bytes());
        weights.sum::<u64>() + self.cache_memory.bytes()
    }

    /// Frees the memory of known outputs.
    pub(super) fn forget(&mut self) {
        self.recall = None;
        // Without it the caches of its layers are of no use.
        self.kept = None;
    }

    /// The outputs of a part that need not go through all layers, because some outputs are known.
    pub(super) fn recalled(&mut self, part: &StepPart) -> Result<Option<Vec<u8>>, ModelError> {
        let start = part.start_position as usize;
        let known = self.recall.as_ref();
        if let Some(out) = known.and_then(|known| known.of(start, &part.hidden)) {
            return Ok(Some(out.to_vec()));
        }
        let Some(kept) = self.kept.take_if(|kept| kept.end() > start) else {
            self.kept = None;
            return Ok(None);
        };
        let (all, known) = (indices(self.shard.layers), indices(kept.layers()));
        self.begin(part);
        let before = self.through(all.start..known.start, start, part.hidden.clone())?;
        let out = match kept.of(start, &before) {
            Some(out) => {
                let out = self.through(known.end..all.end, start, out.to_vec())?;
                self.kept = Some(kept);
                out
            }
            // The inputs differ or go further, so the known outputs no longer apply.
            None => self.through(known.start..all.end, start, before)?,
        };
        self.finish(part, &out);
        Ok(Some(out))
    }

    /// Computes rows from `start` on through some of the layers.
    fn through(
        &mut self,
        layers: Range<usize>,
        start: usize,
        rows: Vec<u8>,
    ) -> Result<Vec<u8>, ModelError> {
        if layers.is_empty() {
            return Ok(rows);
        }
        let shard = &self.shard.shard;
        let mut steps = [SequenceStep {
            cache: &mut self.cache,
            start,
            count: rows.len() / shard.hidden_row_bytes(),
        }];
        let mut parts = shard.forward_bytes(layers, once(rows.as_slice()), &mut steps)?;
        Ok(parts.pop().unwrap_or_default())
    }

    /// Prepares for computing a part.
    fn begin(&mut self, part: &StepPart) {
        self.filled = part.start_position;
        if let Some(known) = &mut self.recall {
            known.forget(part.start_position as usize);
        }
    }

    /// Records a computed part.
    fn finish(&mut self, part: &StepPart, out: &[u8]) {
        self.filled = part.start_position + part.rows;
        if let Some(known) = &mut self.recall {
            known.learn(part.start_position as usize, &part.hidden, out);
        }
    }
}

impl Kept {
    /// Frees the memory of known outputs.
    pub(super) fn forget(&mut self) {
        self.recalls = [None, None];
    }
}

impl HeldShard {
    /// Whether the model's file is unchanged since it was opened.
    pub(super) fn is_as_it_was(&self) -> bool {
        self.file.watch().check().is_ok()
    }

    pub(super) fn is_of(&self, load: &Load) -> bool {
        self.manifest == load.manifest && self.layers == load.layers
    }
}

/// The parts of a step that share one shard.
pub(super) struct Group<'a> {
    pub(super) shard: Arc<HeldShard>,
    pub(super) parts: Vec<GroupPart<'a>>,
}

pub(super) struct GroupPart<'a> {
    /// The part's index in the step.
    pub(super) index: usize,
    pub(super) part: &'a StepPart,
    pub(super) sequence: &'a mut Sequence,
}

impl Group<'_> {
    /// The time of the step, if it has only one session: predictions do not cover shared steps.
    pub(super) fn timed(&self, took: Duration) -> Option<TimedRows> {
        let first = !self.shard.is_warm.swap(true, Ordering::Relaxed);
        let [GroupPart { part, .. }] = self.parts[..] else {
            return None;
        };
        Some(TimedRows {
            model: Arc::clone(&self.shard.shape),
            computed: ComputedRows {
                layers: self.shard.layers,
                head: false,
                start: part.start_position,
                rows: part.rows,
            },
            took,
            first,
        })
    }

    /// Computes the hidden states of each part, in order. Empty if aborted between two layers
    /// because all sessions of the parts are `unwanted`.
    pub(super) fn forward(
        &mut self,
        unwanted: &dyn Fn(StageId) -> bool,
    ) -> Result<Vec<Vec<u8>>, ModelError> {
        let shard = &self.shard.shard;
        let parts: Vec<_> = self.parts.iter().map(|rows| rows.part).collect();
        let mut steps = Vec::with_capacity(self.parts.len());
        for GroupPart { part, sequence, .. } in &mut self.parts {
            sequence.begin(part);
            steps.push(SequenceStep {
                cache: &mut sequence.cache,
                start: part.start_position as usize,
                count: part.rows as usize,
            });
        }
        let rows = parts.iter().map(|part| part.hidden.as_slice());
        let counts: Vec<_> = steps.iter().map(|step| step.count).collect();
        // A short step ends before aborting it could help.
        let long = counts.iter().sum::<usize>() >= LONG_STEP;
        let left_off = || long && parts.iter().all(|part| unwanted(part.stage));
        let hidden = shard.hidden_from_bytes(rows)?;
        let layers = indices(self.shard.layers);
        let Some(hidden) = shard.forward_unless(layers, hidden, &mut steps, &left_off)? else {
            return Ok(Vec::new());
        };
        let hidden = shard.hidden_to_bytes(hidden, counts.into_iter());
        for (GroupPart { part, sequence, .. }, out) in self.parts.iter_mut().zip(&hidden) {
            sequence.finish(part, out);
        }
        Ok(hidden)
    }
}

/// The range as indices of a model's layers.
pub(super) fn indices(layers: LayerRange) -> Range<usize> {
    layers.first() as usize..layers.end() as usize
}
