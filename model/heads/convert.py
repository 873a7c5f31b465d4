#!/usr/bin/env python3
"""Converts a trained draft head (safetensors in half floats) to the 8-bit form that Potluck reads.

usage: convert.py TRAINED.safetensors MODEL.gguf OUT.safetensors --heads N --kv-heads N [--window N]

The trained file has the tensors of the training script: nh, ne (norms of the hidden state and of the
embedding), fc (joins both), n1, qkv, o, n2, gu, dn (one layer of the model's own shape), nf (the last
norm), sub (the tokens that it can guess). `model/src/drafts/head_file.rs` describes the result. It is
bound to the SHA-256 of MODEL.gguf. Only Python's standard library is needed.
"""
import argparse
import hashlib
import json
import os
import struct


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        start, end = info["data_offsets"]
        letter = {"F16": "e", "F32": "f", "I32": "i", "U32": "I"}[info["dtype"]]
        raw = data[8 + length + start : 8 + length + end]
        numbers = struct.unpack(f"<{len(raw) // struct.calcsize(letter)}{letter}", raw)
        tensors[name] = (info["shape"], numbers)
    return tensors


def q8_0(numbers):
    """GGUF's blocks of 32: a half float, and 32 signed bytes that it multiplies."""
    out = bytearray()
    for at in range(0, len(numbers), 32):
        block = numbers[at : at + 32]
        scale = max(abs(x) for x in block) / 127
        half = struct.pack("<e", scale)
        scale = struct.unpack("<e", half)[0]
        inverse = 1 / scale if scale else 0.0
        # Away from zero at halves, as GGUF's own quantiser rounds.
        rounded = [int(abs(x) * inverse + 0.5) * (1 if x >= 0 else -1) for x in block]
        out += half + struct.pack("<32b", *[max(-127, min(127, x)) for x in rounded])
    return bytes(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained")
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--kv-heads", type=int, required=True)
    parser.add_argument("--architecture", default="llama")
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--about", default="")
    parser.add_argument("--licence", default="Apache-2.0 OR MIT")
    args = parser.parse_args()
    tensors = read(args.trained)
    d_model = tensors["nf"][0][0]
    d_ff = tensors["dn"][0][1]
    q_rows = tensors["o"][0][1]
    head_dim = q_rows // args.heads
    kv_rows = args.kv_heads * head_dim
    written = {}

    def norm(name, source):
        numbers = tensors[source][1]
        written[name] = ("F32", [len(numbers)], struct.pack(f"<{len(numbers)}f", *numbers))

    def matrix(name, source, rows, columns, first=0):
        numbers = tensors[source][1][first * columns : (first + rows) * columns]
        assert len(numbers) == rows * columns, name
        written[name] = ("U8", [rows, columns // 32 * 34], q8_0(numbers))

    for name, source in [
        ("hidden_norm", "nh"),
        ("embedding_norm", "ne"),
        ("attn_norm", "n1"),
        ("ffn_norm", "n2"),
        ("output_norm", "nf"),
    ]:
        norm(name, source)
    matrix("join", "fc", d_model, 2 * d_model)
    matrix("attn_q", "qkv", q_rows, d_model)
    matrix("attn_k", "qkv", kv_rows, d_model, q_rows)
    matrix("attn_v", "qkv", kv_rows, d_model, q_rows + kv_rows)
    matrix("attn_output", "o", d_model, q_rows)
    matrix("ffn_gate", "gu", d_ff, d_model)
    matrix("ffn_up", "gu", d_ff, d_model, d_ff)
    matrix("ffn_down", "dn", d_model, d_ff)
    tokens = tensors["sub"][1]
    assert all(a < b for a, b in zip(tokens, tokens[1:]))
    written["tokens"] = ("U32", [len(tokens)], struct.pack(f"<{len(tokens)}I", *tokens))

    with open(args.model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    header = {
        "__metadata__": {
            "format": "potluck-draft-head",
            "version": "1",
            "base": os.path.basename(args.model),
            "base_bytes": str(os.path.getsize(args.model)),
            "base_sha256": digest,
            "architecture": args.architecture,
            "d_model": str(d_model),
            "d_ff": str(d_ff),
            "heads": str(args.heads),
            "kv_heads": str(args.kv_heads),
            "head_dim": str(head_dim),
            "vocabulary": str(args.vocabulary),
            "window": str(args.window),
            "about": args.about,
            "licence": args.licence,
        }
    }
    at = 0
    # Floats first, so that they are aligned.
    order = sorted(written, key=lambda name: (written[name][0] == "U8", name))
    for name in order:
        dtype, shape, raw = written[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)
    with open(args.out, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(written[name][2])
    print(f"{args.out}: {8 + len(text) + at} bytes, for {header['__metadata__']['base']}")


if __name__ == "__main__":
    main()
