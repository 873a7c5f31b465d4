//! Real-compute mode: the hosts of a world compute a real, small model, and every token is compared with the
//! one that a single device gives.
//!
//! Time and memory are modelled as usual, so a run differs from one without real compute only in its tokens.

mod arithmetic;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use potluck_model::gguf::synth::{SynthError, SynthSpec};
use potluck_model::gguf::{Gguf, GgufError};
use potluck_model::{Compute, IsaError, ModelConfig, ModelError};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::explore::{Explored, scenario_with};
use crate::record::Record;
use crate::scenario::{ModelSpec, Scenario};
use crate::{Options, RunError, world};
use arithmetic::Real;

/// Why real computing cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RealError {
    /// The generated model cannot be made.
    #[error(transparent)]
    Synth(#[from] SynthError),
    /// The model's file.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The processor.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The scenario.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The model has numbers that scenarios do not take.
    #[error("the model is too large to be simulated: choose a smaller one")]
    TooLarge,
}

/// A model's file, for runs on any thread.
#[derive(Debug, Clone)]
pub struct RealModel {
    gguf: Arc<Gguf>,
    config: ModelConfig,
    spec: ModelSpec,
}

impl RealModel {
    /// A generated model of six narrow layers: all of the arithmetic, in little time.
    ///
    /// # Errors
    /// [`RealError`].
    pub fn generated(seed: u64) -> Result<Self, RealError> {
        let mut spec = SynthSpec::preset("tiny").ok_or(RealError::TooLarge)?;
        spec.layers = 6;
        (spec.d_model, spec.d_ff, spec.heads, spec.kv_heads) = (64, 128, 2, 1);
        spec.context = 1024;
        spec.seed = seed;
        Self::of(Gguf::parse(spec.to_bytes()?)?)
    }

    /// The model of a GGUF file.
    ///
    /// # Errors
    /// [`RealError`].
    pub fn open(path: &Path) -> Result<Self, RealError> {
        Self::of(Gguf::open(path)?)
    }

    fn of(gguf: Gguf) -> Result<Self, RealError> {
        let config = ModelConfig::from_gguf(&gguf)?;
        let number = |of: usize| u32::try_from(of).ok();
        let spec = ModelSpec {
            name: config.name.clone().unwrap_or_else(|| "real".to_owned()),
            quantisation: None,
            embedding: None,
            layers: number(config.layers),
            d_model: number(config.d_model),
            d_ff: number(config.d_ff),
            heads: number(config.heads),
            kv_heads: number(config.kv_heads),
            head_dim: number(config.head_dim),
            vocabulary: number(config.vocabulary),
            tied: Some(gguf.tensor("output.weight").is_none()),
        };
        spec.shape().map_err(|_| RealError::TooLarge)?;
        Ok(Self {
            gguf: Arc::new(gguf),
            config,
            spec,
        })
    }

    /// The model in a scenario's numbers.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }
}

/// Runs a scenario whose hosts compute this model, whatever model the scenario names.
///
/// # Errors
/// [`RealError`] if it cannot begin.
pub fn run(scenario: &Scenario, options: &Options, model: &RealModel) -> Result<Record, RealError> {
    let scenario = Scenario {
        model: model.spec.clone(),
        ..scenario.clone()
    };
    let one = std::num::NonZeroUsize::MIN;
    let compute = Compute::new(Some(one))?;
    let real = Real::load(&model.gguf, &model.config, compute)?;
    let real = Some(Rc::new(real) as _);
    Ok(world::run(&scenario, options, real, &mut |_| true)?)
}

/// As [`explore`](crate::explore::explore), with hosts that compute this model.
///
/// # Errors
/// [`RealError`] if one cannot begin.
pub fn explore(seeds: std::ops::Range<u64>, model: &RealModel) -> Result<Explored, RealError> {
    let outcomes: Result<Vec<_>, RealError> = seeds
        .into_par_iter()
        .map(|seed| {
            let scenario = scenario_with(seed, Some(&model.spec));
            let record = run(&scenario, &Options::until_answered(), model)?;
            Ok((seed, scenario, record))
        })
        .collect();
    Ok(Explored::of(outcomes?))
}
