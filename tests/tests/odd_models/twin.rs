//! The llama and gemma3 graphs once more, a number at a time in `f64`, from the formulas: what the
//! crate's answers are compared with.

use potluck_model::gguf::Value;
use potluck_tests::ModelFile;

use super::{TOKENS, logits, text};

/// What the graph of a file of `ModelFile::small` is.
struct Twin<'a> {
    file: &'a ModelFile,
    gemma: bool,
    head_dim: usize,
    eps: f64,
    /// Radians a position of each pair, of a layer.
    frequencies: &'a dyn Fn(usize) -> Vec<f64>,
    /// Multiplies cosines and sines.
    amplitude: f64,
    /// The window of a layer.
    window: &'a dyn Fn(usize) -> usize,
    cap: Option<f64>,
}

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const LAYERS: usize = 2;

impl<'a> Twin<'a> {
    fn llama(file: &'a ModelFile, frequencies: &'a dyn Fn(usize) -> Vec<f64>) -> Self {
        Self {
            file,
            gemma: false,
            head_dim: 16,
            eps: 1e-5,
            frequencies,
            amplitude: 1.0,
            window: &|_| usize::MAX,
            cap: None,
        }
    }

    fn get(&self, name: &str) -> Option<Vec<f64>> {
        let values = self.file.floats(name)?;
        Some(values.into_iter().map(f64::from).collect())
    }

    /// `(w · x) · scale + bias`
    fn map(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weights = self.get(&format!("{name}.weight")).expect("weights");
        let scale = self.get(&format!("{name}.scale")).map_or(1.0, |s| s[0]);
        let bias = self.get(&format!("{name}.bias"));
        let rows = weights.chunks_exact(x.len()).enumerate();
        rows.map(|(row, weights)| {
            let product: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
            product * scale + bias.as_ref().map_or(0.0, |bias| bias[row])
        })
        .collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let gamma = self.get(&format!("{name}.weight")).expect("a norm");
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + self.eps).sqrt();
        x.iter().zip(gamma).map(|(x, g)| x * scale * g).collect()
    }

    fn rotate(&self, head: &mut [f64], layer: usize, position: usize) {
        let frequencies = (self.frequencies)(layer);
        let pairs = frequencies.len();
        for (i, frequency) in frequencies.into_iter().enumerate() {
            let angle = frequency * position as f64;
            let (s, c) = (angle.sin() * self.amplitude, angle.cos() * self.amplitude);
            let (first, second) = if self.gemma {
                (i, i + pairs)
            } else {
                (2 * i, 2 * i + 1)
            };
            let (a, b) = (head[first], head[second]);
            (head[first], head[second]) = (a * c - b * s, a * s + b * c);
        }
    }

    fn attend(&self, layer: usize, normed: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let heads_of = |part: &str, turn: bool| -> Vec<Vec<Vec<f64>>> {
            let heads = normed.iter().enumerate().map(|(position, x)| {
                let heads = self.map(&name(part), x);
                let heads = heads.chunks_exact(self.head_dim).map(|head| {
                    let mut head = head.to_vec();
                    if turn && self.gemma {
                        head = self.norm(&name(&format!("{part}_norm")), &head);
                    }
                    if turn {
                        self.rotate(&mut head, layer, position);
                    }
                    head
                });
                heads.collect()
            });
            heads.collect()
        };
        let (q, k, v) = (
            heads_of("attn_q", true),
            heads_of("attn_k", true),
            heads_of("attn_v", false),
        );
        let row = |position: usize| {
            let first = (position + 1).saturating_sub((self.window)(layer));
            let mut out = Vec::new();
            for (h, query) in q[position].iter().enumerate() {
                let group = h / (HEADS / KV_HEADS);
                let scores = (first..=position).map(|at| {
                    let key = &k[at][group];
                    let product: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    product / (self.head_dim as f64).sqrt()
                });
                let weights: Vec<f64> = scores.map(f64::exp).collect();
                let total: f64 = weights.iter().sum();
                out.extend((0..self.head_dim).map(|d| {
                    let seen = weights.iter().zip(first..);
                    seen.map(|(w, at)| w * v[at][group][d]).sum::<f64>() / total
                }));
            }
            self.map(&name("attn_output"), &out)
        };
        (0..normed.len()).map(row).collect()
    }

    fn feed(&self, layer: usize, x: &[f64]) -> Vec<f64> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (gate, up) = (self.map(&name("ffn_gate"), x), self.map(&name("ffn_up"), x));
        let inner: Vec<f64> = gate.iter().zip(up).map(|(&g, u)| u * self.act(g)).collect();
        self.map(&name("ffn_down"), &inner)
    }

    fn act(&self, x: f64) -> f64 {
        if self.gemma {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            0.5 * x * (1.0 + (root * (x + 0.044_715 * x * x * x)).tanh())
        } else {
            x / (1.0 + (-x).exp())
        }
    }

    fn logits(&self) -> Vec<f64> {
        let table = self.get("token_embd.weight").expect("an embedding");
        let width = table.len() / 300;
        let scale = if self.gemma {
            (width as f64).sqrt()
        } else {
            1.0
        };
        let row = |id: &u32| table[*id as usize * width..][..width].iter();
        let mut hidden: Vec<Vec<f64>> = TOKENS
            .iter()
            .map(|id| row(id).map(|x| x * scale).collect())
            .collect();
        for layer in 0..LAYERS {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let post = |part: &str, x: Vec<f64>| match self.gemma {
                true => self.norm(&name(part), &x),
                false => x,
            };
            let normed: Vec<_> = hidden
                .iter()
                .map(|x| self.norm(&name("attn_norm"), x))
                .collect();
            for (x, added) in hidden.iter_mut().zip(self.attend(layer, &normed)) {
                add(x, &post("post_attention_norm", added));
                let fed = self.feed(layer, &self.norm(&name("ffn_norm"), x));
                add(x, &post("post_ffw_norm", fed));
            }
        }
        let rows = hidden.iter().flat_map(|x| {
            let logits = self.map("output", &self.norm("output_norm", x));
            let capped = logits
                .into_iter()
                .map(|x| self.cap.map_or(x, |cap| cap * (x / cap).tanh()));
            capped.collect::<Vec<_>>()
        });
        rows.collect()
    }

    /// Whether the crate's logits are these, to the rounding of keys and values to 16 bits, and not
    /// those of `plain`.
    fn assert_agrees(&self, plain: &ModelFile) {
        let found = logits(self.file).expect("it runs");
        let want = self.logits();
        assert_eq!(found.len(), want.len());
        let far = |a: &[f32]| {
            let differences = a.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).abs());
            differences.fold(0.0, f64::max)
        };
        assert!(far(&found) < 0.01, "differs by {}", far(&found));
        let plain = logits(plain).expect("it runs");
        assert!(far(&plain) > 0.1, "the change changes nothing");
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `10000^(−2i/d)`
fn usual(head_dim: usize) -> Vec<f64> {
    let pairs = 0..head_dim / 2;
    pairs
        .map(|i| 10_000_f64.powf(-2.0 * i as f64 / head_dim as f64))
        .collect()
}

/// The file with biases in both layers, and such scales.
fn with_extras(mut file: ModelFile, biases: &[(&str, usize)], scales: &[&str]) -> ModelFile {
    for layer in 0..LAYERS {
        for &(name, width) in biases {
            file = file.with_random(&format!("blk.{layer}.{name}.bias"), width, 0.5);
        }
        for name in scales {
            file = file.with_tensor(&format!("blk.{layer}.{name}.scale"), &[1], &[0.5]);
        }
    }
    file
}

const BIASES: [(&str, usize); 7] = [
    ("attn_q", 64),
    ("attn_k", 32),
    ("attn_v", 32),
    ("attn_output", 64),
    ("ffn_gate", 96),
    ("ffn_up", 96),
    ("ffn_down", 64),
];

#[test]
fn every_bias_of_a_linear_map_is_added() {
    let plain = ModelFile::small("tiny");
    for biases in [
        &BIASES[..],
        &BIASES[..3],
        &BIASES[3..4],
        &BIASES[4..5],
        &BIASES[6..],
    ] {
        let file = with_extras(plain.clone(), biases, &[]);
        Twin::llama(&file, &|_| usual(16)).assert_agrees(&plain);
    }
    let file = plain.clone().with_random("output.bias", 300, 0.5);
    Twin::llama(&file, &|_| usual(16)).assert_agrees(&plain);
}

#[test]
fn biases_are_added_in_a_family_that_has_none_as_a_rule() {
    let plain = gemma();
    let file = with_extras(plain.clone(), &BIASES, &[]);
    gemma_twin(&file, &|_| 16).assert_agrees(&plain);
}

#[test]
fn scales_of_matrices_multiply() {
    let plain = ModelFile::small("tiny");
    let names = ["attn_q", "attn_v", "attn_output", "ffn_gate", "ffn_down"];
    let file = with_extras(plain.clone(), &[("attn_v", 32)], &names);
    let file = file.with_tensor("output.scale", &[1], &[0.7]);
    Twin::llama(&file, &|_| usual(16)).assert_agrees(&plain);
}

#[test]
fn heads_need_not_be_a_multiple_of_8_wide() {
    for head_dim in [2, 12, 20] {
        let mut spec = ModelFile::small_spec("tiny");
        spec.head_dim = head_dim;
        let file = ModelFile::synthetic(&spec);
        let frequencies = move |_| usual(head_dim as usize);
        let twin = Twin {
            head_dim: head_dim as usize,
            ..Twin::llama(&file, &frequencies)
        };
        twin.assert_agrees(&ModelFile::small("tiny"));
    }
}

#[test]
fn yarn_scales_slow_pairs_and_raises_the_amplitude() {
    let plain = ModelFile::small("tiny");
    let file = plain
        .clone()
        .with("llama.rope.scaling.type", text("yarn"))
        .with("llama.rope.scaling.factor", Value::F32(8.0))
        .with(
            "llama.rope.scaling.original_context_length",
            Value::U32(512),
        )
        .with("llama.rope.scaling.attn_factor", Value::F32(1.5))
        // Not read by llama.cpp in these architectures.
        .with("llama.rope.scaling.yarn_beta_fast", Value::F32(2.0));
    // Of eight pairs, with 512 positions: pair 0.81 turns 32 times, pair 3.82 once.
    let kept = [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0];
    let frequencies = |_| {
        let pairs = usual(16).into_iter().zip(kept);
        pairs
            .map(|(w, kept)| w * kept + w / 8.0 * (1.0 - kept))
            .collect()
    };
    let twin = Twin {
        amplitude: 1.5 * (1.0 + 0.1 * 8_f64.ln()),
        ..Twin::llama(&file, &frequencies)
    };
    twin.assert_agrees(&plain);
}

#[test]
fn longrope_divides_by_the_factors_of_the_files_context() {
    let plain = ModelFile::small("tiny");
    let factors = |from: f32| -> Vec<f32> { (0..8).map(|i| from + i as f32).collect() };
    for (original, first) in [(64, 2.0), (256, 5.0)] {
        let file = plain
            .clone()
            .with("llama.rope.scaling.type", text("longrope"))
            .with(
                "llama.rope.scaling.original_context_length",
                Value::U32(original),
            )
            .with("llama.rope.scaling.attn_factor", Value::F32(1.25))
            .with_tensor("rope_factors_long.weight", &[8], &factors(2.0))
            .with_tensor("rope_factors_short.weight", &[8], &factors(5.0));
        let frequencies = move |_| {
            let pairs = usual(16).into_iter().enumerate();
            pairs.map(|(i, w)| w / (first + i as f64)).collect()
        };
        let twin = Twin {
            amplitude: 1.25,
            ..Twin::llama(&file, &frequencies)
        };
        twin.assert_agrees(&plain);
    }
}

fn gemma() -> ModelFile {
    let mut spec = ModelFile::small_spec("tiny-gemma3");
    spec.sliding_window = Some(16);
    ModelFile::synthetic(&spec)
}

fn gemma_twin<'a>(file: &'a ModelFile, window: &'a dyn Fn(usize) -> usize) -> Twin<'a> {
    Twin {
        gemma: true,
        eps: 1e-6,
        window,
        ..Twin::llama(file, &|_| usual(16))
    }
}

#[test]
fn gemmas_windows_go_by_the_files_pattern() {
    let key = "gemma3.attention.sliding_window";
    let plain = gemma().with(key, Value::U32(3));
    let pattern = "gemma3.attention.sliding_window_pattern";
    // Two layers, of which the last is global.
    let file = plain.clone().with(pattern, Value::U32(2));
    let second = |layer| if layer == 0 { 3 } else { usize::MAX };
    gemma_twin(&file, &second).assert_agrees(&plain);
    for no_window in [
        plain.clone().without(key),
        plain.clone().with(key, Value::U32(0)),
    ] {
        gemma_twin(&no_window, &|_| usize::MAX).assert_agrees(&plain);
    }
}

#[test]
fn gemmas_logits_are_capped() {
    let plain = gemma();
    let file = plain
        .clone()
        .with("gemma3.final_logit_softcapping", Value::F32(2.5));
    let twin = Twin {
        cap: Some(2.5),
        ..gemma_twin(&file, &|_| 16)
    };
    twin.assert_agrees(&plain);
}
