//! The whole model on a backend without our kernels: plain Flex, where every operation is composed
//! of Burn's own. Its logits are those of the kernels but for rounding.

use std::num::NonZeroUsize;

use potluck_model::gguf::Gguf;
use potluck_model::gguf::synth::SynthSpec;
use potluck_model::{Compute, Device, Isa, KvCache, ModelConfig, SequenceStep, Shard, ShardRange};
use potluck_tests::ModelFile;

/// Positions of the steps: two prefills, of which the second begins within a block of the cache, and
/// decode, past the window of local layers and past a block.
const STEPS: [usize; 8] = [40, 22, 1, 1, 1, 1, 30, 1];

/// The greatest difference of a logit, in units of the logits' spread.
///
/// The two differ by activations, which the kernels round to 16 bits, 2⁻¹⁶ of the largest of 32; by the
/// order of sums, which is less; and by keys and values, which both round to f16: one that lies between
/// two may go either way, 2⁻¹¹ of it. So a single product is off by up to 5·10⁻⁴ of itself, and what
/// goes through all layers by a few times that: at most 1.7·10⁻³ was found. Of two windows of which one
/// is a position longer, the logits differ by over ten times the bound.
const BOUND: f32 = 4e-3;

/// All logits of [`STEPS`], position after position.
fn logits(gguf: &Gguf, compute: &Compute) -> Vec<f32> {
    let config = ModelConfig::from_gguf(gguf).expect("valid settings");
    let range = ShardRange::whole(&config);
    let shard = Shard::load(gguf, &config, range, compute.clone()).expect("a loadable shard");
    let cache = KvCache::new(&config, 0..config.layers, 160, compute);
    let mut cache = cache.expect("memory for a small cache");
    let mut logits = Vec::new();
    let mut start = 0;
    for count in STEPS {
        let tokens: Vec<_> = (start..start + count)
            .map(|i| (i * 7919 % config.vocabulary) as u32)
            .collect();
        let hidden = shard.embed(&tokens).expect("known tokens");
        let step = SequenceStep {
            cache: &mut cache,
            start,
            count,
        };
        let hidden = shard
            .forward(hidden, &mut [step])
            .expect("within the cache");
        let read = shard.logits(hidden, |row| logits.extend_from_slice(row));
        read.expect("it has the head");
        start += count;
    }
    logits
}

/// The greatest difference of a model's logits with kernels and another's without, by the spread
/// (standard deviation).
fn difference(with: &Gguf, without: &Gguf) -> f32 {
    let best = Isa::available().pop().expect("there is always scalar");
    let kernels = logits(with, &Compute::with_isa(best, NonZeroUsize::new(2)));
    let composed = logits(without, &Compute::composed(Device::flex()));
    assert_eq!(kernels.len(), composed.len());
    let count = kernels.len() as f32;
    let mean = kernels.iter().sum::<f32>() / count;
    let variance = kernels.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count;
    let differences = kernels.iter().zip(&composed).map(|(a, b)| (a - b).abs());
    assert!(composed.iter().all(|x| x.is_finite()));
    differences.fold(0.0, f32::max) / variance.sqrt()
}

fn synthetic(spec: &SynthSpec) -> Gguf {
    Gguf::parse(spec.to_bytes().expect("a valid spec")).expect("a valid file")
}

const PRESETS: [&str; 4] = ["tiny", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3"];

#[test]
fn every_architecture_runs_without_kernels_and_agrees_to_rounding() {
    let found = PRESETS.map(|preset| {
        let gguf = synthetic(&SynthSpec::preset(preset).expect("a preset"));
        difference(&gguf, &gguf)
    });
    println!("differences {found:?}");
    assert!(found.iter().all(|found| *found < BOUND), "{found:?}");
}

/// Heads that are not a multiple of 8 wide, a scale, biases, scaled angles, capped logits.
#[test]
fn odd_models_agree_without_kernels_too() {
    let found = PRESETS.map(|preset| {
        let gguf = ModelFile::odd(preset).gguf();
        difference(&gguf, &gguf)
    });
    println!("differences {found:?}");
    assert!(found.iter().all(|found| *found < BOUND), "{found:?}");
}

#[test]
fn the_bound_would_show_a_window_that_is_one_position_too_long() {
    let mut spec = SynthSpec::preset("tiny-gemma3").expect("a preset");
    let right = synthetic(&spec);
    spec.sliding_window = spec.sliding_window.map(|window| window + 1);
    let found = difference(&right, &synthetic(&spec));
    println!("difference {found}");
    assert!(found > 10.0 * BOUND, "{found}");
}
