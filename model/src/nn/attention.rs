//! Grouped-query attention with rotary embedding and a KV cache.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{LayerStep, RmsNorm, Source, StoredMatrix, Stream};
use crate::ops::{self, AttentionPlan, Projected};
use crate::{ModelConfig, ModelError};

/// Query, key and value projections, attention, and output projection.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    query: StoredMatrix,
    key: StoredMatrix,
    value: StoredMatrix,
    output: StoredMatrix,
    norms: Option<Vec<RmsNorm>>,
    #[module(skip)]
    sizes: Sizes,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_, '_>) -> Result<Self, ModelError> {
        let (d, head_dim) = (config.d_model, config.head_dim);
        let (q_width, kv_width) = (config.heads * head_dim, config.kv_heads * head_dim);
        let norm = |name| RmsNorm::load(source, name, head_dim, config.norm_eps);
        let norms = if config.qk_norm {
            Some(vec![
                norm("attn_q_norm.weight")?,
                norm("attn_k_norm.weight")?,
            ])
        } else {
            None
        };
        let [query, key, value] = projections(source, [q_width, kv_width, kv_width], d)?;
        Ok(Self {
            query,
            key,
            value,
            output: source.linear("attn_output", d, q_width)?,
            norms,
            sizes: Sizes {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim,
            },
        })
    }

    /// The projections of queries, keys, values and output, without norms of heads.
    pub(crate) fn of(config: &ModelConfig, projections: [StoredMatrix; 4]) -> Self {
        let [query, key, value, output] = projections;
        Self {
            query,
            key,
            value,
            output,
            norms: None,
            sizes: Sizes {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
            },
        }
    }

    /// Returns the hidden states and the attention output to add to them. `norm` is the preceding
    /// norm.
    ///
    /// # Shapes
    /// Both `[positions, d_model]`.
    pub(crate) fn forward(
        &self,
        norm: &RmsNorm,
        stream: Stream,
        step: LayerStep<'_, '_>,
    ) -> (Tensor<2>, Tensor<2>) {
        let compute = step.compute;
        let weights = [self.query.parts(), self.key.parts(), self.value.parts()];
        let Stream { hidden, added } = stream;
        let (hidden, [q, k, v]) = match added {
            Some(added) => norm.of_sum(hidden, added, compute).linear_triple(weights),
            None => {
                let normed = norm.forward(hidden.clone(), compute);
                (hidden, ops::linear_triple(normed, weights, compute))
            }
        };
        let projected = self.prepare(Projected { q, k, v }, &step);
        let sequences = step.sequences.into_iter().map(|sequence| {
            let plan = AttentionPlan {
                rows: sequence.rows,
                start: sequence.start,
                heads: self.sizes.heads,
                head_dim: self.sizes.head_dim,
                cache: sequence.cache.shape(),
                rope_pairs: step.rope_pairs,
                window: step.window,
                scale: step.scale,
            };
            (plan, sequence.cache)
        });
        let attended = ops::rotary_attention(projected, sequences, step.angles, compute);
        (hidden, self.output.forward(attended, compute))
    }

    /// Normalises each head, in families that do so.
    fn prepare(&self, projected: Projected, step: &LayerStep<'_, '_>) -> Projected {
        let Some([norm_q, norm_k]) = self.norms.as_deref() else {
            return projected;
        };
        let Projected { q, k, v } = projected;
        let Sizes {
            heads,
            kv_heads,
            head_dim,
        } = self.sizes;
        let [positions, _width] = q.dims();
        let by_head = |x: Tensor<2>, norm: &RmsNorm, heads: usize| {
            let x = norm.forward(x.reshape([positions * heads, head_dim]), step.compute);
            x.reshape([positions, heads * head_dim])
        };
        Projected {
            q: by_head(q, norm_q, heads),
            k: by_head(k, norm_k, kv_heads),
            v,
        }
    }

    pub(crate) fn matrices(&self) -> [&StoredMatrix; 4] {
        [&self.query, &self.key, &self.value, &self.output]
    }

    pub(crate) fn matrices_mut(&mut self) -> [&mut StoredMatrix; 4] {
        [
            &mut self.query,
            &mut self.key,
            &mut self.value,
            &mut self.output,
        ]
    }
}

/// Loads the query, key and value projections, `[width, d_model]` each: from three tensors, or from
/// the rows of one tensor, with their own or shared biases.
fn projections(
    source: &Source<'_, '_>,
    widths: [usize; 3],
    d_model: usize,
) -> Result<[StoredMatrix; 3], ModelError> {
    const NAMES: [&str; 3] = ["attn_q", "attn_k", "attn_v"];
    const FUSED: &str = "attn_qkv";
    let fused = source.has("attn_qkv.weight");
    let all: usize = widths.iter().sum();
    let mut start = 0;
    let mut next = |at: usize| {
        let (name, width) = (NAMES[at], widths[at]);
        if !fused {
            return source.linear(name, width, d_model);
        }
        let rows = start..start + width;
        start = rows.end;
        let mut matrix = source.matrix("attn_qkv.weight", rows.clone(), all, d_model)?;
        source.finish(&mut matrix, FUSED, rows, all)?;
        if matrix.storage.bias.is_none() {
            let bias = format!("{name}.bias");
            if source.has(&bias) {
                matrix.storage.bias = Some(source.floats(&bias, width)?.into());
            }
        }
        Ok(matrix)
    };
    Ok([next(0)?, next(1)?, next(2)?])
}
