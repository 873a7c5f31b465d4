#!/usr/bin/env python3
"""Measures llama.cpp as its own llama-bench does, through llama-cpp-python's low-level calls.

    tests/compare/llama_rates.py MODEL.gguf [--threads 2] [--flash-attention]

Prefill is one batch of tokens of which only the last one's logits are computed; decode is
one-token batches after a first token. Key and value caches are f16. A round of both that does not
count comes first. Prints one JSON object with the medians' rates; speed.py calls this.
"""

import argparse
import ctypes
import json
import signal
import statistics
import sys
import time

import environment


class Model:
    def __init__(self, arguments):
        import llama_cpp

        self.api = llama_cpp
        self.messages = []
        self.keep_messages = llama_cpp.llama_log_callback(lambda _level, text, _data: self.messages.append(text))
        llama_cpp.llama_log_set(self.keep_messages, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            str(arguments.model).encode(), llama_cpp.llama_model_default_params()
        )
        if not self.model:
            self.fail("llama.cpp cannot load the model")
        self.context = llama_cpp.llama_init_from_model(self.model, self.context_params(arguments))
        if not self.context:
            self.fail("llama.cpp cannot make a context")
        longest = max(arguments.prefill, arguments.decode + 1)
        vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        # The tokens that `potluck bench` uses: spread over the vocabulary.
        self.tokens = (llama_cpp.llama_token * longest)(*((i * 7919 + 1000) % vocabulary for i in range(longest)))

    def context_params(self, arguments):
        api, params = self.api, self.api.llama_context_default_params()
        params.n_ctx = max(arguments.prefill, arguments.decode + 1)
        params.n_batch = params.n_ctx
        params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = arguments.threads
        params.type_k = params.type_v = api.GGML_TYPE_F16
        enabled, disabled = api.LLAMA_FLASH_ATTN_TYPE_ENABLED, api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.flash_attn_type = enabled if arguments.flash_attention else disabled
        params.swa_full = False
        return params

    def prefill(self, count):
        """Seconds to read `count` tokens at once."""
        self.forget()
        start = time.perf_counter()
        self.read(0, count)
        return time.perf_counter() - start

    def decode(self, count):
        """Seconds to read `count` tokens one by one, after a first."""
        self.forget()
        self.read(0, 1)
        start = time.perf_counter()
        for at in range(1, count + 1):
            self.read(at, 1)
        return time.perf_counter() - start

    def forget(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), False)

    def read(self, start, count):
        tokens = ctypes.cast(ctypes.byref(self.tokens, start * ctypes.sizeof(self.api.llama_token)), BATCH_TOKENS)
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(tokens, count)) != 0:
            self.fail("llama.cpp cannot decode")
        self.api.llama_synchronize(self.context)

    def fail(self, what):
        sys.exit(f"{what}: {b''.join(self.messages[-5:]).decode(errors='replace')}")


BATCH_TOKENS = ctypes.POINTER(ctypes.c_int32)


def measure(arguments):
    model = Model(arguments)
    model.prefill(arguments.prefill)
    model.decode(arguments.decode)
    prefills, decodes = [], []
    for _ in range(arguments.repetitions):
        prefills.append(model.prefill(arguments.prefill))
        decodes.append(model.decode(arguments.decode))
    return {
        "prefill_tokens_per_s": arguments.prefill / statistics.median(prefills),
        "decode_tokens_per_s": arguments.decode / statistics.median(decodes),
        "repetitions": arguments.repetitions,
        "threads": arguments.threads,
        "flash_attention": arguments.flash_attention,
        "peak_rss_bytes": peak_rss_bytes(),
        "version": model.api.__version__,
        "system_info": model.api.llama_print_system_info().decode().strip(),
    }


def peak_rss_bytes():
    try:
        import resource
    except ImportError:
        return None
    # getrusage(2): kilobytes, but bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--flash-attention", action="store_true")
    arguments = parser.parse_args()
    environment.enter("llama_cpp")
    # Ctrl-C ends it at once, in the middle of a call too, and without a trace.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print(json.dumps(measure(arguments)))


if __name__ == "__main__":
    main()
