"""Predicted cycles of inner loops on processors that are not here, by `llvm-mca`.

It assumes that all data are in the first-level cache and that no branch is mispredicted, and knows a
processor only as far as LLVM describes it. LLVM describes the Cortex-A78 and X1 as it does the A57,
which is six years older; the Neoverse cores that share their design stand for them.
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
    # LLVM's processor that stands for it, and the micro-operations it starts in a cycle: LLVM's
    # figure for the Neoverse cores is the number of their pipes.
    model: str
    width: int | None
    isas: tuple
    gigahertz: float
    # GB/s that one core reads from memory, as others measured it.
    reads: tuple


PROCESSORS = [
    Processor("Cortex-A55", "cortex-a55", None, ("neon", "dotprod"), 1.8, (3, 6)),
    Processor("Cortex-A78", "neoverse-n1", 6, ("neon", "dotprod"), 2.4, (21, 23)),
    Processor("Cortex-X1", "neoverse-v1", 8, ("neon", "dotprod"), 2.9, (27, 27)),
    Processor("Neoverse-V2", "neoverse-v2", 8, ("dotprod", "i8mm"), 2.8, (37, 37)),
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
    return Prediction(cycles / each, bound, busy / each, most)


def table(by_name, formats):
    """A table in Markdown: the GEMV for one and four rows, the GEMM by products."""
    yield "| processor | instruction set | type | rows | cycles a sub-block | busiest unit | GB/s by that | a core reads |"
    yield "|---|---|---|---|---|---|---|---|"
    for processor in PROCESSORS:
        units = [
            unit
            for units in by_name.values()
            for unit in [worst(units)]
            if unit.isa in processor.isas and unit.format in formats and unit.product == "gemv"
            if unit.positions in (1, 4)
        ]
        for unit, told in zip(units, predictions(units, processor)):
            low, high = processor.reads
            reads = f"{low} to {high}" if low != high else f"{low}"
            by = ", ".join(f"{name} {share:.0%}" for name, share in told.by)
            yield (
                f"| {processor.name} | {unit.isa} | {unit.format} | {unit.positions} "
                f"| {told.cycles:.0f} | {told.bound} {told.bound_cycles:.0f} ({by}) "
                f"| {told.rate(processor, unit.format):.1f} | {reads} |"
            )


def worst(units):
    return max(units, key=lambda unit: unit.per_sub_block()["instructions"])
