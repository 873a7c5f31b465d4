#!/usr/bin/env python3
"""Measures `potluck serve` with many requests at once, beside llama.cpp's llama-server.

    cargo build --release
    tests/compare/serving.py
    tests/compare/serving.py --streams 1 16 64 --tokens 64 --rounds 5
    tests/compare/serving.py --alone

Both servers have the same file, the same threads and as many slots as there are requests; both step
requests together. In each round every server is started, warmed, and asked by as many clients at once
as --streams says, each for --tokens tokens of its own prompt, streamed. The rate is that of all tokens
from the first request to the last answer's end; the figures are medians of the rounds. Then one
conversation: the first token of a prompt of --prompt tokens that nobody asked before, and that of the
same prompt with an answer and a question behind it.

The first use builds llama-server from the sources in llama-cpp-python's package, which takes many
minutes; --llama-server FILE names one that is there, --alone leaves it out. Let nothing else run.

Exit code: 0 if every target is met, 1 if one is missed, 2 if it could not be measured.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tarfile
import threading
import time

import binary
import environment
import served

# Of 16 requests at once: times one's rate, and times llama-server's; the second turn's first token to the
# first's.
TIMES_ONE = 1.5
TIMES_THEIRS = 1.3
SECOND_TURN = 0.1
WORDS = "river stone market lantern winter copper garden signal harbour meadow engine letter".split()


class Measured(served.Server):
    """A server whose answers are timed."""

    def wait(self):
        """Waits until it answers; stops it if it does not."""
        try:
            for _ in range(600):
                if self.child.poll() is not None:
                    raise binary.Failure(f"{self.name} ended with code {self.child.returncode}")
                with contextlib.suppress(OSError):
                    if self.get("/health") == 200:
                        return
                time.sleep(0.1)
            raise binary.Failure(f"{self.name} did not become ready within a minute")
        except BaseException:
            self.stop()
            raise

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().status

    def complete(self, prompt, tokens):
        """When the first and the last token of an answer came, and how many there were."""
        body = {
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            # No answer is to end before the others.
            "logit_bias": {"2": -100, "0": -100},
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise binary.Failure(f"{self.name}: {response.status} {response.read(400).decode()}")
        first, count, text = None, 0, ""
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            frame = json.loads(line[6:])
            if "error" in frame:
                raise binary.Failure(f"{self.name}: {frame['error']}")
            if frame.get("usage"):
                count = frame["usage"]["completion_tokens"]
            if frame.get("choices") and (piece := frame["choices"][0].get("text")):
                first = first or time.perf_counter()
                text += piece
        return first, time.perf_counter(), count, text


def prompt_of(seed, words):
    """A text that no other seed's begins with."""
    return " ".join(WORDS[(seed * 7 + at * (seed + 1) + at * at) % len(WORDS)] for at in range(words))


def rate(server, streams, tokens, seed):
    """Tokens a second of so many answers at once, and the longest answer's time to the shortest's."""
    results, failures = [None] * streams, []

    def ask(at):
        try:
            results[at] = server.complete(prompt_of(seed + at, 24), tokens)
        except Exception as error:  # Told by the thread that waits.
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(streams)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    ends = [end - began for _, end, _, _ in results]
    return sum(count for _, _, count, _ in results) / max(ends), max(ends) / min(ends)


def turns(server, words, seed):
    """Seconds to the first token of a long prompt, and to that of the turn after it."""
    prompt = prompt_of(seed, words)
    began = time.perf_counter()
    first, _, _, text = server.complete(prompt, 32)
    cold = first - began
    began = time.perf_counter()
    first, _, _, _ = server.complete(prompt + text + " And then what happened to the old lantern?", 4)
    return cold, first - began


def build_llama_server():
    """llama.cpp's server, built once in the cache folder."""
    folder = environment.cache_folder() / "llama-server"
    program = folder / "build" / "bin" / "llama-server"
    if program.is_file():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    python = environment.make([])
    requirement = environment.REQUIREMENTS["llama_cpp"]
    environment.note(f"building llama-server of {requirement} in {folder}")
    pip = [python, "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "cmake", "ninja"], check=True)
    # Only this package from its sources: `:all:` would also build what it is built with, CMake among them.
    sources = ["--no-deps", "--no-binary", "llama-cpp-python", "--dest", str(folder)]
    subprocess.run([*pip, "download", "--quiet", *sources, requirement], check=True)
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    sources = folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    tools = pathlib.Path(python).parent
    flags = [*environment.LLAMA_FLAGS, "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DBUILD_SHARED_LIBS=OFF"]
    flags += ["-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DCMAKE_BUILD_TYPE=Release"]
    # Its web page would be fetched.
    flags += ["-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_BUILD_APP=OFF"]
    variables = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    configure = [tools / "cmake", "-G", "Ninja", "-S", sources, "-B", folder / "build", *flags]
    subprocess.run(configure, check=True, env=variables, stdout=subprocess.DEVNULL)
    build = [tools / "cmake", "--build", folder / "build", "--target", "llama-server"]
    subprocess.run(build, check=True, env=variables)
    return program


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def servers(arguments, file):
    """What starts each server for so many requests at once."""

    def ours(streams):
        options = ["--model", file, "--threads", arguments.threads, "--streams", streams, "--context", arguments.context]
        return Measured.potluck(arguments.potluck, *options)

    def theirs(streams):
        port = free_port()
        command = [program, "-m", file, "--host", "127.0.0.1", "--port", port, "-t", arguments.threads]
        # Its context is shared out among the slots.
        command += ["-tb", arguments.threads, "-np", streams, "-cb", "-c", arguments.context * streams]
        server = Measured("llama-server", command)
        server.port = port
        server.wait()
        return server

    if arguments.alone:
        return [ours]
    program = arguments.llama_server or build_llama_server()
    return [ours, theirs]


def measure(arguments, file):
    rates, spreads, first_tokens = {}, {}, {}
    starters = servers(arguments, file)
    for number in range(arguments.rounds):
        for start in starters[number % len(starters) :] + starters[: number % len(starters)]:
            for streams in arguments.streams:
                server = start(streams)
                try:
                    server.complete(prompt_of(900, 8), 8)
                    got, spread = rate(server, streams, arguments.tokens, 1000 * number)
                    rates.setdefault((server.name, streams), []).append(got)
                    spreads.setdefault((server.name, streams), []).append(spread)
                    if streams == arguments.streams[0]:
                        pair = turns(server, arguments.prompt, 500 + number)
                        first_tokens.setdefault(server.name, []).append(pair)
                finally:
                    server.stop()
    return rates, spreads, first_tokens


def report(arguments, rates, spreads, first_tokens):
    """Prints the figures; whether those with a target meet it."""
    medians = {key: statistics.median(values) for key, values in rates.items()}
    met = True
    for (name, streams), median in medians.items():
        times = median / medians[name, arguments.streams[0]]
        spread = statistics.median(spreads[name, streams])
        print(
            f"{name}, {streams} at once: {median:.1f} tokens/s, {times:.2f} times {arguments.streams[0]};"
            f" the slowest took {spread:.2f} times as long as the fastest"
        )
        if name == "potluck" and streams == 16:
            met &= times >= TIMES_ONE
            if other := medians.get(("llama-server", streams)):
                print(f"  {median / other:.2f} times llama-server")
                met &= median / other >= TIMES_THEIRS
    for name, pairs in first_tokens.items():
        cold, second = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name}: first token {cold * 1000:.0f} ms cold, {second * 1000:.0f} ms in the next turn ({second / cold:.3f})")
        if name == "potluck":
            met &= second / cold <= SECOND_TURN
    return met


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    binary.add_arguments(parser)
    parser.set_defaults(models=["smollm2:135m"])
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--prompt", type=int, default=1200, help="words of the long prompt")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-server", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--alone", action="store_true", help="without llama-server")
    arguments = parser.parse_args()
    met = True
    try:
        for name, file in binary.Potluck(arguments.potluck).models(arguments.models):
            print(f"{name}, {arguments.threads} threads, {arguments.tokens} tokens each")
            met &= report(arguments, *measure(arguments, file))
    except binary.Failure as error:
        binary.fail(error)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
