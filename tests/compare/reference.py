#!/usr/bin/env python3
"""Compares Potluck's probabilities with those of an independent float32 model in numpy.

    cargo build --release
    tests/compare/reference.py
    tests/compare/reference.py --models gemma3:270m --text chapter.txt --json reference.json
    tests/compare/reference.py --write-golden

The texts are the golden ones of tests/golden (with the token ids that llama.cpp gives them) and
the beginning of each --text file, by default of the Apache licence and long enough to go beyond
Gemma's sliding window. For every position of a golden text the whole distribution is compared:
the figure is the Kullback-Leibler divergence from the reference, in nats. Of the longer texts only
the --top most likely tokens are listed, the others counted as one: the divergence shown is then a
lower bound. The golden texts together and each longer text have to be within the thresholds. The
same numpy model also checks the golden files' figures, or with --write-golden makes them anew for
the texts and ids that they have.

Exit code: 0 if all is within the thresholds, 1 if not, 2 if it could not be compared.
"""

import argparse
import json
import pathlib
import sys
from dataclasses import dataclass, field

import binary
import environment

environment.enter("gguf", "numpy")

import numpy as np

import scores
from numpy_model import Model, log_softmax

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
GOLDEN_FILES = {"smollm2:135m": "smollm2.json", "gemma3:270m": "gemma3.json"}
# Rounding in float32 differs between versions of numpy by less than a tenth of this.
GOLDEN_TOLERANCE = 0.001

MAX_DIVERGENCE = 0.0005
MIN_AGREEMENT = 0.99
MAX_NLL_DIFFERENCE = 0.0005


@dataclass
class Tally:
    """What positions of texts add up to."""

    positions: int = 0
    divergence: float = 0.0
    worst_divergence: float = 0.0
    agreeing: int = 0
    predicted: int = 0
    nll: float = 0.0
    reference_nll: float = 0.0
    problems: list = field(default_factory=list)

    def add(self, other):
        self.positions += other.positions
        self.divergence += other.divergence
        self.worst_divergence = max(self.worst_divergence, other.worst_divergence)
        self.agreeing += other.agreeing
        self.predicted += other.predicted
        self.nll += other.nll
        self.reference_nll += other.reference_nll
        self.problems += other.problems

    def summary(self):
        divergence, agreement = self.divergence / self.positions, self.agreeing / self.positions
        nll_difference = self.nll / self.reference_nll - 1
        within = divergence <= MAX_DIVERGENCE and agreement >= MIN_AGREEMENT
        within = within and abs(nll_difference) <= MAX_NLL_DIFFERENCE
        return {
            "positions": self.positions,
            "mean_kl": divergence,
            "worst_kl": self.worst_divergence,
            "same_most_likely": agreement,
            "mean_nll": self.nll / self.predicted,
            "reference_mean_nll": self.reference_nll / self.predicted,
            "nll_difference": nll_difference,
            "problems": self.problems,
            "passed": within and not self.problems,
        }


def divergence(reference, ids, logprobs):
    """From the reference to the listed tokens and, as one, all others: at most the whole one."""
    listed = reference[ids]
    total = float(np.sum(np.exp(listed) * (listed - logprobs)))
    if len(ids) < len(reference):
        others = np.ones(len(reference), bool)
        others[ids] = False
        rest, their_rest = np.exp(reference[others]).sum(), 1 - np.exp(logprobs).sum()
        # Sums of single-precision probabilities are no more exact than that.
        if rest > 1e-5:
            total += float(rest * np.log(rest / max(their_rest, 1e-6)))
    return total


def compare_text(potluck, options, ids, logits, top):
    """Potluck's probabilities of a text against the reference's."""
    tally, reference_rows = Tally(), log_softmax_rows(logits)

    def on_position(position, listed, logprobs):
        reference = next(reference_rows)
        if len(listed) != top or len(np.unique(listed)) != top:
            raise ValueError(f"position {position} lists {len(np.unique(listed))} different tokens, asked for {top}")
        if top == len(reference) and abs(np.exp(logprobs).sum() - 1) > 1e-4:
            tally.problems.append(f"the probabilities at position {position} do not add up to 1")
        one = divergence(reference, listed, logprobs)
        tally.positions += 1
        tally.divergence += one
        tally.worst_divergence = max(tally.worst_divergence, one)
        tally.agreeing += int(listed[0] == reference.argmax())
        if position + 1 < len(ids):
            tally.reference_nll -= float(reference[ids[position + 1]])

    tokens = ",".join(map(str, ids))
    options = [*options, "--context", len(ids), "--top", top, "--tokens", tokens]
    output = potluck.stream("score", "--json", "--quiet", *options)
    report = scores.read(output, on_position)
    if tally.positions != len(ids) or len(report["logprobs"]) != len(ids) - 1:
        raise ValueError(f"{tally.positions} positions for {len(ids)} tokens")
    tally.nll, tally.predicted = -sum(report["logprobs"]), len(ids) - 1
    return tally


def log_softmax_rows(logits):
    # One by one: all at once in double precision would take gigabytes.
    return (log_softmax(row) for row in logits)


def golden_problems(entry, logits):
    """Where a golden file's figures are not those of the numpy model."""
    worst = 0.0
    for position, row in enumerate(log_softmax_rows(logits)):
        if position + 1 < len(entry["ids"]):
            worst = max(worst, abs(row[entry["ids"][position + 1]] + entry["nll"][position]))
        worst = max([worst, *(abs(row[token] - logprob) for token, logprob in entry["top5"][position])])
    return [f"the golden file is off by {worst:.4f}"] if worst > GOLDEN_TOLERANCE else []


def golden_entry(text, ids, logits):
    nll, top = [], []
    for position, row in enumerate(log_softmax_rows(logits)):
        best = np.argsort(-row, kind="stable")[:5]
        top.append([[int(token), round(float(row[token]), 5)] for token in best])
        if position + 1 < len(ids):
            nll.append(round(float(-row[ids[position + 1]]), 5))
    return {"text": text, "ids": ids, "nll": nll, "top5": top}


def write_golden(path, entries):
    lines = [json.dumps(entry, separators=(",", ":"), ensure_ascii=False) for entry in entries]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


class Comparison:
    """Of one model."""

    def __init__(self, potluck, name, file, arguments):
        self.potluck, self.arguments = potluck, arguments
        self.options = ["--model", file, "--threads", arguments.threads]
        environment.note(f"{name}: reading all weights as float32")
        self.model = Model(file)
        self.name, self.rows = name, []

    def run(self):
        golden = self.golden_texts()
        print_row(f"{self.name}, golden texts", golden)
        longer = [self.longer_text(path) for path in self.arguments.text]
        passed = all(group["passed"] for group in [golden, *longer])
        return {"model": self.name, "passed": passed, "golden": golden, "texts": self.rows}

    def golden_texts(self):
        # A model without a golden file has its own tokens for the same texts.
        has_golden = self.name in GOLDEN_FILES
        total = Tally()
        for number, entry in enumerate(json.loads(golden_file(self.name).read_text(encoding="utf-8")), 1):
            ids, problems = self.ids(entry["text"]), []
            if has_golden and ids != entry["ids"]:
                problems.append("its token ids differ from llama.cpp's")
                ids = entry["ids"]
            logits = self.model.logits(ids)
            if has_golden:
                problems += golden_problems(entry, logits)
            total.add(self.compare(f"golden text {number}", ids, logits, self.model.vocabulary, problems))
        return total.summary()

    def longer_text(self, path):
        ids = self.ids(path.read_text(encoding="utf-8")[: self.arguments.characters])
        top = min(self.arguments.top, self.model.vocabulary)
        return self.compare(path.name, ids, self.model.logits(ids), top, []).summary()

    def ids(self, text):
        # A token is a byte at least.
        context = min(len(text.encode()) + 2, self.model.config.context)
        return self.potluck.json("score", *self.options, "--quiet", "--context", context, stdin=text)["token_ids"]

    def compare(self, title, ids, logits, top, problems):
        tally = compare_text(self.potluck, self.options, ids, logits, top)
        tally.problems = [f"{title}: {problem}" for problem in problems + tally.problems]
        row = {"text": title, "whole_distribution": top == self.model.vocabulary, **tally.summary()}
        self.rows.append(row)
        print_row(f"{self.name}, {title}", row)
        for problem in tally.problems:
            print(f"  {problem}")
        return tally


def golden_file(name):
    return GOLDEN / GOLDEN_FILES.get(name, "smollm2.json")


def print_row(title, row):
    mark = " " if row.get("whole_distribution", True) else "≥"
    print(
        f"{title:<36} {row['positions']:>5} positions  KL {mark}{row['mean_kl']:.2e} (worst {row['worst_kl']:.2e})  "
        f"same most likely {row['same_most_likely']:7.2%}  NLL {row['mean_nll']:.4f} ({row['nll_difference']:+.4%})",
        flush=True,
    )


def run_write_golden(models):
    for name, file in models:
        if name not in GOLDEN_FILES:
            raise ValueError(f"{name} has no golden file")
        model, path = Model(file), golden_file(name)
        entries = json.loads(path.read_text(encoding="utf-8"))
        write_golden(path, [golden_entry(entry["text"], entry["ids"], model.logits(entry["ids"])) for entry in entries])
        print(f"wrote {path}")


def run(models, potluck, arguments):
    results = []
    for name, file in models:
        result = Comparison(potluck, name, file, arguments).run()
        results.append(result)
        print(f"{name}: {'passed' if result['passed'] else 'FAILED'}")
    if arguments.json:
        limits = {"mean_kl": MAX_DIVERGENCE, "same_most_likely": MIN_AGREEMENT, "nll_difference": MAX_NLL_DIFFERENCE}
        arguments.json.write_text(json.dumps({"thresholds": limits, "models": results}, indent=1) + "\n")
    return all(result["passed"] for result in results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    binary.add_arguments(parser)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--text", type=pathlib.Path, nargs="*", default=[ROOT / "LICENSE-APACHE"], metavar="FILE")
    parser.add_argument("--characters", type=int, default=4000, metavar="N", help="how much of each longer text")
    parser.add_argument("--top", type=int, default=1000, metavar="K", help="tokens listed for longer texts")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything found")
    parser.add_argument("--write-golden", action="store_true")
    arguments = parser.parse_args()
    try:
        potluck = binary.Potluck(arguments.potluck)
        models = potluck.models(arguments.models)
        if arguments.write_golden:
            run_write_golden(models)
            return 0
        return 0 if run(models, potluck, arguments) else 1
    except (binary.Failure, OSError, ValueError) as error:
        binary.fail(error)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
