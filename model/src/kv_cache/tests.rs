//! Caches with rings, against caches that hold everything.

use std::num::NonZeroUsize;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::gguf::Gguf;
use crate::gguf::synth::SynthSpec;
use crate::{SequenceStep, Shard, ShardRange};

fn tiny(preset: &str) -> (Gguf, ModelConfig) {
    let spec = SynthSpec::preset(preset).expect("a preset");
    let gguf = Gguf::parse(spec.to_bytes().expect("valid")).expect("valid");
    let config = ModelConfig::from_gguf(&gguf).expect("valid");
    (gguf, config)
}

#[test]
fn blocks_are_repeated_within_each_head() {
    let (_, config) = tiny("tiny");
    let compute = Compute::new(None).expect("a usable instruction set");
    let mut cache = KvCache::new(&config, 0..1, 256, &compute).expect("memory");
    let [keys, values] = cache.layer(0).take();
    let device = keys.device();
    let dtype = dtype(&device);
    let numbers = |count: usize| (0..count).map(|i| (i % 1021) as f32).collect::<Vec<_>>();
    let count = keys.dims()[0];
    let filled = TensorData::new(numbers(count), [count]).convert_dtype(dtype);
    let filled = Tensor::<1>::from_data(filled, (&device, dtype));
    cache.layer(0).put([filled, values]);
    cache.repeat(150, 193);
    let block = BLOCK * cache.layer(0).shape().head_dim;
    let [keys, _] = cache.layer(0).take();
    let keys: Vec<f32> = keys.into_data().iter::<f32>().collect();
    let expected = numbers(count);
    for (head, expected) in keys
        .chunks_exact(4 * block)
        .zip(expected.chunks_exact(4 * block))
    {
        assert_eq!(head[..2 * block], expected[..2 * block]);
        assert_eq!(head[2 * block..], expected[..2 * block]);
    }
}

#[test]
fn what_is_reserved_is_what_the_configuration_counts() {
    let (_, config) = tiny("tiny-gemma3");
    let compute = Compute::new(None).expect("a usable instruction set");
    for (layers, context) in [(0..6, 2_048), (1..4, 2_048), (3..6, 100), (0..6, 640)] {
        let cache = KvCache::new(&config, layers.clone(), context, &compute).expect("memory");
        assert_eq!(cache.bytes() as u64, config.kv_bytes(layers, context));
    }
    // Five layers hold 640 positions, and one holds all.
    let position = config.kv_bytes_per_position();
    assert_eq!(config.kv_bytes(0..6, 2_048), position * (5 * 640 + 2_048));
    assert_eq!(config.kv_bytes(0..6, 640), position * 6 * 640);
}

#[test]
fn gemma_3_1b_needs_a_fifth_of_what_it_needed_for_32k() {
    let (_, mut config) = tiny("tiny-gemma3");
    // Its numbers, without its weights.
    (config.layers, config.kv_heads, config.head_dim) = (26, 1, 256);
    let pattern = config.attention.clone();
    config.attention = (0..26).map(|layer| pattern[layer % 6]).collect();
    for attention in &mut config.attention {
        attention.window = attention.window.map(|_| 512);
    }
    let before = config.kv_bytes_per_position() * 26 * 32_768;
    let after = config.kv_bytes(0..26, 32_768);
    assert_eq!((before, after), (872_415_232, 158_728_192));
}

/// A step of a sequence: how far it is cut back before, and how many positions it has.
type Move = (usize, usize);

/// Positions by which a sequence of the property can always be cut back.
const LEAST: usize = 64;
const CAPACITY: usize = 1_024;

struct Pair {
    shard: Shard,
    /// A cache with rings of three blocks, and one that holds everything.
    caches: [KvCache; 2],
    ids: Vec<u32>,
}

impl Pair {
    fn new() -> Self {
        let (gguf, config) = tiny("tiny-gemma3");
        let compute = Compute::new(NonZeroUsize::new(1)).expect("a usable instruction set");
        let range = ShardRange::whole(&config);
        let windows: Vec<_> = config.attention.iter().map(|a| a.window).collect();
        let cache = |windows: Vec<Option<usize>>, least: usize| {
            let sizes = (CAPACITY, least);
            KvCache::with_windows(&config, windows.into(), 0..6, sizes, &compute).expect("memory")
        };
        let caches = [cache(windows, LEAST), cache(vec![None; 6], 0)];
        assert_eq!(caches[0].of_layers[0].shape().blocks(), 3);
        Self {
            shard: Shard::load(&gguf, &config, range, compute).expect("a model"),
            caches,
            ids: Vec::new(),
        }
    }

    /// Reads tokens behind the first `len`, and compares what comes out.
    fn read(&mut self, len: usize, count: usize) -> Result<(), ModelError> {
        self.ids.truncate(len);
        let salt = self.ids.len() * 31 + count;
        let new = (0..count).map(|at| ((at * 37 + salt) % 500) as u32);
        self.ids.extend(new);
        let mut bits = Vec::new();
        for cache in &mut self.caches {
            let hidden = self.shard.embed(&self.ids[len..]).expect("known");
            let mut step = [SequenceStep {
                cache,
                start: len,
                count,
            }];
            let hidden = self.shard.forward(hidden, &mut step)?.into_data();
            let values = hidden.iter::<f32>().map(f32::to_bits);
            bits.push(values.collect::<Vec<_>>());
        }
        assert!(bits[0] == bits[1], "{count} from {len}");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sequence_of_steps_and_roll_backs_has_the_bits_of_a_cache_that_holds_everything(
        moves in vec((prop_oneof![3 => 0..9_usize, 2 => 0..300_usize], 1..150_usize), 5..25),
    ) {
        let mut pair = Pair::new();
        for (back, count) in moves {
            let (end, count): Move = (pair.ids.len(), count);
            let mut len = end.saturating_sub(back);
            if len + count > CAPACITY {
                len = 0;
            }
            prop_assert!(back > LEAST || len == 0 || pair.caches[0].holds(len));
            if !pair.caches[0].holds(len) {
                let refused = pair.read(len, count);
                prop_assert!(refused.is_err_and(|error| error.is_overwritten()));
                len = 0;
            }
            pair.read(len, count).expect("it holds what is seen");
            prop_assert!(pair.caches[0].holds(pair.ids.len()));
        }
    }
}

#[test]
fn layers_of_one_cache_can_be_at_different_positions() {
    let mut pair = Pair::new();
    pair.read(0, 600).expect("from the beginning");
    let [ring, _] = pair.caches;
    let mut ring = ring
        .for_layers(2..6)
        .expect("memory")
        .for_layers(0..6)
        .expect("memory");
    // The first two are new, and the others go on.
    assert!(ring.layers_hold(0..2, 300) && !ring.layers_hold(2..6, 300));
    assert!(!ring.holds(300) && ring.holds(600));
    ring.append(0..2, 0, 10);
    ring.append(2..6, 600, 601);
    assert!(ring.holds(601) && ring.layers_hold(0..2, 10));
}
