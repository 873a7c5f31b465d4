//! The device under a node: what it computes, and whether it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Arrival, Life};
use crate::made_up::Folds;
use crate::stage::{Load, Step};
use crate::{SessionId, StageId};

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
    loaded: BTreeMap<StageId, Folds>,
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
        if held.is_none_or(|folds| folds.layers() != load.layers) {
            self.loaded.insert(load.stage, Folds::new(load.layers));
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
    ///
    /// # Panics
    /// If rows before those of a part are missing.
    pub(super) fn compute(&mut self, step: Step) -> (Duration, Vec<Vec<u8>>) {
        self.steps.push(step.parts.len());
        let (mut time, mut hidden) = (STEP, Vec::new());
        for part in step.parts {
            // Freed while it waited: nobody wants the result.
            let Some(folds) = self.loaded.get_mut(&part.stage) else {
                hidden.push(part.hidden);
                continue;
            };
            let (layers, start) = (folds.layers(), part.start_position as usize);
            assert!(folds.held() >= start, "rows before {start} are missing");
            time += ROW * layers.len() * part.rows;
            let (words, _) = part.hidden.as_chunks::<8>();
            let mut words: Vec<_> = words.iter().map(|&word| u64::from_le_bytes(word)).collect();
            folds.pass(layers, start, &mut words);
            let mut rows: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            if self.spoils && !rows.is_empty() {
                rows[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            hidden.push(rows);
        }
        (time * self.slowness, hidden)
    }
}
