"""Predicted cycles of inner loops on processors that are not here, by `llvm-mca`.

It assumes that all data are in the first-level cache and that no branch is mispredicted, and knows a
processor only as far as LLVM describes it. LLVM takes the Cortex-A78 for an A57, and before version
22 the X1, too; so cores of the same design stand for them: the Neoverse V1 is the X1's own, and the
N2 (a Cortex-A710) has the A78's two vector units and three loads, two designs later.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass

import listing
import toolchain

ITERATIONS = 200


@dataclass
class Processor:
    name: str
    # LLVM's processor that stands for it, and how many micro-operations it starts in a cycle: before
    # version 22, LLVM's figure was the number of pipes.
    model: str
    width: int | None
    isas: tuple
    gigahertz: float
    # GB/s that one core reads from memory, as others measured it.
    reads: tuple


PROCESSORS = [
    Processor("Cortex-A55", "cortex-a55", None, ("neon", "dotprod"), 1.8, (3, 6)),
    Processor("Cortex-A78", "neoverse-n2", 5, ("dotprod",), 2.4, (21, 23)),
    Processor("Cortex-X1", "neoverse-v1", 8, ("dotprod",), 2.9, (27, 27)),
    Processor("Neoverse-V2", "neoverse-v2", 6, ("dotprod", "i8mm"), 2.8, (37, 37)),
]


@dataclass
class Prediction:
    """Of a sub-block: cycles, and how many of them its busiest unit has work."""

    cycles: float
    bound: str
    bound_cycles: float
    # The instructions that keep it busy, with the share of its work.
    by: list

    def rate(self, processor, format_):
        """GB/s of weights."""
        return listing.BYTES[format_] * processor.gigahertz / self.cycles


def predictions(units, processor):
    """A prediction for each unit."""
    bodies = [(unit, body) for unit in units for body in unit.bodies()]
    regions = []
    for number, (_, (_, instructions)) in enumerate(bodies):
        lines = "\n".join(assembly(i) for i in instructions)
        regions.append(f"# LLVM-MCA-BEGIN {number}\n{lines}\n# LLVM-MCA-END\n")
    arguments = ["-mtriple=aarch64", f"-mcpu={processor.model}", "-mattr=+dotprod,+i8mm", "-json"]
    if processor.width:
        arguments.append(f"-dispatch={processor.width}")
    text = toolchain.llvm()(
        "llvm-mca", *arguments, f"-iterations={ITERATIONS}", input="".join(regions)
    )
    report = json.loads(text[text.index("{") :])
    resources = report["TargetInfo"]["Resources"]
    found = []
    regions = iter(report["CodeRegions"])
    for unit in units:
        cycles, pressure = 0.0, Counter()
        for times, _ in unit.bodies():
            region = next(regions)
            cycles += times * region["SummaryView"]["TotalCycles"] / ITERATIONS
            for (resource, mnemonic), busy in used(region, resources).items():
                pressure[resource, mnemonic] += times * busy
        found.append(prediction(unit, cycles, pressure))
    return found


def assembly(instruction):
    """An instruction as the assembler reads it; where a jump goes does not matter."""
    operands = re.sub(r"(0x[0-9a-f]+) <[^>]*>", "out", instruction.operands)
    return f"{instruction.mnemonic} {operands}"


def used(region, resources):
    """Cycles an iteration keeps units busy, by unit and mnemonic."""
    instructions = region["Instructions"]
    busy = Counter()
    for use in region["ResourcePressureView"]["ResourcePressureInfo"]:
        index = use["InstructionIndex"]
        # One more than there are instructions stands for the sum.
        if index < len(instructions):
            mnemonic = instructions[index].split()[0]
            resource = resources[use["ResourceIndex"]]
            busy[resource, mnemonic] += use["ResourceUsage"]
    return busy


def prediction(unit, cycles, pressure):
    by_resource = Counter()
    for (resource, _), busy in pressure.items():
        by_resource[resource] += busy
    (bound, busy), *_ = by_resource.most_common(1)
    by = Counter({name: share for (resource, name), share in pressure.items() if resource == bound})
    most = [(name, share / busy) for name, share in by.most_common(3)]
    each = unit.sub_blocks
    # Without what all names of a processor's begin with, and the number of a twin.
    bound = re.sub(r"^.*Unit|\W.*$", "", bound)
    return Prediction(cycles / each, bound, busy / each, most)


def table(by_name, formats):
    """Predictions of the GEMV in Markdown: one row of activations, and how much longer four take."""
    yield (
        "| processor | instruction set | type | cycles a sub-block | busiest unit | GB/s by that "
        "| a core reads, GB/s | four rows |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for processor in PROCESSORS:
        names = [(isa, format_) for isa in processor.isas for format_ in formats]
        units = [
            max(by_name[f"{isa} {format_} gemv {rows}"], key=instructions)
            for isa, format_ in names
            for rows in (1, 4)
        ]
        told = predictions(units, processor)
        for (isa, format_), one, four in zip(names, told[::2], told[1::2]):
            reads = " to ".join(map(str, dict.fromkeys(processor.reads)))
            by = ", ".join(f"{name} {share:.0%}" for name, share in one.by)
            yield (
                f"| {processor.name} | {isa} | {format_} | {one.cycles:.0f} "
                f"| {one.bound} {one.bound_cycles:.0f} ({by}) "
                f"| {one.rate(processor, format_):.1f} | {reads} "
                f"| {four.cycles / one.cycles:.1f} times |"
            )


def instructions(unit):
    return unit.per_sub_block()["instructions"]
