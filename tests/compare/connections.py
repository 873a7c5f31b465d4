#!/usr/bin/env python3
"""Checks that `potluck serve` answers while a client holds thousands of slow connections.

    cargo build --release
    tests/compare/connections.py
    tests/compare/connections.py --connections 20000 --seconds 60

Connections are opened as fast as they are taken. A third says nothing, a third sends a byte of a head
every now and then, a third a byte of a body. Meanwhile other clients ask: on a connection of their own
each time, and on one that is kept open. Printed are how long those took, how many of the slow ones are
still open at the end, and what memory and open files the server had at most.

Every connection is an open file of this program: the limit is raised as far as the system allows, and
fewer are opened if that is not enough.

Exit code: 0 if every request was answered and memory stayed bounded, 1 if not, 2 if it could not be
measured.
"""

import argparse
import contextlib
import http.client
import json
import pathlib
import resource
import select
import socket
import statistics
import sys
import threading
import time

import binary
import served

# What connections may take beside the model, and files that are open besides them.
MOST_BYTES = 64 << 20
MOST_FILES = 512
BEGINNINGS = [
    b"",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{",
]
ASKED = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "temperature": 0})


def raise_limit(wanted):
    """How many connections can be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 100
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, soft), hard))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)


class Watched(served.Server):
    """A server whose memory and open files are looked at."""

    @property
    def folder(self):
        return pathlib.Path("/proc") / str(self.child.pid)

    def memory(self):
        """Bytes of its own, without mapped files."""
        status = (self.folder / "status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) << 10

    def files(self):
        return len(list((self.folder / "fd").iterdir()))


def ask(port, connection=None):
    """Seconds until a short answer is whole."""
    began = time.perf_counter()
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    own.request("POST", "/v1/chat/completions", ASKED, {"Content-Type": "application/json"})
    response = own.getresponse()
    body = response.read()
    if connection is None:
        own.close()
    if response.status != 200:
        raise binary.Failure(f"status {response.status}: {body[:200]}")
    return time.perf_counter() - began


class Asking(threading.Thread):
    """Asks again and again, and looks at the server between."""

    def __init__(self, server, keeps):
        super().__init__(daemon=True)
        self.server, self.keeps = server, keeps
        self.over = threading.Event()
        self.times, self.failures = [], []
        self.memory = self.files = 0

    def run(self):
        kept = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60) if self.keeps else None
        while not self.over.is_set():
            try:
                self.times.append(ask(self.server.port, kept))
            except Exception as error:
                self.failures.append(repr(error))
                if kept:
                    kept.close()
            self.memory = max(self.memory, self.server.memory())
            self.files = max(self.files, self.server.files())
            self.over.wait(0.05)


def hold(port, count, seconds):
    """Opens so many, sends a byte on each now and then, and says how many are open at the end."""
    slow, refused = [], 0
    end = None
    position = 0
    while end is None or time.monotonic() < end:
        if len(slow) + refused < count:
            for _ in range(100):
                number = len(slow) + refused
                if number == count:
                    break
                try:
                    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
                    connection.setblocking(False)
                    connection.send(BEGINNINGS[number % 3])
                    slow.append(connection)
                except OSError:
                    refused += 1
        elif end is None:
            end = time.monotonic() + seconds
        for _ in range(min(200, len(slow))):
            position = (position + 1) % len(slow)
            if position % 3:
                with contextlib.suppress(OSError):
                    slow[position].send(b"x")
        time.sleep(0.01)
    poll = select.poll()
    by_number = {connection.fileno(): connection for connection in slow}
    for number in by_number:
        poll.register(number, select.POLLIN)
    closed = sum(1 for _ in poll.poll(0))
    for connection in slow:
        connection.close()
    return len(slow) - closed, refused


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    binary.add_arguments(parser)
    parser.set_defaults(models=["smollm2:135m"])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20, help="how long all of them are held")
    arguments = parser.parse_args()
    count = raise_limit(arguments.connections)
    if count < arguments.connections:
        print(f"the system allows {count} open connections, not {arguments.connections}")
    good = True
    try:
        [(_, file)] = binary.Potluck(arguments.potluck).models(arguments.models[:1])
        server = Watched.potluck(arguments.potluck, "--no-mdns", "--model", str(file))
        try:
            alone = sorted(ask(server.port) for _ in range(20))
            before, files = server.memory(), server.files()
            askers = [Asking(server, False), Asking(server, True)]
            for asker in askers:
                asker.start()
            began = time.monotonic()
            still, refused = hold(server.port, count, arguments.seconds)
            took = time.monotonic() - began - arguments.seconds
            for asker in askers:
                asker.over.set()
            for asker in askers:
                asker.join()
            print(f"{count} connections in {took:.1f} s, {still} of them open at the end, {refused} not taken")
            print(f"a request alone: median {statistics.median(alone) * 1000:.0f} ms")
            for asker, what in zip(askers, ["new connection", "kept connection"], strict=True):
                times = sorted(asker.times) or [float("nan")]
                print(
                    f"meanwhile, {what}: {len(asker.times)} answered, {len(asker.failures)} not,"
                    f" median {statistics.median(times) * 1000:.0f} ms, slowest {times[-1] * 1000:.0f} ms"
                )
                for failure in sorted(set(asker.failures)):
                    print(f"  {failure}")
            memory, most = max(asker.memory for asker in askers), max(asker.files for asker in askers)
            print(f"memory {before / 1e6:.1f} MB before, at most {memory / 1e6:.1f} MB; files {files}, at most {most}")
            new, kept = askers
            good = not new.failures and bool(new.times) and bool(kept.times)
            good &= memory - before <= MOST_BYTES and most <= MOST_FILES
        finally:
            server.stop()
    except binary.Failure as error:
        binary.fail(error)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
