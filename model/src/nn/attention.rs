//! Grouped-query attention with rotary embedding and a KV cache.

use burn::module::{Module, Param, ParamId};
use burn::tensor::Tensor;

use super::{LayerStep, RmsNorm, Source, StoredMatrix, Stream};
use crate::ops::{self, AttentionPlan, Projected};
use crate::{ModelConfig, ModelError};

/// Projections to query, key and value, attention, and the projection back.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    query: StoredMatrix,
    key: StoredMatrix,
    value: StoredMatrix,
    output: StoredMatrix,
    biases: Option<Vec<Param<Tensor<1>>>>,
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
    pub(crate) fn load(config: &ModelConfig, source: &Source<'_>) -> Result<Self, ModelError> {
        let (d, head_dim) = (config.d_model, config.head_dim);
        let (q_width, kv_width) = (config.heads * head_dim, config.kv_heads * head_dim);
        let bias = |name, width| {
            let tensor = source.vector(name, width)?;
            Ok::<_, ModelError>(Param::initialized(ParamId::new(), tensor))
        };
        let biases = if config.qkv_bias {
            Some(vec![
                bias("attn_q.bias", q_width)?,
                bias("attn_k.bias", kv_width)?,
                bias("attn_v.bias", kv_width)?,
            ])
        } else {
            None
        };
        let norm = |name| RmsNorm::load(source, name, head_dim, config.norm_eps);
        let norms = if config.qk_norm {
            Some(vec![
                norm("attn_q_norm.weight")?,
                norm("attn_k_norm.weight")?,
            ])
        } else {
            None
        };
        Ok(Self {
            query: source.matrix("attn_q.weight", q_width, d)?,
            key: source.matrix("attn_k.weight", kv_width, d)?,
            value: source.matrix("attn_v.weight", kv_width, d)?,
            output: source.matrix("attn_output.weight", d, q_width)?,
            biases,
            norms,
            sizes: Sizes {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim,
            },
        })
    }

    /// The hidden states, and what is to be added to them. `norm` is the one before.
    ///
    /// # Shapes
    /// `[positions, d_model]` both.
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
                cache: sequence.cache_shape,
                rope_pairs: step.rope_pairs,
                window: step.window,
                scale: step.scale,
            };
            (plan, sequence.cache)
        });
        let attended = ops::rotary_attention(projected, sequences, step.angles, compute);
        (hidden, self.output.forward(attended, compute))
    }

    /// Adds biases and norms heads, where the family does.
    fn prepare(&self, projected: Projected, step: &LayerStep<'_, '_>) -> Projected {
        let Projected {
            mut q,
            mut k,
            mut v,
        } = projected;
        if let Some([bias_q, bias_k, bias_v]) = self.biases.as_deref() {
            q = q + bias_q.val().unsqueeze();
            k = k + bias_k.val().unsqueeze();
            v = v + bias_v.val().unsqueeze();
        }
        if let Some([norm_q, norm_k]) = self.norms.as_deref() {
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
            q = by_head(q, norm_q, heads);
            k = by_head(k, norm_k, kv_heads);
        }
        Projected { q, k, v }
    }

    pub(crate) fn matrices(&self) -> [&StoredMatrix; 4] {
        [&self.query, &self.key, &self.value, &self.output]
    }
}
