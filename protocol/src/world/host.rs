//! What computes for a node, and whether the node runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::Layers;
use super::{Arrival, Life};
use crate::stage::{Load, Step};
use crate::{LayerRange, SessionId, StageId};

/// How long a step takes, and each of its rows for each layer.
const STEP: Duration = Duration::from_micros(500);
const ROW: Duration = Duration::from_micros(10);
/// How long weights take to be mapped.
pub(super) const LOAD: Duration = Duration::from_millis(20);
/// How long a piece of weights takes to be read, or to be checked and written.
pub(super) const STORE: Duration = Duration::from_millis(1);

/// A device under a node.
pub(crate) struct Host {
    pub(crate) state: Life,
    /// What came while it was frozen.
    pub(super) missed: Vec<Arrival>,
    /// Sessions of each step.
    pub(crate) steps: Vec<usize>,
    /// Times that its steps take longer.
    pub(super) slowness: u32,
    /// Whether what it computes is no numbers.
    pub(crate) spoils: bool,
    loaded: BTreeMap<StageId, (LayerRange, Layers)>,
}

impl Host {
    pub(super) fn new() -> Self {
        Self {
            state: Life::Running,
            missed: Vec::new(),
            steps: Vec::new(),
            slowness: 1,
            spoils: false,
            loaded: BTreeMap::new(),
        }
    }

    /// A session that had the same layers keeps its caches.
    pub(super) fn load(&mut self, load: &Load) {
        let held = self.loaded.get(&load.stage);
        if held.is_none_or(|(layers, _)| *layers != load.layers) {
            let empty = (load.layers, Layers::default());
            self.loaded.insert(load.stage, empty);
        }
    }

    pub(super) fn free(&mut self, stage: StageId) {
        self.loaded.remove(&stage);
    }

    /// The sessions that it has caches for.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.loaded.keys().map(|stage| stage.session)
    }

    /// How long a step takes, and what comes of it.
    pub(super) fn compute(&mut self, step: Step) -> (Duration, Vec<Vec<u8>>) {
        self.steps.push(step.parts.len());
        let (mut time, mut hidden) = (STEP, Vec::new());
        for part in step.parts {
            // Freed while it waited: nobody wants the result.
            let Some((layers, cache)) = self.loaded.get_mut(&part.stage) else {
                hidden.push(part.hidden);
                continue;
            };
            time += ROW * layers.len() * part.rows;
            let (words, _) = part.hidden.as_chunks::<8>();
            let rows = (part.start_position..).zip(words);
            let rows = rows.flat_map(|(position, &word)| {
                let row = cache.row(*layers, position, u64::from_le_bytes(word));
                row.to_le_bytes()
            });
            let mut rows: Vec<u8> = rows.collect();
            if self.spoils && !rows.is_empty() {
                rows[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            hidden.push(rows);
        }
        (time * self.slowness, hidden)
    }
}
