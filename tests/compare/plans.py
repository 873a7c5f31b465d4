#!/usr/bin/env python3
"""How soon plans are right on a device that was measured while it was busy.

    cargo build --release
    tests/compare/plans.py
    tests/compare/plans.py --models smollm2:135m --rounds 5 --busy 2

In each round, a home of its own is measured beside busy processes. Then, without them, come answers,
and after each the plan: the rate it predicts, over the rate that this answer had. Plan and answers have
the same depth in the text. `--with-peers` has the answers computed by a node's stage, and not by the
command itself.

Exit code: 0 if the median after the third answer is within 15 % of 1, 1 if not, 2 if it could not be
measured.
"""

import argparse
import os
import statistics
import sys
import tempfile

import binary
from busy import Busy

TARGET = 0.15
ANSWERS = 4
PROMPT = "Write a short story about a fox and a train."


def ask(potluck, file, tokens, *who):
    """An answer of so many tokens: its rate, and a context of which half lies before them on average."""
    arguments = ["run", "--model", file, "--greedy", "-n", tokens, *who, PROMPT]
    answer = potluck.json(*arguments)
    prompt, answered = len(answer["prompt_token_ids"]), len(answer["token_ids"])
    return answer["decode_tokens_per_s"], 2 * prompt + answered


def one_round(potluck, file, arguments):
    with Busy(arguments.busy):
        potluck.json("bench", "--profile", "--quiet")
    who = ["--with-peers", "--no-mdns"] if arguments.with_peers else ["--alone"]
    ratios, context = [], 256
    for answer in range(ANSWERS + 1):
        if answer:
            rate, context = ask(potluck, file, arguments.tokens, *who)
        plan = potluck.json("plan", file, "--context", context, "--no-mdns")
        predicted = plan["best"]["tokens_per_s"]
        if not answer:
            first = predicted
            continue
        if answer == 1:
            ratios.append(first / rate)
        ratios.append(predicted / rate)
    return ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    binary.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--busy", type=int, default=os.cpu_count(), metavar="N", help="busy processes")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="of an answer")
    parser.add_argument("--with-peers", action="store_true", help="answers go over a node")
    arguments = parser.parse_args()
    met = True
    try:
        potluck = binary.Potluck(arguments.potluck)
        for name, file in list(potluck.models(arguments.models)):
            rounds = []
            for number in range(arguments.rounds):
                with tempfile.TemporaryDirectory() as home:
                    os.environ["POTLUCK_HOME"] = home
                    rounds.append(one_round(potluck, file.absolute(), arguments))
                told = ", ".join(f"{ratio:.2f}" for ratio in rounds[-1])
                print(f"{name}, round {number + 1}: predicted over answered before, and after each answer: {told}", flush=True)
            medians = [statistics.median(ratios) for ratios in zip(*rounds)]
            within = abs(medians[3] - 1) <= TARGET
            met = met and within
            told = ", ".join(f"{ratio:.3f}" for ratio in medians)
            print(f"{name}, medians: {told}; after the third {'met' if within else 'MISSED'}")
    except (binary.Failure, OSError) as error:
        binary.fail(error)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
