#!/usr/bin/env python3
"""Compares the vectors of texts with those that llama.cpp makes by mean pooling.

The first use builds llama.cpp, which takes minutes; Potluck's half is built before:

    cargo build --release -p potluck-model --example embed
    tests/compare/embeddings.py target/release/examples/embed MODEL.gguf…

Prints the least cosine of a text's two vectors for each model. llama.cpp rounds activations to 8
bits and Potluck to 16, so they are not the same; they have to be within the threshold.

Exit code: 0 if all are, 1 if not.
"""

import argparse
import json
import subprocess
import sys

import environment

environment.enter("llama_cpp", "numpy")

import llama_cpp
import numpy as np

LEAST_COSINE = 0.999

TEXTS = [
    "Hello",
    "The quick brown fox jumps over the lazy dog.",
    "Grüße aus Köln: 3,5 km östlich, um 17 Uhr.",
    "fn main() { println!(\"{}\", 1 + 2); }",
    "A recipe for bread needs flour, water, salt and yeast. " * 12,
    "日本語の文章です。",
]


def theirs(path):
    model = llama_cpp.Llama(
        model_path=path,
        embedding=True,
        pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN,
        n_ctx=1024,
        verbose=False,
    )
    vectors = [np.array(model.embed(text), dtype=np.float64) for text in TEXTS]
    return [vector / np.linalg.norm(vector) for vector in vectors]


def ours(program, path):
    stdin = "".join(json.dumps(text) + "\n" for text in TEXTS)
    run = subprocess.run([program, path], input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return [np.array(json.loads(line), dtype=np.float64) for line in run.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the example `embed`")
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    arguments = parser.parse_args()
    worst = 1.0
    for path in arguments.models:
        pairs = list(zip(theirs(path), ours(arguments.program, path), strict=True))
        cosines = [float(a @ b) for a, b in pairs]
        lengths = [float(np.linalg.norm(b)) for _, b in pairs]
        print(f"{path}: least cosine {min(cosines):.6f}, lengths {min(lengths):.6f} to {max(lengths):.6f}")
        worst = min(worst, *cosines)
    return 0 if worst >= LEAST_COSINE else 1


if __name__ == "__main__":
    sys.exit(main())
