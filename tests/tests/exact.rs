//! Invariant I1: a position's logits depend on the model file and the tokens so far, and on
//! nothing else, to the bit: not on the instruction set, the threads, how a prompt is cut, how the
//! layers are split, or who shares a step.

use std::num::NonZeroUsize;
use std::ops::Range;

use potluck_model::gguf::Gguf;
use potluck_model::gguf::synth::{Matrix, RopeScaling, SynthSpec, TypeMix};
use potluck_model::{
    Architecture, Compute, Isa, KvCache, ModelConfig, SequenceStep, Shard, ShardRange, TensorType,
};
use potluck_tests::{ModelFile, model_path};
use proptest::prelude::*;

struct Model {
    gguf: Gguf,
    config: ModelConfig,
}

impl Model {
    fn synthetic(spec: &SynthSpec) -> Self {
        let bytes = spec.to_bytes().expect("a valid spec");
        Self::new(Gguf::parse(bytes).expect("a valid file"))
    }

    fn new(gguf: Gguf) -> Self {
        let config = ModelConfig::from_gguf(&gguf).expect("valid settings");
        Self { gguf, config }
    }

    fn shard(&self, range: ShardRange, compute: Compute) -> Shard {
        Shard::load(&self.gguf, &self.config, range, compute).expect("a loadable shard")
    }

    fn cache(&self, layers: Range<usize>, compute: &Compute) -> KvCache {
        KvCache::new(&self.config, layers, 160, compute).expect("memory for a small cache")
    }

    /// All logits of `tokens` as bits, read in steps that end at `cuts`, through shards that end
    /// at `splits`.
    fn logits(
        &self,
        tokens: &[u32],
        compute: &Compute,
        cuts: &[usize],
        splits: &[usize],
    ) -> Vec<u32> {
        let shards = self.split(splits, compute);
        let mut caches: Vec<_> = shards
            .iter()
            .map(|s| self.cache(s.range().layers.clone(), compute))
            .collect();
        let mut bits = Vec::new();
        let mut start = 0;
        for end in cuts.iter().copied().chain([tokens.len()]) {
            if end <= start || end > tokens.len() {
                continue;
            }
            let mut hidden = shards[0].embed(&tokens[start..end]).expect("known tokens");
            for (shard, cache) in shards.iter().zip(&mut caches) {
                let step = SequenceStep {
                    cache,
                    start,
                    count: end - start,
                };
                hidden = shard
                    .forward(hidden, &mut [step])
                    .expect("within the cache");
            }
            let head = shards.last().expect("at least one shard");
            bits.extend(head.logits(hidden, to_bits).expect("the last has the head"));
            start = end;
        }
        bits
    }

    fn split(&self, splits: &[usize], compute: &Compute) -> Vec<Shard> {
        let mut ends: Vec<_> = splits
            .iter()
            .map(|s| s % (self.config.layers + 1))
            .chain([self.config.layers])
            .collect();
        ends.sort_unstable();
        let mut first = 0;
        let count = ends.len();
        ends.into_iter()
            .enumerate()
            .map(|(i, end)| {
                let range = ShardRange {
                    embedding: i == 0,
                    layers: first..end,
                    head: i + 1 == count,
                };
                first = end;
                self.shard(range, compute.clone())
            })
            .collect()
    }

    /// The logits of several sequences that share every step, each sequence's own.
    fn together(&self, sequences: &[Vec<u32>], compute: &Compute) -> Vec<Vec<u32>> {
        let shard = self.shard(ShardRange::whole(&self.config), compute.clone());
        let mut caches: Vec<_> = sequences
            .iter()
            .map(|_| self.cache(0..self.config.layers, compute))
            .collect();
        let mut bits = vec![Vec::new(); sequences.len()];
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let width = self.config.vocabulary;
        // Sequence i takes i + 1 tokens a step, while it has any.
        for round in 0..longest {
            let mut tokens = Vec::new();
            let mut steps = Vec::new();
            let mut whose = Vec::new();
            for (i, (sequence, cache)) in sequences.iter().zip(&mut caches).enumerate() {
                let start = round * (i + 1);
                let end = (start + i + 1).min(sequence.len());
                if start < end {
                    tokens.extend_from_slice(&sequence[start..end]);
                    whose.extend(std::iter::repeat_n(i, end - start));
                    let count = end - start;
                    steps.push(SequenceStep {
                        cache,
                        start,
                        count,
                    });
                }
            }
            if tokens.is_empty() {
                break;
            }
            let hidden = shard.embed(&tokens).expect("known tokens");
            let hidden = shard
                .forward(hidden, &mut steps)
                .expect("within the caches");
            let logits = shard.logits(hidden, to_bits).expect("it has the head");
            for (row, i) in logits.chunks_exact(width).zip(whose) {
                bits[i].extend_from_slice(row);
            }
        }
        bits
    }
}

fn to_bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

fn best() -> Isa {
    Isa::available().pop().expect("there is always scalar")
}

fn compute(isa: Isa, threads: usize) -> Compute {
    Compute::with_isa(isa, NonZeroUsize::new(threads))
}

prop_compose! {
    /// A small model of any architecture, shape and types.
    fn any_spec()(
        architecture in prop::sample::select(Architecture::ALL.to_vec()),
        matrices in prop::sample::select(TensorType::ALL.to_vec()),
        embedding in prop::sample::select(TensorType::ALL.to_vec()),
        down in prop::sample::select(TensorType::ALL.to_vec()),
        layers in 1..4_u32,
        group in 1..4_u32,
        kv_heads in 1..3_u32,
        head_dim in prop::sample::select(vec![32_u32, 64, 96]),
        vocabulary in 400..500_u32,
        tied in any::<bool>(),
        seed in any::<u64>(),
        rope in 0..3_usize,
        window in 3..90_u32,
    ) -> SynthSpec {
        let mut spec = SynthSpec::preset("tiny").expect("a preset");
        spec.architecture = architecture;
        // Every width must be whole blocks of 256 for the K types.
        spec.d_model = 256;
        spec.d_ff = 512;
        spec.kv_heads = if head_dim == 96 { 8 } else { 256 / head_dim * kv_heads };
        spec.heads = spec.kv_heads * group;
        spec.head_dim = head_dim;
        spec.layers = layers;
        spec.vocabulary = vocabulary;
        spec.types = TypeMix::uniform(matrices)
            .with(Matrix::Embedding, embedding)
            .with(Matrix::FfnDown, down);
        spec.tied = tied;
        spec.seed = seed;
        spec.rope_scaling = match rope {
            0 => RopeScaling::None,
            _ => spec.rope_scaling,
        };
        spec.sliding_window = (architecture == Architecture::Gemma3).then_some(window);
        spec
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn logits_do_not_depend_on_how_they_are_computed(
        spec in any_spec(),
        tokens in prop::collection::vec(0..400_u32, 1..100),
        cuts in prop::collection::vec(1..100_usize, 0..6),
        splits in prop::collection::vec(0..8_usize, 0..4),
    ) {
        let model = Model::synthetic(&spec);
        let expected = model.logits(&tokens, &compute(Isa::SCALAR, 1), &[], &[]);
        let mut cuts = cuts;
        cuts.sort_unstable();
        for isa in Isa::available() {
            for threads in 1..4 {
                let compute = compute(isa, threads);
                prop_assert!(model.logits(&tokens, &compute, &cuts, &splits) == expected);
            }
        }
        let one_by_one: Vec<_> = (1..tokens.len()).collect();
        prop_assert!(model.logits(&tokens, &compute(best(), 2), &one_by_one, &[]) == expected);
    }

    #[test]
    fn logits_do_not_depend_on_who_shares_a_step(
        spec in any_spec(),
        sequences in prop::collection::vec(prop::collection::vec(0..400_u32, 1..40), 1..5),
    ) {
        let model = Model::synthetic(&spec);
        let best = compute(best(), 2);
        let together = model.together(&sequences, &best);
        for (sequence, together) in sequences.iter().zip(together) {
            prop_assert!(model.logits(sequence, &best, &[], &[]) == together);
        }
    }
}

#[test]
fn odd_models_are_the_same_however_they_are_computed() {
    for preset in ["tiny", "tiny-qwen2", "tiny-qwen3", "tiny-gemma3"] {
        let model = Model::new(ModelFile::odd(preset).gguf());
        let tokens: Vec<_> = (0..90).map(|i| i * 7919 % 300).collect();
        let expected = model.logits(&tokens, &compute(Isa::SCALAR, 1), &[], &[]);
        let one_by_one: Vec<_> = (1..tokens.len()).collect();
        for isa in Isa::available() {
            for (threads, cuts, splits) in [
                (1, &[][..], &[][..]),
                (2, &one_by_one[..], &[1]),
                (3, &[1, 5, 64, 70], &[0, 1]),
            ] {
                let found = model.logits(&tokens, &compute(isa, threads), cuts, splits);
                assert!(found == expected, "{preset}, {isa}, cuts {cuts:?}");
            }
        }
    }
}

/// More tokens than one block of attention holds.
fn some_tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| i * 7919 % 49_000).collect()
}

#[test]
fn smollm2_is_the_same_however_it_is_computed() {
    let path = model_path("smollm2:135m");
    let model = Model::new(Gguf::open(&path).expect("a valid file"));
    let tokens = some_tokens(70);
    let expected = model.logits(&tokens, &compute(best(), 1), &[], &[]);

    let one_by_one: Vec<_> = (1..tokens.len()).collect();
    for (threads, cuts, splits) in [
        (2, &one_by_one[..], &[][..]),
        (3, &[1, 5, 8, 64, 66], &[10, 20]),
        (2, &[33], &[1, 29]),
        (1, &[], &[0, 30]),
    ] {
        let found = model.logits(&tokens, &compute(best(), threads), cuts, splits);
        assert!(
            found == expected,
            "{threads} threads, cuts {cuts:?}, splits {splits:?}"
        );
    }
    // Slow instruction sets read fewer tokens: all at once, and by the path of single ones.
    let few = &tokens[..12];
    let expected_of_few = &expected[..few.len() * model.config.vocabulary];
    for isa in Isa::available() {
        for cuts in [&[][..], &[1, 2, 3, 5]] {
            let found = model.logits(few, &compute(isa, 2), cuts, &[15]);
            assert!(found == expected_of_few, "{isa}, cuts {cuts:?}");
        }
    }
}

#[test]
fn smollm2_is_the_same_beside_other_sequences() {
    let path = model_path("smollm2:135m");
    let model = Model::new(Gguf::open(&path).expect("a valid file"));
    let tokens = some_tokens(40);
    let sequences = [&tokens[..9], &tokens[3..40], &tokens[20..35]].map(<[u32]>::to_vec);
    let compute = compute(best(), 2);
    let together = model.together(&sequences, &compute);
    for (sequence, together) in sequences.iter().zip(together) {
        assert!(model.logits(sequence, &compute, &[], &[]) == together);
    }
}
