//! A real model as the arithmetic of a world.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::iter::once;
use std::rc::Rc;
use std::sync::Arc;

use potluck_model::gguf::Gguf;
use potluck_model::{Compute, KvCache, ModelConfig, ModelError, SequenceStep, Shard, ShardRange};
use potluck_protocol::LayerRange;
use potluck_protocol::made_up::mix;

use crate::host::arithmetic::{Arithmetic, Caches, Passed};

/// A loaded model.
#[derive(Clone)]
pub(super) struct Real(Rc<Inner>);

struct Inner {
    gguf: Arc<Gguf>,
    config: ModelConfig,
    compute: Compute,
    /// Embedding and head.
    ends: Shard,
    /// Layers that stages had, which later ones share.
    shards: RefCell<BTreeMap<LayerRange, Rc<Shard>>>,
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Real").field(&self.0.config.name).finish()
    }
}

impl Real {
    pub(super) fn load(
        gguf: &Arc<Gguf>,
        config: &ModelConfig,
        compute: Compute,
    ) -> Result<Self, ModelError> {
        let ends = ShardRange {
            embedding: true,
            layers: 0..0,
            head: true,
        };
        Ok(Self(Rc::new(Inner {
            gguf: Arc::clone(gguf),
            config: config.clone(),
            ends: Shard::load(gguf, config, ends, compute.clone())?,
            compute,
            shards: RefCell::default(),
        })))
    }

    fn shard(&self, layers: LayerRange) -> Result<Rc<Shard>, ModelError> {
        let Inner { gguf, config, .. } = &*self.0;
        let known = self.0.shards.borrow().get(&layers).map(Rc::clone);
        if let Some(known) = known {
            return Ok(known);
        }
        let range = ShardRange {
            embedding: false,
            layers: layers.first() as usize..layers.end() as usize,
            head: false,
        };
        let shard = Rc::new(Shard::load(gguf, config, range, self.0.compute.clone())?);
        self.0.shards.borrow_mut().insert(layers, Rc::clone(&shard));
        Ok(shard)
    }

    fn stage(&self, layers: LayerRange, context: u32) -> Result<Stage, ModelError> {
        let indices = layers.first() as usize..layers.end() as usize;
        Ok(Stage {
            shard: self.shard(layers)?,
            cache: KvCache::new(&self.0.config, indices, context as usize, &self.0.compute)?,
        })
    }

    fn vocabulary(&self) -> u64 {
        self.0.config.vocabulary as u64
    }

    fn hidden_of(&self, tokens: &[u64]) -> Result<Vec<u8>, ModelError> {
        let ids: Vec<_> = tokens.iter().map(|&token| token as u32).collect();
        let ends = &self.0.ends;
        let hidden = ends.embed(&ids)?;
        let mut parts = ends.hidden_to_bytes(hidden, once(ids.len()));
        Ok(parts.pop().unwrap_or_default())
    }

    /// The token with the greatest logit, the first of equals.
    fn greatest(&self, hidden: &[u8]) -> Result<u64, ModelError> {
        let ends = &self.0.ends;
        let hidden = ends.hidden_from_bytes(once(hidden))?;
        ends.logits(hidden, |logits| {
            let mut best = 0;
            for (token, logit) in logits.iter().enumerate() {
                if *logit > logits[best] {
                    best = token;
                }
            }
            best as u64
        })
    }

    fn generate(&self, prompt: &[u64], wanted: u32) -> Result<Vec<u64>, ModelError> {
        let Some(layers) = LayerRange::new(0, self.0.config.layers as u32) else {
            return Ok(Vec::new());
        };
        let context = prompt.len() as u32 + wanted;
        let mut stage = self.stage(layers, context)?;
        let mut hidden = stage.pass(0, prompt.len(), &self.hidden_of(prompt)?)?;
        let mut tokens: Vec<u64> = Vec::with_capacity(wanted as usize);
        while tokens.len() < wanted as usize {
            let row = hidden.len() - self.0.ends.hidden_row_bytes();
            let token = self.greatest(&hidden[row..])?;
            let start = prompt.len() + tokens.len();
            tokens.push(token);
            if tokens.len() < wanted as usize {
                hidden = stage.pass(start, 1, &self.hidden_of(&[token])?)?;
            }
        }
        Ok(tokens)
    }
}

impl Arithmetic for Real {
    fn prompt(&self, session: u64, rows: u32) -> Vec<u64> {
        let token = |at: u32| mix(session, u64::from(at)) % self.vocabulary();
        (0..rows).map(token).collect()
    }

    fn alone(&self, prompt: &[u64], wanted: u32) -> Vec<u64> {
        // A device that cannot compute gives no token, and every token that comes is a wrong one.
        self.generate(prompt, wanted).unwrap_or_default()
    }

    fn embed(&self, tokens: &[u64], _first: u32, _epoch: u32) -> Vec<u8> {
        self.hidden_of(tokens).unwrap_or_default()
    }

    fn sample(&self, hidden: &[u8]) -> u64 {
        self.greatest(hidden).unwrap_or(u64::MAX)
    }

    fn position(&self, _row: &[u8]) -> Option<u32> {
        None
    }

    fn caches(&self, layers: LayerRange, context: u32) -> Box<dyn Caches> {
        Box::new(RealCaches {
            model: self.clone(),
            layers,
            context,
            filled: 0,
            stage: self.stage(layers, context).ok(),
        })
    }
}

/// Layers with a sequence's caches.
struct Stage {
    shard: Rc<Shard>,
    cache: KvCache,
}

impl Stage {
    fn pass(&mut self, start: usize, count: usize, hidden: &[u8]) -> Result<Vec<u8>, ModelError> {
        let layers = self.cache.layers();
        let mut steps = [SequenceStep {
            cache: &mut self.cache,
            start,
            count,
        }];
        let mut parts = self.shard.forward_bytes(layers, once(hidden), &mut steps)?;
        Ok(parts.pop().unwrap_or_default())
    }
}

/// A session's stage.
struct RealCaches {
    model: Real,
    layers: LayerRange,
    context: u32,
    filled: u32,
    /// None if it could not be made.
    stage: Option<Stage>,
}

impl fmt::Debug for RealCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RealCaches");
        shown.field("layers", &self.layers).finish_non_exhaustive()
    }
}

impl Caches for RealCaches {
    fn filled(&self) -> u32 {
        self.filled
    }

    fn pass(&mut self, start: u32, rows: u32, hidden: Vec<u8>, _epoch: u32) -> Passed {
        let stage = self.stage.as_mut();
        let passed = stage.and_then(|stage| {
            let passed = stage.pass(start as usize, rows as usize, &hidden);
            passed.ok()
        });
        self.filled = start + rows;
        Passed {
            hidden: passed.unwrap_or_default(),
            fault: None,
            computed: [Some(self.layers), None],
        }
    }

    fn of_layers(self: Box<Self>, layers: LayerRange) -> Box<dyn Caches> {
        self.model.caches(layers, self.context)
    }
}
