#!/usr/bin/env python3
"""Compares log-probabilities with llama.cpp's on small files that each have one odd key or tensor.

    cargo build --release
    tests/compare/odd_files.py

Every case is a random F32 model of the llama, qwen2, qwen3 or gemma3 architecture in which one thing
is changed. Potluck either gives llama.cpp's log-probabilities, all of them, within 0.0005, or refuses
the file and names the key or tensor. Files that llama.cpp cannot load must be refused, too, but for
those of `OURS_ALONE`, which tests in Rust check. The first use builds llama.cpp, which takes minutes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import environment
from binary import DEFAULT

TOLERANCE = 0.0005
CONTEXT = 256
VOCABULARY = 300
# The exit code of llama.cpp's half for a file that it does not load.
REFUSED_BY_LLAMA_CPP = 3
# Of the weights of the head.
LOGITS = 0.04
TOKENS = [(i * i * 7 + i * 3) % 250 + 4 for i in range(48)]


class File:
    """A model file to be: settings under the architecture's prefix, and tensors."""

    def __init__(self, architecture, head_dim=32, layers=2, seed=1):
        import numpy as np

        self.architecture, self.np = architecture, np
        d_model, heads, kv_heads, d_ff = 64, 4, 2, 96
        self.tokens = VOCABULARY
        self.settings = {
            "block_count": layers,
            "context_length": CONTEXT,
            "embedding_length": d_model,
            "feed_forward_length": d_ff,
            "attention.head_count": heads,
            "attention.head_count_kv": kv_heads,
            "attention.key_length": head_dim,
            "attention.value_length": head_dim,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": head_dim,
            "rope.freq_base": 1000.0,
        }
        if architecture == "qwen2":
            # llama.cpp has heads as wide as the model there.
            heads = d_model // head_dim
            self.settings |= {"attention.head_count": heads, "attention.head_count_kv": heads // 2 or 1}
            kv_heads = heads // 2 or 1
        if architecture == "gemma3":
            self.settings |= {"attention.sliding_window": 8}
        self.random = np.random.default_rng(seed)
        self.tensors = {
            "token_embd.weight": self.normal(VOCABULARY, d_model, scale=1.0 if architecture != "gemma3" else 0.2),
            # Near logits, so that keys and values of 16 bits cost less than what is compared.
            "output.weight": self.normal(VOCABULARY, d_model, scale=LOGITS),
            "output_norm.weight": self.norm(d_model),
        }
        for layer in range(layers):
            self.add_layer(f"blk.{layer}.", d_model, heads * head_dim, kv_heads * head_dim, d_ff, head_dim)

    def add_layer(self, prefix, d_model, q, kv, d_ff, head_dim):
        of = self.tensors
        of[prefix + "attn_norm.weight"] = self.norm(d_model)
        of[prefix + "attn_q.weight"] = self.normal(q, d_model, scale=0.1)
        of[prefix + "attn_k.weight"] = self.normal(kv, d_model, scale=0.1)
        of[prefix + "attn_v.weight"] = self.normal(kv, d_model, scale=0.1)
        of[prefix + "attn_output.weight"] = self.normal(d_model, q, scale=0.08)
        of[prefix + "ffn_norm.weight"] = self.norm(d_model)
        of[prefix + "ffn_gate.weight"] = self.normal(d_ff, d_model, scale=0.1)
        of[prefix + "ffn_up.weight"] = self.normal(d_ff, d_model, scale=0.1)
        of[prefix + "ffn_down.weight"] = self.normal(d_model, d_ff, scale=0.1)
        if self.architecture in ("qwen3", "gemma3"):
            of[prefix + "attn_q_norm.weight"] = self.norm(head_dim)
            of[prefix + "attn_k_norm.weight"] = self.norm(head_dim)
        if self.architecture == "qwen2":
            for name, width in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
                of[f"{prefix}{name}.bias"] = self.normal(width, scale=0.3)
        if self.architecture == "gemma3":
            of[prefix + "post_attention_norm.weight"] = self.norm(d_model)
            # llama.cpp takes GELU from a table of 16-bit floats: a small part keeps its error small.
            of[prefix + "post_ffw_norm.weight"] = 0.02 * self.norm(d_model)

    def normal(self, *shape, scale):
        return (scale * self.random.standard_normal(shape)).astype(self.np.float32)

    def norm(self, width):
        return (1 + self.normal(width, scale=0.1)).astype(self.np.float32)

    def layers(self):
        return range(self.settings["block_count"])

    def write(self, path):
        import gguf

        alphabet = byte_alphabet()
        tokens = alphabet + [f"<extra{i}>" for i in range(self.tokens - 257)] + ["<|end|>"]
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, value in self.settings.items():
            add(writer, gguf, f"{self.architecture}.{key}", value)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([1] * (self.tokens - 1) + [3])
        writer.add_token_merges([f"{alphabet[97]} {alphabet[98]}"])
        writer.add_eos_token_id(self.tokens - 1)
        for name, tensor in self.tensors.items():
            writer.add_tensor(name, self.np.ascontiguousarray(tensor, dtype=self.np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def byte_alphabet():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in kept else next(others)) for byte in range(256)]


def add(writer, gguf, key, value):
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def settings(**values):
    """A change of settings; `__` in a name stands for a full stop, `None` takes a key away."""

    def change(file):
        for name, value in values.items():
            key = name.replace("__", ".")
            if value is None:
                file.settings.pop(key, None)
            else:
                file.settings[key] = value

    return change


def vectors(*names, scale=0.3):
    """Adds biases `name.bias` to every layer, as wide as the weights have rows."""

    def change(file):
        for layer in file.layers():
            for name in names:
                rows = len(file.tensors[f"blk.{layer}.{name}.weight"])
                file.tensors[f"blk.{layer}.{name}.bias"] = file.normal(rows, scale=scale)

    return change


def scales(*names):
    def change(file):
        for layer in file.layers():
            for i, name in enumerate(names):
                file.tensors[f"blk.{layer}.{name}.scale"] = file.np.array([0.6 + 0.3 * i], dtype=file.np.float32)

    return change


def tensor(name, *shape, scale=0.1, around=0.0):
    def change(file):
        file.tensors[name] = around + file.normal(*shape, scale=scale)

    return change


def without(*names):
    def change(file):
        for layer in file.layers():
            for name in names:
                file.tensors.pop(f"blk.{layer}.{name}", None)

    return change


def fused(bias=False):
    def change(file):
        for layer in file.layers():
            for kind in ["weight"] + (["bias"] if bias else []):
                parts = [file.tensors.pop(f"blk.{layer}.attn_{part}.{kind}") for part in "qkv"]
                file.tensors[f"blk.{layer}.attn_qkv.{kind}"] = file.np.concatenate(parts)

    return change


def tied(file):
    file.tensors.pop("output.weight")
    file.tensors["output_norm.weight"] *= LOGITS


def rows(of_embedding, tokens):
    def change(file):
        for name in ("token_embd.weight", "output.weight"):
            file.tensors[name] = file.normal(of_embedding, 64, scale=LOGITS)
        file.tokens = tokens

    return change


def long_rope(original):
    def change(file):
        file.settings |= {
            "rope.scaling.type": "longrope",
            "rope.scaling.original_context_length": original,
            "rope.scaling.attn_factor": 1.2,
        }
        width = file.settings["rope.dimension_count"] // 2
        file.tensors["rope_factors_short.weight"] = file.np.linspace(1.0, 2.0, width)
        file.tensors["rope_factors_long.weight"] = file.np.linspace(1.0, 9.0, width)

    return change


def both(*changes):
    def change(file):
        for one in changes:
            one(file)

    return change


YARN = {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 64}
OTHER_WIDTH = {"attention__value_length": 16}
ALL = ("llama", "qwen2", "qwen3", "gemma3")


def cases():
    """`(name, architectures, change, keywords of the file, what a refusal may name)`."""
    nothing = settings()
    for_all = [
        ("as it is", nothing, None),
        ("tied", tied, None),
        ("attn_q, k and v biases", vectors("attn_q", "attn_k", "attn_v"), None),
        ("attn_k.bias alone", both(without("attn_q.bias", "attn_k.bias", "attn_v.bias"), vectors("attn_k")), None),
        ("without biases", without("attn_q.bias", "attn_k.bias", "attn_v.bias"), None),
        ("attn_qkv", both(without("attn_q.bias", "attn_k.bias", "attn_v.bias"), fused()), None),
        ("attn_qkv, one bias", both(vectors("attn_q", "attn_k", "attn_v"), fused(bias=True)), None),
        ("attn_qkv, three biases", both(vectors("attn_q", "attn_k", "attn_v"), fused()), None),
        ("attn scales", scales("attn_q", "attn_k", "attn_v", "attn_output"), None),
        ("ffn scales", scales("ffn_gate", "ffn_up", "ffn_down"), "ffn_gate.scale"),
        ("ffn scale and bias", both(scales("ffn_up"), vectors("ffn_up")), "ffn_up"),
        ("output.scale", tensor("output.scale", 1, around=0.7), None),
        ("scale_linear", settings(rope__scale_linear=3.0), None),
        ("factor without type", settings(rope__scaling__factor=3.0), None),
        ("linear", settings(rope__scaling__type="linear", rope__scaling__factor=8.0), None),
        ("linear without factor", settings(rope__scaling__type="linear"), None),
        ("none with factor", settings(rope__scaling__type="none", rope__scaling__factor=8.0), None),
        ("factor 0", settings(rope__scaling__factor=0.0), None),
        ("yarn", settings(**YARN), None),
        ("yarn with betas", settings(**YARN, rope__scaling__yarn_beta_fast=8.0, rope__scaling__yarn_beta_slow=2.0), None),
        ("yarn with attn_factor", settings(**YARN, rope__scaling__attn_factor=1.3), None),
        ("yarn_log_multiplier", settings(**YARN, rope__scaling__yarn_log_multiplier=1.0), "yarn_log_multiplier"),
        ("yarn_attn_factor", settings(**YARN, rope__scaling__yarn_attn_factor=2.0), "yarn_attn_factor"),
        ("attn_factor alone", settings(rope__scaling__attn_factor=1.5), None),
        ("unknown scaling", settings(rope__scaling__type="dynamic"), "rope.scaling.type"),
        ("head_count_kv list", lambda file: each(file, "attention.head_count_kv"), None),
        ("feed_forward_length list", lambda file: each(file, "feed_forward_length"), None),
        ("unequal list", lambda file: each(file, "feed_forward_length", change=32), "feed_forward_length"),
        ("a list too long", lambda file: each(file, "feed_forward_length", more=1), "feed_forward_length"),
        ("other value_length", settings(**OTHER_WIDTH), "attention.value_length"),
        ("attn_logit_softcapping", settings(attn_logit_softcapping=5.0), "attn_logit_softcapping"),
        ("final_logit_softcapping", settings(final_logit_softcapping=0.5), "final_logit_softcapping"),
        ("attention.scale", settings(attention__scale=0.5), "attention.scale"),
        ("clamp_kqv", settings(attention__clamp_kqv=0.1), "attention.clamp_kqv"),
        ("causal false", settings(attention__causal=False), "attention.causal"),
        ("causal true", settings(attention__causal=True), None),
        ("logit_scale", settings(logit_scale=4.0), "logit_scale"),
        ("residual_scale", settings(residual_scale=0.3), "residual_scale"),
        ("expert_count 0", settings(expert_count=0), None),
        ("expert_count", settings(expert_count=4, expert_used_count=2), "expert_count"),
        ("ffn_gate_inp", tensor("blk.0.ffn_gate_inp.weight", 4, 64), "ffn_gate_inp"),
        ("an unknown key", settings(made_up=3), None),
        ("more rows than tokens", rows(VOCABULARY + 20, VOCABULARY), None),
        ("more tokens than rows", rows(VOCABULARY - 20, VOCABULARY), "tokenizer.ggml.tokens"),
        ("a layer too many", settings(block_count=1), "blk.1"),
        ("an unknown tensor", tensor("made_up.weight", 64), "made_up.weight"),
        ("rope_freqs", tensor("rope_freqs.weight", 16, around=2.0), "rope_freqs.weight"),
        ("longrope, long", long_rope(64), None),
        ("longrope, short", long_rope(CONTEXT), None),
        ("factors without longrope", both(long_rope(64), settings(rope__scaling__type=None)), "rope_factors_"),
        ("qwen's sliding_window, wide", settings(attention__sliding_window=CONTEXT), None),
    ]
    for name, change, names in for_all:
        yield name, ALL, change, {}, names
    llama = [
        ("attn_output.bias", vectors("attn_output"), {}, None),
        ("ffn biases", vectors("ffn_gate", "ffn_up", "ffn_down"), {}, None),
        ("ffn_gate.bias alone", vectors("ffn_gate"), {}, None),
        ("a window", settings(attention__sliding_window=8), {}, "attention.sliding_window"),
        ("heads of 20", nothing, {"head_dim": 20}, None),
        ("heads of 12", nothing, {"head_dim": 12}, None),
        ("heads of 2", nothing, {"head_dim": 2}, None),
    ]
    for name, change, keywords, names in llama:
        yield name, ("llama",), change, keywords, names
    yield "heads of 20", ("qwen3", "gemma3"), nothing, {"head_dim": 20}, None
    yield "half a head turned", ("gemma3",), settings(rope__dimension_count=16), {}, None
    yield "q and k norms", ("llama", "qwen2"), tensor("blk.0.attn_q_norm.weight", 32, around=1.0), {}, "attn_q_norm"
    yield "output.bias", ("qwen2",), tensor("output.bias", VOCABULARY), {}, None
    yield "output.bias, tied", ("qwen2",), both(tensor("output.bias", VOCABULARY), tied), {}, None
    seven = {"layers": 7}
    for name, change in [
        ("seven layers", nothing),
        ("pattern 2", settings(attention__sliding_window_pattern=2)),
        ("pattern 1", settings(attention__sliding_window_pattern=1)),
        ("pattern 0", settings(attention__sliding_window_pattern=0)),
        ("pattern list", settings(attention__sliding_window_pattern=[False, True, True, False, True, False, True])),
        ("window missing", settings(attention__sliding_window=None)),
        ("window 0", settings(attention__sliding_window=0)),
        ("freq_base_swa", settings(rope__freq_base_swa=300.0)),
        ("linear, seven layers", settings(rope__scaling__type="linear", rope__scaling__factor=8.0)),
        ("yarn, seven layers", settings(**YARN)),
        ("softcap 0", settings(final_logit_softcapping=0.0)),
    ]:
        yield name, ("gemma3",), change, seven, None
    wrong = settings(attention__sliding_window_pattern=[True, False])
    yield "pattern list too short", ("gemma3",), wrong, seven, "sliding_window_pattern"


def each(file, key, change=0, more=0):
    value = file.settings[key]
    file.settings[key] = [value] * (file.settings["block_count"] + more - 1) + [value + change]


# llama.cpp loads none of these; what Potluck makes of them is tested in Rust.
OURS_ALONE = {
    (name, family) for name in ("more rows than tokens", "output.scale") for family in ALL
} | {
    (name, family) for name in ("rope_freqs", "longrope, long", "longrope, short") for family in ALL[1:]
} | {("pattern 1", "gemma3")}


def theirs(path):
    """All log-probabilities of `TOKENS` by llama.cpp, in this process, which it may end."""
    import ctypes

    import llama_cpp
    import numpy as np

    model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    if not model:
        sys.exit(REFUSED_BY_LLAMA_CPP)
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = CONTEXT
    parameters.n_threads = parameters.n_threads_batch = 1
    # 16-bit queries and sums would cost more accuracy than is allowed here.
    parameters.flash_attn_type = 0
    parameters.type_k = parameters.type_v = 0
    context = llama_cpp.llama_init_from_model(model, parameters)
    batch = llama_cpp.llama_batch_init(len(TOKENS), 0, 1)
    batch.n_tokens = len(TOKENS)
    for i, token in enumerate(TOKENS):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    if llama_cpp.llama_decode(context, batch) != 0:
        sys.exit(REFUSED_BY_LLAMA_CPP)
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    row = ctypes.POINTER(ctypes.c_float * width)
    logits = [np.array(ctypes.cast(llama_cpp.llama_get_logits_ith(context, i), row).contents) for i in range(len(TOKENS))]
    logits = np.array(logits, dtype=np.float64)
    np.save(path + ".npy", logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def run_theirs(path):
    import numpy as np

    run = subprocess.run([sys.executable, pathlib.Path(__file__).absolute(), "--theirs", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    saved = pathlib.Path(f"{path}.npy")
    if run.returncode != 0 or not saved.is_file():
        return None
    result = np.load(saved)
    saved.unlink()
    return result


def run_ours(program, path):
    """The log-probabilities, or the words of the refusal; and what was told besides."""
    import numpy as np

    tokens = ",".join(map(str, TOKENS))
    command = [program, "score", "--json", "--top", "100000", "--tokens", tokens, "--model", path, "--context", str(CONTEXT)]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if run.returncode != 0:
        return None, run.stderr.strip()
    top = json.loads(run.stdout)["top"]
    result = np.empty((len(top), len(top[0])))
    for position, pairs in enumerate(top):
        for token, logprob in pairs:
            result[position, token] = logprob
    return result, run.stderr.strip()


def judge(ours, words, theirs, names, alone):
    """`(whether it is right, what to print)`."""
    if ours is None:
        named = names is not None and names in words and "panicked" not in words
        if named:
            return True, f"refused: {names}"
        return False, "refused without a name: " + words.splitlines()[-1][:90] if words else "died"
    if theirs is None:
        return alone, "llama.cpp cannot load it" + ("" if alone else ", and we can")
    if ours.shape != theirs.shape:
        return False, f"{ours.shape[1]} tokens, llama.cpp {theirs.shape[1]}"
    difference = abs(ours - theirs).max()
    return difference <= TOLERANCE, f"{difference:.6f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--potluck", type=pathlib.Path, default=DEFAULT, metavar="FILE", help="the release binary")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--theirs", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    environment.enter("gguf", "llama_cpp", "numpy")
    if arguments.theirs:
        theirs(arguments.theirs)
        return 0
    if not arguments.potluck.is_file():
        sys.exit(f"there is no {arguments.potluck}: run `cargo build --release`, or name the binary with --potluck")
    count = wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "odd.gguf")
        for name, families, change, keywords, names in cases():
            for family in families:
                if arguments.only not in f"{family}: {name}":
                    continue
                file = File(family, **keywords)
                change(file)
                file.write(path)
                ours, words = run_ours(arguments.potluck, path)
                expected = run_theirs(path)
                right, told = judge(ours, words, expected, names, (name, family) in OURS_ALONE)
                count += 1
                wrong += not right
                print(f"{'ok ' if right else 'NO '} {family:7} {name:28} {told}", flush=True)
    print(f"{count} files, {wrong} wrong")
    return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main())
