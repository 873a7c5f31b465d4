//! The operations composed of Burn's own: their readable definitions, the oracle of the fused
//! ones, and what runs on a backend without kernels. Floating-point sums fold in Burn's order, so
//! results agree with the fused operations to rounding, not to the bit.

use burn::tensor::activation::{gelu_approximate, sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Storage;
use crate::config::{Activation, RopePairs};
use crate::kernels::dequantise::dequantise_row;

/// Stored rows as `f32`: table `[rows, row_bytes]` to `[rows, columns]`.
pub fn dequantise(table: Tensor<2, Int>, storage: &Storage) -> Tensor<2> {
    let device = table.device();
    let [rows, row_bytes] = table.dims();
    let data = table.into_data();
    let mut values = vec![0.0; rows * storage.columns];
    let bytes = data.as_bytes().chunks_exact(row_bytes);
    for (out, bytes) in values.chunks_exact_mut(storage.columns).zip(bytes) {
        dequantise_row(storage.tensor_type, bytes, out);
    }
    Tensor::from_data(TensorData::new(values, [rows, storage.columns]), &device)
}

/// The rows `ids` of a stored table, times `scale`: `[ids, columns]`.
pub fn embedding_rows(
    table: Tensor<2, Int>,
    storage: Storage,
    ids: Tensor<1, Int>,
    scale: f32,
) -> Tensor<2> {
    dequantise(table, &storage).select(0, ids) * scale
}

/// `y = x / sqrt(mean(x²) + eps) · gamma` over the last axis.
pub fn rms_norm(x: Tensor<2>, gamma: Tensor<1>, eps: f32) -> Tensor<2> {
    let rms = (x.clone().square().mean_dim(1) + eps).sqrt();
    x / rms * gamma.unsqueeze()
}

/// `s = x + residual` and its [`rms_norm`]: `(s, norm)`.
pub fn add_norm(
    x: Tensor<2>,
    residual: Tensor<2>,
    gamma: Tensor<1>,
    eps: f32,
) -> (Tensor<2>, Tensor<2>) {
    let sum = x + residual;
    (sum.clone(), rms_norm(sum, gamma, eps))
}

/// `y = (x · wᵀ) · scale + bias`: x `[positions, columns]`, w `[rows, row_bytes]`, y
/// `[positions, rows]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2, Int>, storage: Storage) -> Tensor<2> {
    let device = weight.device();
    let mut y = x.matmul(dequantise(weight, &storage).transpose());
    if let Some(scale) = storage.scale {
        y = y * scale;
    }
    if let Some(bias) = &storage.bias {
        let bias = TensorData::new(bias.to_vec(), [1, bias.len()]);
        y = y + Tensor::from_data(bias, &device);
    }
    y
}

/// `y = cap · tanh(x / cap)` of every element.
pub fn softcap(x: Tensor<2>, cap: f32) -> Tensor<2> {
    (x / cap).tanh() * cap
}

/// `y = (activation(x · gateᵀ) ⊙ (x · upᵀ)) · downᵀ`, each product with its scale and bias.
pub fn feed_forward(
    x: Tensor<2>,
    [gate, up, down]: [(Tensor<2, Int>, Storage); 3],
    activation: Activation,
) -> Tensor<2> {
    let gate = linear(x.clone(), gate.0, gate.1);
    let up = linear(x, up.0, up.1);
    let activated = match activation {
        Activation::Silu => gate.clone() * sigmoid(gate),
        Activation::GeluTanh => gelu_approximate(gate),
    };
    linear(activated * up, down.0, down.1)
}

/// Rotates heads `[positions, heads, head_dim]`, of which the first `2 · angles` coordinates turn
/// by `cos` and `sin`, `[positions, angles]`.
pub fn rotate(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>, pairs: RopePairs) -> Tensor<3> {
    let [positions, heads, head_dim] = x.dims();
    let [_, angles] = cos.dims();
    let turned = x.clone().narrow(2, 0, 2 * angles);
    let (cos, sin) = (cos.unsqueeze_dim::<3>(1), sin.unsqueeze_dim::<3>(1));
    let shape = [positions, heads, angles];
    let (a, b) = match pairs {
        RopePairs::Halves => {
            let second = turned.clone().narrow(2, angles, angles);
            (turned.narrow(2, 0, angles), second)
        }
        RopePairs::Adjacent => {
            let split = turned.reshape([positions, heads, angles, 2]);
            let second = split.clone().narrow(3, 1, 1).reshape(shape);
            (split.narrow(3, 0, 1).reshape(shape), second)
        }
    };
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = a * sin + b * cos;
    let turned: Tensor<3> = match pairs {
        RopePairs::Halves => Tensor::cat(vec![first, second], 2),
        RopePairs::Adjacent => {
            let both = Tensor::stack::<4>(vec![first, second], 3);
            both.reshape([positions, heads, 2 * angles])
        }
    };
    if head_dim == 2 * angles {
        return turned;
    }
    let rest = x.narrow(2, 2 * angles, head_dim - 2 * angles);
    Tensor::cat(vec![turned, rest], 2)
}

/// Causal grouped-query attention of a whole sequence from position 0: q
/// `[positions, heads, head_dim]`, k and v `[positions, kv_heads, head_dim]`, output
/// `[positions, heads · head_dim]`.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    window: Option<usize>,
    scale: f32,
) -> Tensor<2> {
    let [positions, heads, head_dim] = q.dims();
    let [_, kv_heads, _] = k.dims();
    let group = heads / kv_heads;
    let spread = |x: Tensor<3>| {
        let x = x.unsqueeze_dim::<4>(2).repeat_dim(2, group);
        x.reshape([positions, heads, head_dim]).swap_dims(0, 1)
    };
    let (k, v) = (spread(k), spread(v));
    let scores = q.swap_dims(0, 1).matmul(k.swap_dims(1, 2)) * scale;
    let scores = scores + mask(positions, window, &v.device()).unsqueeze::<3>();
    let out = softmax(scores, 2).matmul(v);
    out.swap_dims(0, 1).reshape([positions, heads * head_dim])
}

/// 0 where a position may look, −10³⁰ where not: `[positions, positions]`.
fn mask(positions: usize, window: Option<usize>, device: &Device) -> Tensor<2> {
    let window = window.unwrap_or(positions);
    let allowed = |i: usize, j: usize| j <= i && i - j < window;
    let values: Vec<f32> = (0..positions)
        .flat_map(|i| (0..positions).map(move |j| if allowed(i, j) { 0.0 } else { -1e30 }))
        .collect();
    Tensor::from_data(TensorData::new(values, [positions, positions]), device)
}
