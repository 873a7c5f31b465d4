#!/usr/bin/env python3
"""Measures Potluck against llama.cpp: same file, same threads, interleaved, medians.

    cargo build --release
    tests/compare/speed.py
    tests/compare/speed.py --models gemma3:270m --threads 2 --rounds 9 --json speed.json
    tests/compare/speed.py --threads 2 --contended 2

In each round every program runs once, in an order that rotates: llama.cpp without and with flash
attention, each as its own llama-bench measures (llama_rates.py), and `potluck bench`. For each
figure, the faster of the two llama.cpp settings is the opponent. Ratios of figures taken side by
side carry over to other machines, the figures themselves do not; so that both programs see the
same machine, let nothing else run. The first use builds llama.cpp for this processor, which takes
minutes.

With --contended N, every round is repeated while N busy processes keep the processors occupied,
and the share of its idle rate that each program keeps is printed.

Exit code: 0 if every target is met, 1 if one is missed, 2 if it could not be measured, 130 after
Ctrl-C (what was measured until then is still printed).
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field

import binary
import environment
from busy import Busy

MEASURES = ("decode", "prefill")
POTLUCK = "potluck"
OPPONENTS = {"llama.cpp": [], "llama.cpp, flash attention": ["--flash-attention"]}
# How many times as fast as llama.cpp, on any number of threads.
TARGETS = {
    "smollm2:135m": {"decode": 2.0, "prefill": 2.5},
    "gemma3:270m": {"decode": 1.8, "prefill": 1.8},
}
# Share of its idle decode rate that Potluck keeps with as many busy processes as processors.
CONTENDED_TARGET = 0.45


@dataclass
class Case:
    """The rates of every program, in tokens a second, a list entry a round."""

    model: str
    file: str
    threads: int
    busy: int
    rates: dict = field(default_factory=dict)

    def add(self, program, report):
        of_program = self.rates.setdefault(program, {measure: [] for measure in MEASURES})
        for measure in MEASURES:
            of_program[measure].append(report[f"{measure}_tokens_per_s"])

    def complete_rounds(self, measure):
        """Each program's rates in the rounds that all of them finished."""
        rounds = min((len(self.rates.get(program, {}).get(measure, [])) for program in programs()), default=0)
        return {program: self.rates[program][measure][:rounds] for program in programs()} if rounds else None


def programs():
    return [*OPPONENTS, POTLUCK]


def compare(case, measure):
    """Potluck against the faster llama.cpp, or None before a whole round is done."""
    rates = case.complete_rounds(measure)
    if rates is None:
        return None
    opponent = max(OPPONENTS, key=lambda name: statistics.median(rates[name]))
    ours, theirs = rates[POTLUCK], rates[opponent]
    result = {
        "model": case.model,
        "threads": case.threads,
        "busy": case.busy,
        "measure": measure,
        "rounds": len(ours),
        "potluck": spread(ours),
        "opponent": opponent,
        "llama_cpp": spread(theirs),
        "ratio_of_medians": statistics.median(ours) / statistics.median(theirs),
        "median_of_ratios": statistics.median(our / their for our, their in zip(ours, theirs)),
        "target": None if case.busy else TARGETS.get(case.model, {}).get(measure),
    }
    if result["target"]:
        result["met"] = result["ratio_of_medians"] >= result["target"]
    return result


def spread(rates):
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def kept(idle, contended, processors):
    """What busy processes left of the rates of a case."""
    before, after = compare(idle, "decode"), compare(contended, "decode")
    if before is None or after is None:
        return []
    rows = []
    for measure in MEASURES:
        rates = [case.complete_rounds(measure) for case in (idle, contended)]
        share = {name: statistics.median(rates[1][name]) / statistics.median(rates[0][name]) for name in programs()}
        row = {"model": idle.model, "threads": idle.threads, "busy": contended.busy, "measure": measure, "kept": share}
        if measure == "decode" and contended.busy <= processors:
            row |= {"target": CONTENDED_TARGET, "met": share[POTLUCK] >= CONTENDED_TARGET}
        rows.append(row)
    return rows


class Measurement:
    def __init__(self, arguments, potluck):
        self.arguments, self.potluck = arguments, potluck
        self.cases, self.about = [], {}

    def run(self, models):
        """Fills `cases`, round by round."""
        arguments = self.arguments
        for name, file in models:
            for threads in arguments.threads:
                loads = sorted({0, arguments.contended})
                cases = [Case(name, str(file), threads, busy) for busy in loads]
                self.cases += cases
                for turn in range(arguments.rounds):
                    for case in cases:
                        with Busy(case.busy):
                            self.round(case, turn)

    def round(self, case, turn):
        order = programs()
        at = turn % len(order)
        for program in order[at:] + order[:at]:
            report = self.measure(case, program)
            case.add(program, report)
            self.about.setdefault(program, {key: report.get(key) for key in ABOUT if key in report})
            rates = ", ".join(f"{measure} {report[f'{measure}_tokens_per_s']:.1f}" for measure in MEASURES)
            beside = f" beside {case.busy} busy" if case.busy else ""
            environment.note(
                f"{case.model}, {case.threads} threads{beside}, round {turn + 1} of {self.arguments.rounds}: "
                f"{program}: {rates} tokens/s"
            )

    def measure(self, case, program):
        arguments = self.arguments
        # A contended run can take ten times as long; rounds are what its median is of.
        repetitions = 1 if case.busy else arguments.repetitions
        options = {"prefill": arguments.prefill, "decode": arguments.decode}
        options |= {"threads": case.threads, "repetitions": repetitions}
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        if program == POTLUCK:
            return self.potluck.json("bench", "--quiet", "--model", case.file, *flags)
        script = pathlib.Path(__file__).with_name("llama_rates.py")
        command = [sys.executable, str(script), case.file, *flags, *OPPONENTS[program]]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if run.returncode != 0:
            raise binary.failed(command, run.returncode)
        return json.loads(run.stdout)


ABOUT = ("version", "system_info", "isa", "read_bandwidth_bytes_per_s", "bytes_per_token", "peak_rss_bytes")


def machine():
    name = platform.processor() or platform.machine()
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # Not Linux.
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"processor": name, "processors": os.cpu_count(), "system": platform.platform(), "load_before": load}


def print_rates(rows):
    widths = "{:<14} {:>7} {:>4} {:<8} {:>24} {:>24} {:>6} {:>8}  {}"
    print(widths.format("MODEL", "THREADS", "BUSY", "TOKENS/S", "POTLUCK", "LLAMA.CPP", "RATIO", "BY ROUND", "TARGET"))
    for row in rows:
        figures = ["{median:.1f} ({min:.1f}–{max:.1f})".format(**row[name]) for name in ("potluck", "llama_cpp")]
        flash = "*" if row["opponent"] != "llama.cpp" else " "
        target = f"≥ {row['target']:.1f} {verdict(row)}" if row["target"] else ""
        ratios = f"{row['ratio_of_medians']:.2f}", f"{row['median_of_ratios']:.2f}"
        print(widths.format(
            row["model"], row["threads"], row["busy"], row["measure"], figures[0], figures[1] + flash, *ratios, target
        ))
    print("medians (least–most) of the rounds; * llama.cpp is faster with flash attention here")


def print_kept(rows):
    print(f"\nbeside {rows[0]['busy']} busy processes, of its idle rate")
    for row in rows:
        shares = ", ".join(f"{name} keeps {share:.0%}" for name, share in row["kept"].items())
        target = f"; potluck's target ≥ {row['target']:.0%} {verdict(row)}" if "target" in row else ""
        print(f"{row['model']}, {row['threads']} threads, {row['measure']}: {shares}{target}")


def verdict(row):
    return "met" if row["met"] else "MISSED"


def report(measurement, about_machine, path):
    """Prints the tables, writes the file, and says whether all targets are met."""
    cases = measurement.cases
    rows = [row for case in cases for measure in MEASURES if (row := compare(case, measure))]
    idle = {(case.model, case.threads): case for case in cases if not case.busy}
    shares = []
    for case in cases:
        if case.busy:
            shares += kept(idle[case.model, case.threads], case, about_machine["processors"])
    if rows:
        print_rates(rows)
    if shares:
        print_kept(shares)
    if path:
        settings = {key: value for key, value in vars(measurement.arguments).items() if not isinstance(value, pathlib.Path)}
        everything = {"machine": about_machine, "settings": settings, "programs": measurement.about}
        everything |= {"results": rows, "kept": shares, "cases": [asdict(case) for case in cases]}
        path.write_text(json.dumps(everything, indent=1) + "\n")
    return all(row.get("met", True) for row in rows + shares)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    binary.add_arguments(parser)
    parser.add_argument("--threads", nargs="+", type=positive, default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N")
    parser.add_argument("--repetitions", type=positive, default=3, metavar="N", help="in each run, of which the median")
    parser.add_argument("--prefill", type=positive, default=512, metavar="TOKENS")
    parser.add_argument("--decode", type=positive, default=128, metavar="TOKENS")
    parser.add_argument("--contended", type=positive, default=0, metavar="N", help="also beside N busy processes")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything measured")
    return parser.parse_args()


def main():
    arguments = parse()
    environment.enter("llama_cpp")
    # Ended politely, as by Ctrl-C: what was started is ended, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    about_machine = machine()
    if (about_machine["load_before"] or 0) > 0.25 * os.cpu_count():
        environment.note(f"warning: the load is {about_machine['load_before']:.1f}: something else is running")
    interrupted, measurement = False, None
    try:
        measurement = Measurement(arguments, binary.Potluck(arguments.potluck))
        measurement.run(list(measurement.potluck.models(arguments.models)))
    except KeyboardInterrupt:
        interrupted = True
    except (binary.Failure, OSError) as error:
        binary.fail(error)
    met = report(measurement, about_machine, arguments.json) if measurement else True
    return 130 if interrupted else 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
