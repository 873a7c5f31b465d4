#!/usr/bin/env python3
"""Measures decode where cores are unlike, or wanted by others: what a second thread is worth there.

    cargo build --release
    sudo tests/compare/unlike.py
    sudo tests/compare/unlike.py --quota 0.33 --period 10 --rounds 9
    sudo tests/compare/unlike.py --potluck target/release/potluck --before ./potluck-before

Cores are made unlike by a quota: the second thread may use so much of each period, in a control
group of its own, which needs root, Linux, and a controller for processors (version 1, or version 2
with threaded groups). Each round measures one thread, two, two of which the second has the quota,
and two beside as many busy processes as processors. Printed are medians over the rounds and their
ratios; let nothing else run.

Exit code: 0 if every target is met, 1 if one is missed, 2 if it could not be measured.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import binary
from busy import Busy

# The second thread's name.
HELPER = "potluck-1"
# Two threads of which one has a third of a core, to the fast one alone; and contended to idle.
UNLIKE_TARGET, CONTENDED_TARGET = 1.1, 0.45


class Group:
    """`with Group(quota, period_ms) as group: group.add(thread)`"""

    def __init__(self, quota, period_ms):
        period = round(1000 * period_ms)
        limit = round(quota * period)
        first = pathlib.Path("/sys/fs/cgroup/cpu")
        self.is_first = first.is_dir()
        own = own_group("cpu" if self.is_first else "")
        base = first if self.is_first else pathlib.Path("/sys/fs/cgroup")
        self.path = base / own.lstrip("/") / f"unlike-{os.getpid()}"
        if self.is_first:
            self.files = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": limit}
        else:
            self.files = {"cgroup.type": "threaded", "cpu.max": f"{limit} {period}"}

    def __enter__(self):
        self.path.mkdir()
        try:
            for name, value in self.files.items():
                (self.path / name).write_text(f"{value}\n")
        except BaseException:
            self.path.rmdir()
            raise
        return self

    def add(self, thread):
        (self.path / ("tasks" if self.is_first else "cgroup.threads")).write_text(f"{thread}\n")

    def __exit__(self, *_exception):
        # Threads that have ended are counted for a moment.
        for _ in range(100):
            with contextlib.suppress(OSError):
                return self.path.rmdir()
            time.sleep(0.05)


def own_group(controller):
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    raise binary.Failure("this system has no control groups for processors")


def helper_of(child):
    """The second thread of a process, once it runs."""
    while child.poll() is None:
        for thread in pathlib.Path(f"/proc/{child.pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                if (thread / "comm").read_text().strip() == HELPER:
                    return thread.name
        time.sleep(0.001)
    return None


def decode_rate(path, arguments, threads, group=None):
    options = ["--threads", threads, "--prefill", 16, "--decode", arguments.decode, "--repetitions", 3]
    command = [path, "bench", "--json", "--quiet", "--offline", "--model", arguments.model, *options]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE) as child:
        if group:
            helper = helper_of(child)
            if helper:
                group.add(helper)
        text = child.stdout.read()
    if child.returncode != 0:
        raise binary.failed([str(part) for part in command], child.returncode)
    return json.loads(text)["decode_tokens_per_s"]


def measure(path, arguments):
    rates = {
        "one thread": decode_rate(path, arguments, 1),
        "two threads": decode_rate(path, arguments, 2),
    }
    with Group(arguments.quota, arguments.period) as group:
        rates["two, one with a quota"] = decode_rate(path, arguments, 2, group)
    with Busy(os.cpu_count()):
        rates["two, contended"] = decode_rate(path, arguments, 2)
    return rates


def main():
    arguments = parse()
    binaries = [arguments.potluck] + ([arguments.before] if arguments.before else [])
    try:
        rounds = {path: [] for path in binaries}
        for turn in range(arguments.rounds):
            for path in binaries if turn % 2 == 0 else binaries[::-1]:
                rounds[path].append(measure(path, arguments))
    except (binary.Failure, OSError) as error:
        binary.fail(error)
    met = True
    for path, measured in rounds.items():
        medians = {case: statistics.median(rates[case] for rates in measured) for case in measured[0]}
        unlike = medians["two, one with a quota"] / medians["one thread"]
        contended = medians["two, contended"] / medians["two threads"]
        print(path)
        for case, rate in medians.items():
            every = ", ".join(f"{rates[case]:.0f}" for rates in measured)
            print(f"  {case:24} {rate:6.1f} tokens/s ({every})")
        print(f"  two threads, one with a quota, to one thread: {unlike:.2f} (target {UNLIKE_TARGET})")
        print(f"  contended to idle: {contended:.2f} (target {CONTENDED_TARGET})")
        if path == arguments.potluck:
            met = unlike >= UNLIKE_TARGET and contended >= CONTENDED_TARGET
    sys.exit(0 if met else 1)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--potluck", type=pathlib.Path, default=binary.DEFAULT, metavar="FILE", help="the binary")
    parser.add_argument("--before", type=pathlib.Path, metavar="FILE", help="another binary, measured in turn")
    parser.add_argument("--model", default="smollm2:135m", help="a catalogue name or a GGUF file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decode", type=int, default=64, help="tokens a repetition")
    parser.add_argument("--quota", type=float, default=1 / 3, help="of a core, for the second thread")
    parser.add_argument("--period", type=float, default=10, metavar="MS", help="in which it may use the quota")
    return parser.parse_args()


if __name__ == "__main__":
    main()
