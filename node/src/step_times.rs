//! How long the steps of this process take that no node computes, for the profile to follow.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use potluck_model::{Drafts, Isa};
use potluck_protocol::LayerRange;
use potluck_protocol::correction::TimedRows;
use potluck_protocol::placement::{ComputedRows, ModelShape};

use crate::engine::{SamplerSettings, Sequence, TokenId};
use crate::home::Home;
use crate::profile::{MeasuredWith, Measurements, this_system};

/// Steps that are kept; later ones say the same.
const MOST_STEPS: usize = 4_096;

/// Times of steps through one model.
#[derive(Debug)]
pub struct StepTimes {
    /// The model; `None` if it cannot be placed, and no rate of it matters to a plan.
    model: Option<Arc<ModelShape>>,
    steps: RefCell<Vec<Step>>,
    /// Whether rows went through the layers, and through the head.
    layers_are_warm: Cell<bool>,
    head_is_warm: Cell<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    computed: ComputedRows,
    took: Duration,
    first: bool,
}

impl StepTimes {
    /// None yet, of a model; nothing is kept of one that cannot be placed.
    pub fn of(model: Option<Arc<ModelShape>>) -> Self {
        Self {
            model,
            steps: RefCell::default(),
            layers_are_warm: Cell::new(false),
            head_is_warm: Cell::new(false),
        }
    }

    /// Rows went through all layers.
    fn layers(&self, start: usize, rows: usize, took: Duration) {
        let layers = self.model.as_ref().map(|model| model.layers.len());
        let layers = layers.and_then(|layers| u32::try_from(layers).ok());
        let Some(layers) = layers.and_then(|layers| LayerRange::new(0, layers)) else {
            return;
        };
        let first = !self.layers_are_warm.replace(true);
        self.add(layers, false, (start, rows), (took, first));
    }

    /// The row at this position went through the head.
    pub(crate) fn head(&self, position: usize, took: Duration) {
        let none = LayerRange::new(0, 0).expect("forwards");
        let first = !self.head_is_warm.replace(true);
        self.add(none, true, (position, 1), (took, first));
    }

    fn add(
        &self,
        layers: LayerRange,
        head: bool,
        (start, rows): (usize, usize),
        (took, first): (Duration, bool),
    ) {
        let mut steps = self.steps.borrow_mut();
        let (Ok(start), Ok(rows)) = (start.try_into(), rows.try_into()) else {
            return;
        };
        if steps.len() < MOST_STEPS {
            let computed = ComputedRows {
                layers,
                head,
                start,
                rows,
            };
            steps.push(Step {
                computed,
                took,
                first,
            });
        }
    }

    /// Has the home's profile follow them, if this device was measured with so many threads and this
    /// instruction set. That it cannot is no error: the next steps say the same.
    pub fn keep(&self, home: &Home, threads: usize, isa: Isa) {
        let steps = self.steps.take();
        let Some(model) = self.model.as_ref().filter(|_| !steps.is_empty()) else {
            return;
        };
        let with = MeasuredWith::of(threads, isa, &*this_system());
        if Measurements::remembered_of(home, &with).is_some() {
            let timed = steps.into_iter().map(|step| TimedRows {
                model: Arc::clone(model),
                computed: step.computed,
                took: step.took,
                first: step.first,
            });
            Measurements::learn(home, &with, timed);
        }
    }
}

/// A sequence that this process computes with all layers, and the times of its steps.
#[derive(Debug)]
pub struct TimedSequence<'a, S> {
    sequence: S,
    times: &'a StepTimes,
}

impl<'a, S: Sequence> TimedSequence<'a, S> {
    /// A sequence whose steps' times go to `times`.
    pub fn new(sequence: S, times: &'a StepTimes) -> Self {
        Self { sequence, times }
    }
}

impl<S: Sequence> Sequence for TimedSequence<'_, S> {
    type Error = S::Error;

    fn tokens(&self) -> &[TokenId] {
        self.sequence.tokens()
    }

    fn capacity(&self) -> usize {
        self.sequence.capacity()
    }

    fn truncate(&mut self, len: usize) -> usize {
        self.sequence.truncate(len)
    }

    /// Layers are timed from one report of progress to the next, the head from the last one on. Steps
    /// with guesses are left out: they compute other rows than those that are read.
    fn read<T>(
        &mut self,
        tokens: &[TokenId],
        progress: &mut dyn FnMut(usize) -> bool,
        read: impl FnOnce(&[f32]) -> T,
    ) -> Result<Option<T>, S::Error> {
        let start = self.sequence.tokens().len();
        let (since, before) = (Cell::new(Instant::now()), Cell::new(0));
        let (mut layers, mut head) = (Vec::new(), None);
        let mut on_progress = |done: usize| {
            let (first, took) = (before.replace(done), since.get().elapsed());
            layers.push((start + first, done.saturating_sub(first), took));
            let goes_on = progress(done);
            since.set(Instant::now());
            goes_on
        };
        let value = self.sequence.read(tokens, &mut on_progress, |logits| {
            head = Some(since.get().elapsed());
            read(logits)
        })?;
        if self.sequence.is_plain() {
            for (start, rows, took) in layers {
                self.times.layers(start, rows, took);
            }
            if let Some(took) = head {
                let position = start + before.get().saturating_sub(1);
                self.times.head(position, took);
            }
        }
        Ok(value)
    }

    fn chosen_with(&mut self, sampling: &SamplerSettings, from: usize) {
        self.sequence.chosen_with(sampling, from);
    }

    fn drafts(&self) -> Drafts {
        self.sequence.drafts()
    }

    fn is_plain(&self) -> bool {
        self.sequence.is_plain()
    }
}
