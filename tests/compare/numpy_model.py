"""Language models in plain float32 numpy, straight from a GGUF file: the oracle of reference.py.

Written to be checked by eye against the papers, not to be fast: all weights are made float32, and
every position is computed at once, without a cache.
"""

from dataclasses import dataclass, replace

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


@dataclass(frozen=True)
class Config:
    """What a file says of its model, and how its family differs from llama's graph."""

    architecture: str
    layers: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope_dim: int
    rope_base: float
    rope_factor: float
    # Rotated pairs are neighbours, (0, 1), (2, 3) …; or else lie half the rotated width apart.
    adjacent_pairs: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    # Of gemma3: every sixth layer sees all positions, the others the last `window` and with a
    # rotary base of their own; outputs are normed, too; embeddings are scaled.
    gemma: bool = False
    window: int = 0
    local_rope_base: float = 10_000.0

    def is_local(self, layer):
        return self.gemma and (layer + 1) % 6 != 0


def read_config(fields):
    architecture = fields["general.architecture"].contents()

    def get(key, *default):
        field = fields.get(f"{architecture}.{key}")
        if field is None and not default:
            raise ValueError(f"the file has no {architecture}.{key}")
        return field.contents() if field else default[0]

    heads, d_model = get("attention.head_count"), get("embedding_length")
    head_dim = get("attention.key_length", d_model // heads)
    is_linear = get("rope.scaling.type", "none") == "linear"
    common = Config(
        architecture=architecture,
        layers=get("block_count"),
        d_model=d_model,
        heads=heads,
        kv_heads=get("attention.head_count_kv", heads),
        head_dim=head_dim,
        norm_eps=get("attention.layer_norm_rms_epsilon"),
        rope_dim=get("rope.dimension_count", head_dim),
        rope_base=get("rope.freq_base", 10_000.0),
        rope_factor=get("rope.scaling.factor") if is_linear else 1.0,
    )
    match architecture:
        case "llama":
            return replace(common, adjacent_pairs=True)
        case "qwen2":
            return replace(common, qkv_bias=True)
        case "qwen3":
            return replace(common, qk_norm=True)
        case "gemma3":
            local_base = get("rope.freq_base_swa", 10_000.0)
            window = get("attention.sliding_window")
            return replace(common, qk_norm=True, gemma=True, window=window, local_rope_base=local_base)
    raise ValueError(f"this reference does not know the architecture {architecture}")


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.config = read_config(reader.fields)
        self.tensors = {tensor.name: to_float32(tensor) for tensor in reader.tensors}

    @property
    def vocabulary(self):
        return len(self.tensors["token_embd.weight"])

    def logits(self, ids):
        """Of every position's next token: `[positions, vocabulary]`."""
        config, embedding = self.config, self.tensors["token_embd.weight"]
        x = embedding[ids]
        if config.gemma:
            x = x * np.float32(config.d_model) ** 0.5
        for layer in range(config.layers):
            x = self.block(x, layer)
        head = self.tensors.get("output.weight", embedding)
        return self.norm(x, self.tensors["output_norm.weight"]) @ head.T

    def block(self, x, layer):
        weights = Weights(self.tensors, f"blk.{layer}")
        attended = self.attention(self.norm(x, weights["attn_norm"]), weights, layer)
        if self.config.gemma:
            attended = self.norm(attended, weights["post_attention_norm"])
        x = x + attended
        added = self.feed_forward(self.norm(x, weights["ffn_norm"]), weights)
        if self.config.gemma:
            added = self.norm(added, weights["post_ffw_norm"])
        return x + added

    def attention(self, x, weights, layer):
        config, positions = self.config, len(x)
        q, k, v = (
            self.project(x, weights, name).reshape(positions, heads, config.head_dim)
            for name, heads in (("attn_q", config.heads), ("attn_k", config.kv_heads), ("attn_v", config.kv_heads))
        )
        if config.qk_norm:
            q, k = self.norm(q, weights["attn_q_norm"]), self.norm(k, weights["attn_k_norm"])
        cos, sin = self.angles(positions, layer)
        q, k = (self.rotate(heads, cos, sin) for heads in (q, k))
        # Query heads share key and value heads in groups.
        k, v = (np.repeat(heads, config.heads // config.kv_heads, axis=1) for heads in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.float32(config.head_dim) ** 0.5
        distance = np.arange(positions)[:, None] - np.arange(positions)
        seen = (distance >= 0) & ((distance < config.window) | (not config.is_local(layer)))
        probabilities = softmax(np.where(seen, scores, np.float32(-np.inf)))
        mixed = np.einsum("hqk,khd->qhd", probabilities, v)
        return mixed.reshape(positions, -1) @ weights["attn_output"].T

    def project(self, x, weights, name):
        y = x @ weights[name].T
        return y + weights.bias(name) if self.config.qkv_bias else y

    def feed_forward(self, x, weights):
        gate = x @ weights["ffn_gate"].T
        activated = gelu_tanh(gate) if self.config.gemma else gate / (1 + np.exp(-gate))
        return (activated * (x @ weights["ffn_up"].T)) @ weights["ffn_down"].T

    def norm(self, x, gamma):
        """`x / sqrt(mean(x²) + eps) · gamma` over the last axis."""
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.config.norm_eps)) * gamma

    def angles(self, positions, layer):
        """Cosines and sines, `[positions, 1, rope_dim / 2]`: pair `i` turns by `base^(-2i/d)` a position."""
        config = self.config
        exponents = -np.arange(0, config.rope_dim, 2) / config.rope_dim
        if config.is_local(layer):
            frequencies = config.local_rope_base**exponents
        else:
            # llama3 scaling comes as divisors in the file.
            divisors = self.tensors.get("rope_freqs.weight", np.float32(1))
            frequencies = config.rope_base**exponents / divisors / config.rope_factor
        angles = np.arange(positions)[:, None, None] * frequencies
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def rotate(self, heads, cos, sin):
        width = self.config.rope_dim
        if self.config.adjacent_pairs:
            firsts, seconds = slice(0, width, 2), slice(1, width, 2)
        else:
            firsts, seconds = slice(0, width // 2), slice(width // 2, width)
        rotated = heads.copy()
        a, b = heads[..., firsts], heads[..., seconds]
        rotated[..., firsts] = a * cos - b * sin
        rotated[..., seconds] = a * sin + b * cos
        return rotated


class Weights:
    """One block's tensors, by their short names."""

    def __init__(self, tensors, prefix):
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name):
        return self.tensors[f"{self.prefix}.{name}.weight"]

    def bias(self, name):
        return self.tensors[f"{self.prefix}.{name}.bias"]


def to_float32(tensor):
    # GGUF lists sizes from the fastest axis on.
    shape = [int(size) for size in reversed(tensor.shape)]
    return dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False).reshape(shape)


def softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def gelu_tanh(x):
    """Hendrycks and Gimpel 2016, arXiv:1606.08415, the approximation by tanh."""
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)))


def log_softmax(logits):
    """Of one position or many, in double precision."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
