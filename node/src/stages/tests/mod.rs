//! Stages on separate threads compute the same as the whole model in one place, bit for bit.

mod again;
mod left_off;
mod rings;
mod times;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use potluck_model::gguf::Gguf;
use potluck_model::gguf::synth::SynthSpec;
use potluck_model::{Compute, Engine, Isa, ModelConfig};
use potluck_protocol::stage::{Load, Step, StepPart};
use potluck_protocol::wire::limits::{MAX_BYTES, MAX_WORDS_BYTES};
use potluck_protocol::wire::{ContentHash, Dtype, HiddenShape, StageRefusedCode};
use potluck_protocol::{LayerRange, PeerId, PlanEpoch, SessionId, StageId};

use super::{Done, Ends, EndsError, LoadError, MemoryBudget, ModelFiles, StageExecutor, Stopped};
use crate::shape::model_shape;

const CONTEXT: u32 = 96;

struct Files(BTreeMap<ContentHash, Arc<Gguf>>);

impl ModelFiles for Files {
    fn find(&self, manifest: ContentHash, _: LayerRange) -> Option<Arc<Gguf>> {
        self.0.get(&manifest).cloned()
    }
}

/// A tiny model, and stages on a given number of threads.
struct World {
    gguf: Arc<Gguf>,
    config: ModelConfig,
    ends: Ends,
    executors: Vec<(StageExecutor, Receiver<Done>)>,
    steps: u64,
    /// Whether the last step's caches had overwritten what rows see.
    overwritten: bool,
}

const MANIFEST: ContentHash = ContentHash([7; 32]);
const OTHER_SEED: ContentHash = ContentHash([8; 32]);

fn compute() -> Compute {
    let best = Isa::available().pop().expect("there is always scalar");
    Compute::with_isa(best, NonZeroUsize::new(2))
}

fn model(preset: &str, seed: u64) -> Arc<Gguf> {
    let mut spec = SynthSpec::preset(preset).expect("a preset");
    spec.seed = seed;
    let bytes = spec.to_bytes().expect("a valid spec");
    Arc::new(Gguf::parse(bytes).expect("a valid file"))
}

/// The stage of a session.
fn stage(session: u64) -> StageId {
    StageId {
        requester: PeerId::from_public_key([1; 32]),
        session: SessionId(session),
    }
}

impl World {
    fn new(preset: &str, executors: usize, memory: Option<u64>) -> Self {
        let gguf = model(preset, 0);
        let config = ModelConfig::from_gguf(&gguf).expect("valid settings");
        let start = || {
            let (sender, receiver) = mpsc::channel();
            let files = [
                (MANIFEST, Arc::clone(&gguf)),
                (OTHER_SEED, model(preset, 1)),
            ];
            let done = move |done| sender.send(done).expect("the test listens");
            let executor = StageExecutor::start(
                compute(),
                Box::new(Files(files.into())),
                MemoryBudget::new(memory),
                Box::new(done),
            );
            (executor.expect("a thread"), receiver)
        };
        let ends = Ends::load(Arc::clone(&gguf), compute(), &MemoryBudget::new(None));
        Self {
            ends: ends.expect("a whole model"),
            executors: (0..executors).map(|_| start()).collect(),
            gguf,
            config,
            steps: 0,
            overwritten: false,
        }
    }

    fn order(&self, session: u64, layers: Range<u32>) -> Load {
        Load {
            stage: stage(session),
            epoch: PlanEpoch(1),
            manifest: MANIFEST,
            layers: LayerRange::new(layers.start, layers.end).expect("forwards"),
            context: CONTEXT,
            d_model: self.config.d_model as u32,
        }
    }

    fn load(&self, at: usize, order: Load) -> Result<u64, LoadError> {
        let (executor, done) = &self.executors[at];
        let (stage, epoch) = (order.stage, order.epoch);
        executor.load(order).expect("it runs");
        match done.recv().expect("an answer") {
            Done::Loaded {
                stage: of,
                epoch: in_epoch,
                result,
            } if (of, in_epoch) == (stage, epoch) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Computes a step on one executor. Each part is a session, a first position and hidden states.
    fn compute(&mut self, at: usize, parts: Vec<(u64, u32, Vec<u8>)>) -> Vec<Vec<u8>> {
        self.steps += 1;
        let d_model = self.config.d_model as u32;
        let parts = parts
            .into_iter()
            .map(|(session, start_position, hidden)| StepPart {
                stage: stage(session),
                start_position,
                rows: hidden.len() as u32 / (4 * d_model),
                shape: HiddenShape::new(d_model, Dtype::F32, 64).expect("small"),
                hidden,
            });
        let step = Step {
            number: self.steps,
            parts: parts.collect(),
        };
        let (executor, done) = &self.executors[at];
        executor.compute(step).expect("it runs");
        match done.recv().expect("an answer") {
            Done::Computed {
                number,
                hidden,
                overwritten,
                ..
            } if number == self.steps => {
                self.overwritten = !overwritten.is_empty();
                hidden
            }
            other => panic!("{other:?}"),
        }
    }

    /// Sends tokens of several sessions, each from its position on, through all executors. Returns
    /// the bits of each session's logits.
    fn through(&mut self, parts: &[(u64, u32, &[u32])]) -> Vec<Vec<u32>> {
        let embed = |&(session, start, tokens): &(u64, u32, &[u32])| {
            (
                session,
                start,
                self.ends.embed(tokens).expect("known tokens"),
            )
        };
        let mut hidden: Vec<_> = parts.iter().map(embed).collect();
        for at in 0..self.executors.len() {
            let computed = self.compute(at, hidden.clone());
            for ((.., hidden), computed) in hidden.iter_mut().zip(computed) {
                *hidden = computed;
            }
        }
        let logits = |(.., hidden): &(u64, u32, Vec<u8>)| {
            let logits = self.ends.logits(hidden, to_bits);
            logits.expect("whole rows")
        };
        hidden.iter().map(logits).collect()
    }

    /// The logits of a single engine with the whole model, at each position of `tokens`.
    fn expected(&self, tokens: &[u32]) -> Vec<u32> {
        let engine = Engine::from_gguf(&self.gguf, CONTEXT as usize, compute());
        let engine = engine.expect("a whole model");
        let mut session = engine.new_session().expect("memory");
        let mut bits = Vec::new();
        let read = &mut |_, logits: &[f32]| {
            bits.extend(to_bits(logits));
            Ok(())
        };
        engine
            .evaluate(&mut session, tokens, read)
            .expect("it fits");
        bits
    }
}

fn to_bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

fn tokens(count: u32, salt: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 7919 + salt * 31) % 400).collect()
}

#[test]
fn a_prompt_through_three_stages_is_what_one_engine_says() {
    for preset in ["tiny", "tiny-gemma3", "tiny-qwen3"] {
        let mut world = World::new(preset, 3, None);
        let layers = world.config.layers as u32;
        for (at, layers) in [0..1, 1..2, 2..layers].into_iter().enumerate() {
            let order = world.order(1, layers);
            world.load(at, order).expect("it is here");
        }
        let tokens = tokens(80, 0);
        let expected = world.expected(&tokens);
        // Prefill, decode, and a few rows at once as in verifying a draft.
        let mut bits = Vec::new();
        for range in [0..70, 70..71, 71..72, 72..77, 77..80] {
            let start = range.start as u32;
            bits.extend(world.through(&[(1, start, &tokens[range])]).concat());
        }
        assert!(bits == expected, "{preset}");
        // Other tokens from an earlier position on, as after a rejected draft.
        world.through(&[(1, 40, &tokens[..9])]);
        let again = world.through(&[(1, 40, &tokens[40..60])]).concat();
        let vocabulary = world.config.vocabulary;
        assert!(
            again == expected[40 * vocabulary..60 * vocabulary],
            "{preset}"
        );
    }
}

#[test]
fn sessions_that_share_steps_and_shards_do_not_feel_each_other() {
    let mut world = World::new("tiny", 2, None);
    // The third session is split differently, so its parts use other shards.
    for (session, cut) in [(1, 2), (2, 2), (3, 1)] {
        for (at, layers) in [0..cut, cut..3].into_iter().enumerate() {
            let order = world.order(session, layers);
            world.load(at, order).expect("it is here");
        }
    }
    let texts = [tokens(60, 1), tokens(30, 2), tokens(45, 3)];
    let mut bits = vec![Vec::new(); 3];
    for round in 0..15_usize {
        // Session n sends 4, 2 or 3 tokens a step, in changing order.
        let mut parts: Vec<_> = [4, 2, 3].into_iter().enumerate().collect();
        parts.rotate_left(round % 3);
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(n, rows)| {
                let start = round * rows;
                (n as u64 + 1, start as u32, &texts[n][start..start + rows])
            })
            .collect();
        for (&(session, ..), logits) in parts.iter().zip(world.through(&parts)) {
            bits[session as usize - 1].extend(logits);
        }
    }
    for (text, bits) in texts.iter().zip(bits) {
        assert!(bits == world.expected(text));
    }
}

#[test]
fn a_freed_session_is_gone_and_a_loaded_one_begins_anew() {
    let mut world = World::new("tiny", 1, None);
    let order = world.order(1, 0..3);
    let bytes = world.load(0, order.clone()).expect("it is here");
    let text = tokens(20, 4);
    let expected = world.expected(&text);
    assert!(world.through(&[(1, 0, &text)]).concat() == expected);

    world.executors[0].0.free(stage(1)).expect("it runs");
    let hidden = world.ends.embed(&text).expect("known tokens");
    assert_eq!(world.compute(0, vec![(1, 0, hidden)]), [Vec::<u8>::new()]);

    assert_eq!(world.load(0, order), Ok(bytes));
    assert!(world.through(&[(1, 0, &text)]).concat() == expected);
}

#[test]
fn the_same_stage_in_a_later_epoch_keeps_its_caches_and_another_does_not() {
    let mut world = World::new("tiny", 1, None);
    let order = world.order(1, 0..3);
    world.load(0, order.clone()).expect("it is here");
    let text = tokens(20, 5);
    let expected = world.expected(&text);
    world.through(&[(1, 0, &text[..10])]);
    let later = Load {
        epoch: PlanEpoch(2),
        ..order.clone()
    };
    world.load(0, later.clone()).expect("it is here");
    let bits = world.through(&[(1, 10, &text[10..])]).concat();
    assert!(expected.ends_with(&bits));

    let others = [
        Load {
            manifest: OTHER_SEED,
            ..later.clone()
        },
        Load {
            context: CONTEXT + 1,
            ..later.clone()
        },
        Load {
            layers: LayerRange::new(0, 2).expect("forwards"),
            ..later
        },
    ];
    let hidden = world.ends.embed(&text[10..]).expect("known tokens");
    for other in others {
        world.load(0, order.clone()).expect("it is here");
        world.through(&[(1, 0, &text[..10])]);
        world.load(0, other).expect("it is here");
        assert_eq!(
            world.compute(0, vec![(1, 10, hidden.clone())]),
            [Vec::<u8>::new()]
        );
    }
}

#[test]
fn a_part_that_cannot_be_computed_takes_no_other_down() {
    let mut world = World::new("tiny", 1, None);
    for session in 1..=4 {
        let order = world.order(session, 0..3);
        world.load(0, order).expect("it is here");
    }
    let text = tokens(CONTEXT + 1, 6);
    let expected = world.expected(&text[..20]);
    let embed = |tokens: &[u32]| world.ends.embed(tokens).expect("known tokens");
    let good = embed(&text[..20]);
    let half_a_row = good[..good.len() - 4].to_vec();
    let parts = vec![
        (2, 0, embed(&text)),
        (3, 1, good.clone()),
        (1, 0, good.clone()),
        (4, 0, half_a_row),
        (5, 0, good.clone()),
        (1, 0, good.clone()),
        (2, u32::MAX, good.clone()),
    ];
    let results = world.compute(0, parts);
    let computed: Vec<_> = results.iter().map(|hidden| !hidden.is_empty()).collect();
    assert_eq!(computed, [false, false, true, false, false, false, false]);
    let logits = world.ends.logits(&results[2], to_bits);
    assert!(logits.expect("whole rows") == expected);
    // Other sessions are unaffected by the failed parts.
    assert!(world.through(&[(2, 0, &text[..20])]).concat() == expected);
}

#[test]
fn memory_is_counted_once_for_what_is_shared_and_comes_back() {
    let world = World::new("tiny", 0, None);
    let shape = model_shape(&world.gguf, &world.config).expect("small");
    let weights: Vec<_> = shape.layers.iter().map(|l| l.memory_bytes(0)).collect();
    let kv = |layers| world.config.kv_bytes(0..layers, CONTEXT as usize);
    // Room for layers 0 and 1 with two caches, and for layer 2 with a cache of layers 1 and 2.
    let budget = weights.iter().sum::<u64>() + 2 * kv(2) + kv(2);

    let world = World::new("tiny", 1, Some(budget));
    for (session, layers) in [(1, 0..2), (2, 0..2), (3, 1..3)] {
        let expected = weights[layers.start as usize] + weights[layers.end as usize - 1] + kv(2);
        assert_eq!(world.load(0, world.order(session, layers)), Ok(expected));
    }
    let refused = world.load(0, world.order(4, 1..2)).expect_err("it is full");
    assert_eq!(refused.code, StageRefusedCode::Memory);
    assert_eq!(refused.available_bytes, 0);
    assert!(refused.words.contains("MiB") && refused.words.contains("1..2"));

    // A refused session loses its stage, and the freed memory suffices for another.
    let all = world.load(0, world.order(3, 0..3)).expect_err("too much");
    assert_eq!(all.available_bytes, weights[2] + kv(2));
    world.load(0, world.order(4, 2..3)).expect("in its place");
    for session in 1..=4 {
        world.executors[0].0.free(stage(session)).expect("it runs");
    }
    world
        .load(0, world.order(5, 0..3))
        .expect("all is free again");
}

#[test]
fn what_cannot_be_a_stage_is_refused_in_words_that_can_be_sent() {
    let world = World::new("tiny", 1, None);
    let order = world.order(1, 0..3);
    let cases = [
        (
            Load {
                manifest: ContentHash([1; 32]),
                ..order.clone()
            },
            StageRefusedCode::NoWeights,
            "weights",
        ),
        (
            Load {
                layers: LayerRange::new(2, 4).expect("forwards"),
                ..order.clone()
            },
            StageRefusedCode::Unsupported,
            "2..4",
        ),
        (
            Load {
                d_model: 128,
                ..order.clone()
            },
            StageRefusedCode::Unsupported,
            "128",
        ),
        (
            Load {
                context: 1 << 20,
                ..order
            },
            StageRefusedCode::Unsupported,
            "1048576",
        ),
    ];
    for (order, code, word) in cases {
        let refused = world.load(0, order).expect_err("impossible");
        assert_eq!(refused.code, code);
        assert!(refused.words.contains(word), "{}", refused.words);
        assert!(refused.words.len() <= MAX_WORDS_BYTES);
        assert!(refused.available_bytes <= MAX_BYTES);
    }
}

#[test]
fn ends_count_as_memory_and_refuse_what_is_no_row() {
    let world = World::new("tiny", 0, None);
    let bytes = world.ends.memory_bytes();
    let load = |budget| Ends::load(Arc::clone(&world.gguf), compute(), &budget);
    let refused = load(MemoryBudget::new(Some(bytes - 1)));
    assert!(matches!(refused, Err(EndsError::Memory(room)) if room.needed == bytes));
    let budget = MemoryBudget::new(Some(bytes));
    let held = load(budget.clone()).expect("just enough");
    assert_eq!(budget.available(), 0);
    drop(held);
    assert_eq!(budget.available(), bytes);

    for bytes in [0, 1, 4 * 256 + 1] {
        assert!(world.ends.logits(&vec![0; bytes], |_| ()).is_err());
    }
    assert!(world.ends.embed(&[u32::MAX]).is_err());
    assert!(world.ends.embed(&[]).is_ok_and(|bytes| bytes.is_empty()));
}

#[test]
fn a_thread_that_fails_says_so_and_takes_nothing_more() {
    struct Broken;
    impl ModelFiles for Broken {
        fn find(&self, _: ContentHash, _: LayerRange) -> Option<Arc<Gguf>> {
            panic!("on purpose");
        }
    }
    let world = World::new("tiny", 0, None);
    let (sender, done) = mpsc::channel();
    let executor = StageExecutor::start(
        compute(),
        Box::new(Broken),
        MemoryBudget::new(None),
        Box::new(move |report| sender.send(report).expect("the test listens")),
    );
    let executor = executor.expect("a thread");
    executor.load(world.order(1, 0..3)).expect("it runs still");
    assert_eq!(done.recv(), Ok(Done::Failed));
    // The thread dropped the callback with everything else.
    assert!(done.recv().is_err());
    assert_eq!(executor.load(world.order(1, 0..3)), Err(Stopped));
}
