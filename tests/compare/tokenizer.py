#!/usr/bin/env python3
"""Compares token ids with llama.cpp's, and writes the golden file of the Rust tests.

The first use builds llama.cpp, which takes minutes; Potluck's half is built before:

    cargo build --release -p potluck-model --example tokenize
    tests/compare/tokenizer.py target/release/examples/tokenize MODEL.gguf…
    tests/compare/tokenizer.py --pre target/release/examples/tokenize MODEL.gguf
    tests/compare/tokenizer.py --golden tests/data/tokens.jsonl NAME=MODEL.gguf…
    tests/compare/tokenizer.py --pre --golden tests/data/pre_tokenizers.jsonl

With --pre, every supported pre-tokenizer is compared on a made-up vocabulary in which each short
piece of the texts is a token, so that a word cut elsewhere shows. With --golden, llama.cpp's ids
are written instead of compared: {"text", "ids": {name: ids}} a line, special tokens parsed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import environment
import lines

PRE_TOKENIZERS = """default llama-bpe falcon3 pixtral lfm2 glm4 dbrx smaug-bpe chatglm-bpe qwen2
deepseek-r1-qwen megrez stablelm2 hunyuan solar-open grok-2 bailingmoe qwen35 seed-coder ufakzeka
minicpm5 smollm starcoder refact command-r codeshell exaone minerva-7b mellum2 gpt-2 phi-2 mpt olmo
jais trillion exaone4 tekken gpt-4o llama4 kanana2 minimax-m2 falcon deepseek-llm deepseek-coder
deepseek-v3 hunyuan-dense joyai-llm poro-chat bloom gpt3-finnish viking""".split()

# One of each kind.
PRE_FAMILIES = """default falcon gpt-2 smollm llama-bpe qwen2 qwen35 seed-coder ufakzeka minicpm5 dbrx
tekken gpt-4o deepseek-llm deepseek-coder deepseek-v3 bloom viking""".split()


def theirs(path, texts, special):
    import llama_cpp

    model = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    return [model.tokenize(text.encode(), add_bos=False, special=special) for text in texts]


def ours(program, path, texts, special):
    command = [program, str(path)] + (["--special"] if special else [])
    stdin = "".join(json.dumps(text) + "\n" for text in texts)
    run = subprocess.run(command, input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def compare(program, path, texts, label):
    differing = 0
    for special in (True, False):
        pairs = zip(texts, theirs(path, texts, special), ours(program, path, texts, special), strict=True)
        for text, expected, actual in pairs:
            if expected != actual:
                differing += 1
                if differing <= 3:
                    print(f"  special={special} {text!r}\n    llama.cpp {expected}\n    potluck   {actual}")
    print(f"{label}: {differing} of {2 * len(texts)} differ")
    return differing


def byte_alphabet():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in kept else next(others)) for byte in range(256)]


def write_pre_model(path, pre, texts, longest=7):
    """A vocabulary of every piece of the texts up to some length, and every way to join it."""
    import gguf

    alphabet = byte_alphabet()
    pieces = {}
    for text in texts:
        written = [alphabet[byte] for byte in text.encode()]
        for start in range(len(written)):
            for length in range(2, longest + 1):
                if start + length <= len(written):
                    pieces["".join(written[start:start + length])] = None
    pieces = sorted(pieces, key=len)
    merges = [f"{piece[:cut]} {piece[cut:]}" for piece in pieces for cut in range(1, len(piece))]
    tokens = alphabet + pieces + ["<|end|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def without_engine_limits(texts):
    """llama.cpp matches some patterns by recursion, which a long text overflows."""
    return [text for text in texts if len(text) < 400]


def short(texts):
    return [text for text in texts if 0 < len(text) < 60]


def write_golden(path, texts, models):
    with path.open("w") as out:
        for at, text in enumerate(texts):
            ids = {name: rows[at] for name, rows in models.items()}
            out.write(json.dumps({"text": text, "ids": ids}, separators=(",", ":")) + "\n")


def write_pre_golden(path, texts):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "pre.gguf")
        models = {}
        for pre in PRE_FAMILIES:
            write_pre_model(file, pre, texts, longest=4)
            models[pre] = theirs(file, texts, True)
    write_golden(path, texts, models)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lines", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pre", action="store_true")
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    environment.enter("llama_cpp", "gguf")
    texts = lines.lines(arguments.seed, arguments.lines)
    if arguments.golden and arguments.pre:
        write_pre_golden(arguments.golden, short(texts)[:60])
        return 0
    if arguments.golden:
        models = dict(file.split("=", 1) for file in arguments.files)
        write_golden(arguments.golden, texts, {name: theirs(path, texts, True) for name, path in models.items()})
        return 0
    program, *models = arguments.files
    if not arguments.pre:
        return min(1, sum(compare(program, path, texts, path) for path in models))
    differing = 0
    texts = without_engine_limits(texts)[:1500]
    # Pieces of the shorter texts, so that the vocabulary stays small; the others use them, too.
    pieces = short(texts)[:150]
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRE_TOKENIZERS:
            path = pathlib.Path(folder, f"{pre}.gguf")
            write_pre_model(path, pre, pieces)
            differing += compare(program, path, texts, pre)
            path.unlink()
    return min(1, differing)


if __name__ == "__main__":
    sys.exit(main())
