//! What a device holds for sessions: weights and caches, within its owner's budget.

use std::collections::BTreeMap;

use potluck_protocol::machine::LoadRefused;
use potluck_protocol::placement::ModelShape;
use potluck_protocol::stage::{Load, StepPart};
use potluck_protocol::wire::StageRefusedCode;
use potluck_protocol::{LayerRange, PlanEpoch, StageId};

use super::arithmetic::{Arithmetic, Caches, Fault};
use crate::device::Rows;

/// A session's stage.
#[derive(Debug)]
struct Held {
    layers: LayerRange,
    context: u32,
    epoch: PlanEpoch,
    cache_bytes: u64,
    caches: Box<dyn Caches>,
}

/// Weights and caches of a device.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    sessions: BTreeMap<StageId, Held>,
    /// Of each layer, how many sessions use its weights.
    users: Vec<u16>,
    weight_bytes: u64,
    cache_bytes: u64,
    pub(crate) peak_bytes: u64,
}

/// The result of loading a stage.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Why not, if it cannot be.
    pub(crate) result: Result<(), LoadRefused>,
    /// Bytes of weights that were not here before.
    pub(crate) new_bytes: u64,
}

/// The result of a part of a step.
#[derive(Debug)]
pub(crate) struct Computed {
    /// The hidden states; none if it could not be computed.
    pub(crate) hidden: Vec<u8>,
    /// What is wrong, for the checkers.
    pub(crate) fault: Option<Fault>,
    /// What was really computed.
    pub(crate) rows: [Option<Rows>; 2],
}

impl Holdings {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.weight_bytes + self.cache_bytes
    }

    /// Layers held, once for each session that has them.
    pub(crate) fn layers(&self) -> u32 {
        self.users.iter().filter(|users| **users > 0).count() as u32
    }

    /// The stages that something is held of.
    pub(crate) fn stages(&self) -> impl Iterator<Item = StageId> {
        self.sessions.keys().copied()
    }

    /// The layers of a session's stage.
    pub(crate) fn layers_of(&self, stage: StageId) -> Option<LayerRange> {
        self.sessions.get(&stage).map(|held| held.layers)
    }

    /// Nothing is held any more.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            peak_bytes: self.peak_bytes,
            ..Self::default()
        };
    }

    /// Makes a stage ready, of weights that are `here` or not. A session that had the same layers and
    /// context keeps its caches; what it had otherwise is freed first, as a real node does.
    pub(crate) fn load(
        &mut self,
        (model, arithmetic): (&ModelShape, &dyn Arithmetic),
        load: &Load,
        here: bool,
        budget: u64,
    ) -> Loaded {
        if let Some(held) = self.sessions.get_mut(&load.stage)
            && held.layers == load.layers
            && held.context == load.context
        {
            held.epoch = load.epoch;
            return Loaded {
                result: Ok(()),
                new_bytes: 0,
            };
        }
        let before = self.take(model, load.stage);
        let range = indices(load.layers, model);
        if range.len() != load.layers.len() as usize {
            let words = "the model does not have these layers".to_owned();
            return refused(StageRefusedCode::Unsupported, words, 0);
        }
        let free = budget.saturating_sub(self.bytes());
        if !here {
            let words = "the weights of these layers are not here".to_owned();
            return refused(StageRefusedCode::NoWeights, words, free);
        }
        self.users.resize(model.layers.len(), 0);
        let new_bytes = range.clone().filter(|layer| self.users[*layer] == 0);
        let new_bytes: u64 = new_bytes
            .map(|layer| model.layers[layer].memory_bytes(0))
            .sum();
        let whole = range
            .clone()
            .map(|l| model.layers[l].memory_bytes(load.context));
        let weights = range.clone().map(|l| model.layers[l].memory_bytes(0));
        let cache_bytes = whole.sum::<u64>() - weights.sum::<u64>();
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
        self.peak_bytes = self.peak_bytes.max(self.bytes());
        let same = before.filter(|before| before.context == load.context);
        let caches = match same {
            Some(before) => before.caches.of_layers(load.layers),
            None => arithmetic.caches(load.layers, load.context),
        };
        let held = Held {
            layers: load.layers,
            context: load.context,
            epoch: load.epoch,
            cache_bytes,
            caches,
        };
        self.sessions.insert(load.stage, held);
        Loaded {
            result: Ok(()),
            new_bytes,
        }
    }

    pub(crate) fn free(&mut self, model: &ModelShape, stage: StageId) {
        self.take(model, stage);
    }

    fn take(&mut self, model: &ModelShape, stage: StageId) -> Option<Held> {
        let held = self.sessions.remove(&stage)?;
        self.cache_bytes -= held.cache_bytes;
        for layer in indices(held.layers, model) {
            self.users[layer] -= 1;
            if self.users[layer] == 0 {
                self.weight_bytes -= model.layers[layer].memory_bytes(0);
            }
        }
        Some(held)
    }

    /// Sends a part's rows through its layers.
    pub(crate) fn compute(&mut self, part: StepPart) -> Computed {
        let Some(held) = self.sessions.get_mut(&part.stage) else {
            // Freed while it waited: nobody wants the result.
            return Computed {
                hidden: part.hidden,
                fault: None,
                rows: [None, None],
            };
        };
        let filled = held.caches.filled();
        let (start, count) = (part.start_position, part.rows);
        if start > filled {
            return Computed {
                hidden: Vec::new(),
                fault: Some(Fault::Gap { held: filled }),
                rows: [None, None],
            };
        }
        let passed = held.caches.pass(start, count, part.hidden, held.epoch.0);
        let rows = passed.computed.map(|layers| {
            let layers = layers.filter(|layers| !layers.is_empty());
            layers.map(|layers| Rows {
                layers,
                start,
                count,
            })
        });
        Computed {
            hidden: passed.hidden,
            fault: passed.fault,
            rows,
        }
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

fn indices(layers: LayerRange, model: &ModelShape) -> std::ops::Range<usize> {
    let end = (layers.end() as usize).min(model.layers.len());
    (layers.first() as usize).min(end)..end
}
