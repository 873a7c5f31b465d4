//! What a model file says beyond the usual is done, or refused by name.

mod equal;
mod refused;
mod told;
mod twin;

use std::num::NonZeroUsize;

use potluck_model::gguf::Value;
use potluck_model::{
    Compute, Isa, KvCache, ModelConfig, ModelError, SequenceStep, Shard, ShardRange,
};
use potluck_tests::ModelFile;

const TOKENS: [u32; 24] = [
    5, 17, 200, 3, 99, 41, 250, 7, 8, 120, 66, 31, 5, 17, 219, 4, 180, 90, 33, 12, 71, 6, 145, 9,
];

fn compute() -> Compute {
    Compute::with_isa(Isa::SCALAR, NonZeroUsize::new(1))
}

/// The logits of all of [`TOKENS`], position after position.
fn logits(file: &ModelFile) -> Result<Vec<f32>, ModelError> {
    let gguf = file.gguf();
    let config = ModelConfig::from_gguf(&gguf)?;
    let shard = Shard::load(&gguf, &config, ShardRange::whole(&config), compute())?;
    let mut cache = KvCache::new(&config, 0..config.layers, 64, shard.compute())?;
    let hidden = shard.embed(&TOKENS)?;
    let step = SequenceStep {
        cache: &mut cache,
        start: 0,
        count: TOKENS.len(),
    };
    let hidden = shard.forward(hidden, &mut [step])?;
    shard.logits(hidden, <[f32]>::to_vec)
}

/// The greatest difference of two models' logits.
fn difference(a: &ModelFile, b: &ModelFile) -> f32 {
    let (a, b) = (logits(a).expect("it runs"), logits(b).expect("it runs"));
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

/// A setting that is a text.
fn text(value: &str) -> Value {
    Value::string(value)
}
