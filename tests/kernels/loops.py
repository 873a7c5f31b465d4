#!/usr/bin/env python3
"""Counts instructions and spills in the inner loops of the products with packed weights.

    tests/kernels/loops.py                          # a table, for x86-64 and aarch64
    tests/kernels/loops.py --only avx512 --only "i8mm Q6K"
    tests/kernels/loops.py --listing "avx2 Q4_1 gemv 1"
    tests/kernels/loops.py --check                  # against tests/kernels/ceilings.json
    tests/kernels/loops.py --write --document       # the present figures as ceilings, and the
                                                    # tables of model/PERFORMANCE.md made again
    tests/kernels/loops.py --program target/release/potluck --check
    tests/kernels/loops.py --predict                # predicted cycles, in Markdown

It builds the kernels alone (tests/kernels/Cargo.toml; a minute for each architecture), and reads
the program: nothing is run, so that the processor at hand does not matter. What the machine lacks
(LLVM's tools from 19 on, for aarch64 a Rust target and a linker) comes from Debian packages, as for
tests/aarch64/run.sh, unpacked under ~/.cache; nothing is installed.

All figures are for a sub-block, 32 weights of each of 16 rows:

    instr    instructions, with those of loops within
    work     products, as many as there must be
    apart    products that the compiler has taken apart into a multiplication and an addition
    loads, stores  accesses to memory
    spills   of these, accesses to fixed places on the stack
    loops    loops that the compiler did not unroll: arrays that should be registers are in memory

The compiler's version changes all of this a little; --check allows 5 % more instructions and no
more spills, products taken apart or loops. After an upgrade, or a change that is meant, look at what
has moved and write the ceilings anew.

Exit code: 0, or 1 if a ceiling is passed, 2 if the figures cannot be had here.
"""

import argparse
import json
import sys

import listing
import predict
import toolchain

CEILINGS = toolchain.HERE / "ceilings.json"
DOCUMENT = toolchain.ROOT / "model/PERFORMANCE.md"
# How many times as many instructions as its ceiling a loop may have.
TOLERANCE = 1.05
COLUMNS = {"instructions": "instr"}
# Types that stand for the others in tables in Markdown.
SHOWN = ("Q4_1", "Q8_0", "Q4K", "Q6K")


def main():
    options = arguments()
    found, compilers = {}, {}
    if options.program:
        found = read(options.program)
    else:
        for architecture, sets in toolchain.ARCHITECTURES.items():
            if needed(options, sets):
                program, compilers[architecture] = toolchain.build(architecture)
                units = read(program)
                if missing := set(sets) - {name.split()[0] for name in units}:
                    raise toolchain.Unavailable(f"no loops found for {', '.join(sorted(missing))}")
                found |= units
    wanted = {n: u for n, u in found.items() if not options.only or is_among(n, options.only)}
    return run(options, wanted, compilers)


def needed(options, isas):
    """Whether loops of one of these instruction sets are asked for."""
    if options.predict:
        return isas == toolchain.ARCHITECTURES["aarch64"]
    asked = {name.split()[0] for name in [*options.only, options.listing] if name}
    return not asked or bool(asked & set(isas))


def read(program):
    """The loops of a program, by name."""
    text = toolchain.disassembly(program)
    return listing.by_name(listing.units(text, toolchain.names_at(program)))


def run(options, found, compilers):
    if options.listing:
        return show(found.get(options.listing))
    if options.predict:
        print("\n".join(predict.table(found, SHOWN)))
        return 0
    figures = {name: most(units) for name, units in found.items()}
    if options.write:
        write(options.write, figures, compilers)
    if options.document:
        document(options.document, figures, found)
    if options.json:
        print(json.dumps({"compilers": compilers, "loops": figures}, indent=1))
    elif not (options.write or options.document or options.check):
        print_table(figures)
    return check(options.check, figures, compilers, options.only) if options.check else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    of_name = "the beginning of a loop's name"
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=of_name)
    parser.add_argument("--program", metavar="FILE", help="read this one; nothing is built")
    parser.add_argument("--listing", metavar="NAME", help="print this loop's instructions")
    parser.add_argument("--predict", action="store_true", help="cycles by llvm-mca")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--check", nargs="?", const=CEILINGS, metavar="FILE", help="compare with ceilings")
    parser.add_argument("--write", nargs="?", const=CEILINGS, metavar="FILE", help="write ceilings")
    parser.add_argument(
        "--document", nargs="?", const=DOCUMENT, metavar="FILE", help="make the tables of a document again"
    )
    options = parser.parse_args()
    if (options.only or options.program) and (options.predict or options.write or options.document):
        parser.error("--only and --program go with the table, --listing, --json and --check")
    return options


def is_among(name, beginnings):
    return any((name + " ").startswith(beginning + " ") for beginning in beginnings)


def most(units):
    """The most of each figure that any loop of a name has."""
    each = [unit.per_sub_block() for unit in units]
    return {what: max(figures[what] for figures in each) for what in each[0]}


def print_table(figures):
    if not figures:
        return
    columns = list(next(iter(figures.values())))
    print(f"{'':24}" + "".join(f"{COLUMNS.get(c, c):>8}" for c in columns))
    for name, counts in figures.items():
        print(f"{name:24}" + "".join(f"{counts[c]:8g}" for c in columns))


def document(path, figures, found):
    """Puts the present tables in place of those that have the same heads."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for table in [list(markdown(figures)), list(predict.table(found, SHOWN))]:
        lines = replaced(lines, table)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def replaced(lines, table):
    if table[0] not in lines:
        raise toolchain.Unavailable(f"the document has no table that begins with {table[0]}")
    start = lines.index(table[0])
    end = next((n for n in range(start, len(lines)) if not lines[n].startswith("|")), len(lines))
    return lines[:start] + table + lines[end:]


def markdown(figures):
    """Instructions, and spills and loops where there are any, of the types shown and of what types
    share."""
    columns = ["gemv 1", "gemv 2", "gemv 3", "gemv 4", "gemm"]
    rows = {}
    for name, counts in figures.items():
        isa, format_, product, positions = name.split()
        if format_ in SHOWN or format_ not in listing.BYTES:
            cell = f"{counts['instructions']:g} ({counts['work']:g})"
            more = [said(counts, what) for what in ("apart", "spills", "loops") if counts[what]]
            column = columns.index(product if product == "gemm" else f"{product} {positions}")
            rows.setdefault((isa, format_), [""] * len(columns))[column] = ", ".join([cell, *more])
    yield "| instruction set | type | GEMV, 1 row | 2 rows | 3 rows | 4 rows | GEMM |"
    yield "|---|---|---|---|---|---|---|"
    for (isa, format_), cells in rows.items():
        yield f"| {isa} | {format_} | {' | '.join(cells)} |"


def said(counts, what):
    count = counts[what]
    return f"{count:g} {what.removesuffix('s') if count == 1 else what}"


def show(units):
    if not units:
        raise toolchain.Unavailable("there is no loop of this name: the table has all of them")
    for unit in units:
        print(f"# {unit.name}: {unit.sub_blocks:g} sub-blocks a pass")
        for times, instructions in unit.bodies():
            print(f"# {len(instructions)} instructions, {times:g} times")
            for i in instructions:
                reads, writes, stack = listing.memory(i, unit.frame_pointer)
                mark = "spill" if stack and reads + writes else ""
                print(f"{mark:6}{i.address:x}\t{i.mnemonic}\t{i.operands}")
    return 0


def write(path, figures, compilers):
    """A loop a line, so that a difference is read easily."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in figures.items())
    text = f'{{\n "compilers": {json.dumps(compilers)},\n "loops": {{\n{lines}\n }}\n}}\n'
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def check(path, figures, compilers, only):
    with open(path, encoding="utf-8") as file:
        ceilings = json.load(file)
    problems = compare(ceilings["loops"], figures, only)
    for architecture, version in compilers.items():
        if (before := ceilings["compilers"].get(architecture)) != version:
            print(f"note: {architecture}: the ceilings are of {before}, this is {version}")
    print("\n".join(problems) or "no loop passes its ceilings")
    return 1 if problems else 0


def compare(ceilings, figures, only=()):
    """What passes its ceiling, or is gone or new, in words."""
    problems = []
    built = {name.split()[0] for name in figures}
    for name, ceiling in ceilings.items():
        if name.split()[0] not in built or (only and not is_among(name, only)):
            continue
        now = figures.get(name)
        if now is None:
            problems.append(f"{name}: not found any more")
            continue
        if now["instructions"] > ceiling["instructions"] * TOLERANCE:
            before = ceiling["instructions"]
            problems.append(f"{name}: {said(now, 'instructions')}, {before:g} before")
        for what in ("spills", "apart", "loops"):
            if now[what] > ceiling[what]:
                problems.append(f"{name}: {said(now, what)}, {ceiling[what]:g} before")
    problems += [f"{name}: new, without a ceiling" for name in figures if name not in ceilings]
    return problems


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (toolchain.Unavailable, listing.Unnamed) as reason:
        print(reason, file=sys.stderr)
        sys.exit(2)
