"""Inner loops of the products with packed weights, from a disassembly: found, named, counted.

A loop is a strongly connected part of a function's flow. What enters it from outside is its head;
loops within are what stays connected without the jumps to the head. Where a loop belongs is said by
the names of the functions that were inlined there: `gemv` or `gemm`, `dot<N, …>` and the type of the
weights. The loops that count are the innermost ones around the function that adds a sub-block's
products (`SUB_BLOCK`). A loop within that function means that the compiler did not unroll it, so that
weights and sums go through memory; it is counted with the loop around it, as often as products are
missing otherwise.

A spill here is an access to a fixed place on the stack inside such a loop: what does not fit the
registers. An array on the stack that a register indexes, as the sums of several streams, is none.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

# What multiplies weights, by instruction set, and how many times that is for a sub-block (32 weights
# of each of 16 rows) and one position.
PRODUCTS = {
    "avx2": (re.compile(r"vpmaddwd$"), 32),
    "avxvnni": (re.compile(r"(\{vex\}\s+)?vpdp(bus|wss)ds?$"), 32),
    "avx512": (re.compile(r"vpdp(bus|wss)ds?$"), 16),
    "neon": (re.compile(r"smu?ll?2?$|smlal2?$"), 128),
    "dotprod": (re.compile(r"sdot$"), 64),
    "i8mm": (re.compile(r"smmla$"), 32),
}
# A product that the compiler has taken apart, into these and an addition.
TAKEN_APART = re.compile(r"vpmadd(wd|ubsw)$")

# Vectors have half a group, and a loop may compute half a sub-block.
HALF_GROUPS = ("neon", "dotprod", "i8mm")

# Bytes of a sub-block, with its part of a storage block's head.
BYTES = {
    "Q4_0": 288,
    "Q4_1": 320,
    "Q5_0": 352,
    "Q5_1": 384,
    "Q8_0": 544,
    "Q4K": 296,
    "Q5K": 360,
    "Q6K": 420,
    "Q2K": 168,
    "Q3K": 228,
    "Iq4Nl": 288,
    "Iq4Xs": 276,
    "Mxfp4": 272,
    "Coded": 296,
}

# What the names of functions say: the proof type of the instruction set, the format or, where that
# does not matter, the terms that formats share, and the kind of product.
PROOFS = {
    "avx2": re.compile(r"\bAvx2<false>"),
    "avxvnni": re.compile(r"\bAvx2<true>"),
    "avx512": re.compile(r"\bAvx512\b"),
    "neon": re.compile(r"\bNeon<false, false>"),
    "dotprod": re.compile(r"\bNeon<true, false>"),
    "i8mm": re.compile(r"\bNeon<true, true>"),
}
# Symbols of functions that may have loops of products in them.
CANDIDATE = re.compile(r"6packed|3isa(3x86|3arm|8dispatch)|5apart")
FORMAT = re.compile(r"\bpacked_format::(?:[a-z_]+::)*(\w+)")
PRODUCT = re.compile(r"(?:^|::|\s)(gem[vm])(?:::)?<|\b(gemm)::Tiles\b")
# The function that computes a sub-block, and its dot products with so many positions. Names are as in
# line tables, `dot<3, 1>`, or with their paths.
SUB_BLOCK = re.compile(r"(?:^|::)(?:add_sub_block|add)(?:::)?<")
DOT = re.compile(r"(?:^|::)dot(?:_tile)?(?:::)?<(?:.*?\W)??(\d+)\b")
# So many instructions of a loop may be said to be of the code around it by mistake.
STRAY = 3


class Unnamed(Exception):
    """Functions do not have the names that loops are known by."""


@dataclass
class Instruction:
    address: int
    mnemonic: str
    operands: str
    # Whether it is one of a dot product's: others may have the same mnemonic.
    is_product: bool = False

    def target(self):
        """Where a direct jump goes."""
        found = re.search(r"\b0x([0-9a-f]+)(?: <[^>]*>)?$", self.operands)
        return int(found[1], 16) if found else None


@dataclass
class Loop:
    """The instructions of a loop, without those of loops within."""

    instructions: list
    within: list

    def all_instructions(self):
        yield from self.instructions
        for loop in self.within:
            yield from loop.all_instructions()


@dataclass
class Unit:
    """What computes sub-blocks: a loop, and those within that do only a part of one."""

    isa: str
    format: str
    product: str
    positions: int
    loop: list
    # `(runs, runs of the loop around, instructions)`; where the first is none, the loop runs as often
    # as products are missing otherwise.
    within: list
    frame_pointer: bool

    @property
    def name(self):
        return f"{self.isa} {self.format} {self.product} {self.positions}"

    def share(self, instructions):
        return share(instructions, self.isa, self.positions)

    @property
    def sub_blocks(self):
        """Sub-blocks, of sixteen rows, of one pass: by its products, to the next half, as the
        compiler may have made one of two or added one."""
        return max(round(2 * self.at_once()) / 2, self.least(), 0.5)

    def least(self):
        """Loops within that multiply together compute one vector's rows of a sub-block."""
        if not any(self.share(body) for _, _, body in self.within):
            return 0
        return 0.5 if self.isa in HALF_GROUPS else 1

    def at_once(self):
        """Sub-blocks where each loop within runs once."""
        return self.share(self.loop) + sum(self.share(body) for _, _, body in self.within)

    def bodies(self):
        """What one pass runs: `(times, instructions)`."""
        if self.at_once() >= self.least():
            # With loops within, these are parts of one that goes one way or the other.
            return [(1, self.loop), *((1, body) for _, _, body in self.within)]
        known = [(1, self.loop), *((runs, body) for runs, _, body in self.within if runs)]
        unknown = [(around, body) for runs, around, body in self.within if not runs]
        missing = self.sub_blocks - sum(runs * self.share(body) for runs, body in known)
        once = sum(around * self.share(body) for around, body in unknown)
        return known + [(missing / once * around, body) for around, body in unknown]

    def per_sub_block(self):
        """The figures of a sub-block; see the module for what a spill is."""
        total = Counter()
        for times, instructions in self.bodies():
            for what, count in counts(instructions, self.isa, self.frame_pointer).items():
                total[what] += times * count
        figures = {what: round(total[what] / self.sub_blocks, 1) for what in FIGURES}
        whole = {what: int(figure) for what, figure in figures.items() if figure == int(figure)}
        return figures | whole | {"loops": len(self.within)}


# The figures of `Unit.per_sub_block`, besides the number of loops within.
FIGURES = ("instructions", "work", "apart", "loads", "stores", "spills")


def counts(instructions, isa, frame_pointer):
    """What is in one pass over some instructions."""
    total = Counter(instructions=len(instructions))
    for i in instructions:
        total["work"] += i.is_product and not is_apart(i, isa)
        total["apart"] += is_apart(i, isa)
        reads, writes, stack = memory(i, frame_pointer)
        total["loads"] += reads
        total["stores"] += writes
        total["spills"] += stack and (reads + writes)
    return total


def share(instructions, isa, positions):
    """How much of a sub-block is computed in one pass over these."""
    return sum(i.is_product for i in instructions) / (PRODUCTS[isa][1] * positions)


def is_apart(i, isa):
    """Whether a dot product's instruction is a part of what should be one."""
    return i.is_product and not PRODUCTS[isa][0].match(i.mnemonic)


def memory(instruction, frame_pointer):
    """How many times an instruction reads and writes memory, and whether that is a fixed place on
    the stack."""
    name, operands = instruction.mnemonic, instruction.operands
    if "[" in operands:
        stack = bool(re.search(r"\[sp(, #|\])" + (r"|\[x29(, #|\])" if frame_pointer else ""), operands))
        if name.startswith("prf"):
            return 0, 0, False
        return int(name.startswith("ld")), int(name.startswith("st")), stack
    if "(" not in operands or re.match(r"lea|nop|prefetch|\{?evex\}? ?nop", name):
        return 0, 0, False
    stack = bool(re.search(r"\(%rsp\)" + (r"|\(%rbp\)" if frame_pointer else ""), operands))
    # The last operand is where the result goes.
    last = re.sub(r"\{[^}]*\}", "", operands).rstrip().endswith(")")
    if not last or re.match(r"v?u?comi|cmp|v?p?test|bt[lq]?$", name):
        return 1, 0, stack
    if re.match(r"v?mov|v?extract|vpmov|v?pextr|set|vcvtps2ph|push|pop|call", name):
        return 0, 1, stack
    return 1, 1, stack


def functions(text):
    """Each function of a disassembly: its symbol and its instructions."""
    symbol, body = None, []
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if body:
                yield symbol, body
            symbol, body = head[1], []
        elif found := re.match(r" *([0-9a-f]+): +\t((?:\{\w+\}\s+)?\S+)\t?(.*)$", line):
            operands = re.sub(r"\s+(# |//).*$", "", found[3]).strip()
            body.append(Instruction(int(found[1], 16), found[2], operands))
    if body:
        yield symbol, body


def blocks(body):
    """The function's flow: `{address: (instructions, addresses of what may follow)}`."""
    by_address = {i.address for i in body}
    jumps = {i.address: target for i in body if is_jump(i) and (target := i.target()) in by_address}
    ends = {i.address for i in body if is_jump(i)}
    starts = {body[0].address} | set(jumps.values())
    starts |= {after.address for i, after in zip(body, body[1:]) if i.address in ends}
    found, run = {}, []
    for i, after in zip(body, body[1:] + [None]):
        run.append(i)
        if after is None or after.address in starts:
            follow = [jumps[i.address]] if i.address in jumps else []
            if after is not None and not never_falls_through(i):
                follow.append(after.address)
            found[run[0].address] = (run, follow)
            run = []
    return found


def is_jump(i):
    return bool(re.match(r"j[a-z]+$|b$|b\.|cbn?z$|tbn?z$|ret|br$|ud2$|udf$|brk$", i.mnemonic))


def never_falls_through(i):
    return bool(re.match(r"jmp|b$|ret|br$|ud2$|udf$|brk$", i.mnemonic))


def connected(nodes, edges):
    """Strongly connected parts of `nodes` that jumps can stay in (Tarjan, without recursion)."""
    order, low, on_stack, stack, count = {}, {}, set(), [], 0
    for root in nodes:
        if root in order:
            continue
        work = [(root, iter(edges[root]))]
        order[root] = low[root] = count = count + 1
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            child = next((c for c in rest if c in nodes), None)
            if child is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    part = set()
                    while node not in part:
                        part.add(stack.pop())
                    on_stack -= part
                    if len(part) > 1 or node in edges[node]:
                        yield part
            elif child not in order:
                order[child] = low[child] = count = count + 1
                stack.append(child)
                on_stack.add(child)
                work.append((child, iter(edges[child])))
            elif child in on_stack:
                low[node] = min(low[node], order[child])


def nest(flow):
    """The flow's outermost loops, with those within."""
    edges = {start: follow for start, (_, follow) in flow.items()}
    before = defaultdict(set)
    for start, follow in edges.items():
        for after in follow:
            before[after].add(start)

    def within(nodes, inside):
        found = []
        for part in connected(nodes, inside):
            # Of several heads, one: without jumps to the others less would stay connected. What is
            # not entered from outside begins the function.
            heads = [n for n in sorted(part) if before[n] - part] or [min(part)]
            head = max(heads, key=lambda n: len(before[n] & part))
            rest = {n: [c for c in inside[n] if c in part and c != head] for n in part}
            parts, loops = within(part, rest)
            own = part.difference(*parts)
            body = [i for start in sorted(own) for i in flow[start][0]]
            found.append((part, Loop(body, loops)))
        return [part for part, _ in found], [loop for _, loop in found]

    return within(set(edges), edges)[1]


def units(text, names_at):
    """All loops of the products with packed weights.

    `names_at` takes addresses and gives for each the names of the functions inlined there, innermost
    first.
    """
    found = [
        (body, nest(blocks(body))) for symbol, body in functions(text) if CANDIDATE.search(symbol)
    ]
    inside = [i for _, loops in found for loop in loops for i in loop.all_instructions()]
    dots = [i for i in inside if may_be_work(i)]
    names = {}
    for i, chain in zip(dots, names_at([i.address for i in dots])):
        # Of another instruction set's, it would be for something else.
        if (name := product_of(chain)) and may_be_work(i, name[0]):
            names[i.address], i.is_product = name, True
    chains = names_at([i.address for i in inside])
    around = {i.address for i, chain in zip(inside, chains) if is_around(chain)}
    if names and not any(is_sub_block(name) for chain in chains for name in chain):
        raise Unnamed(f"no function that computes a sub-block is named {SUB_BLOCK.pattern}")
    for body, loops in found:
        pointer = any(
            (i.mnemonic, i.operands) == ("movq", "%rsp, %rbp")
            or (i.mnemonic in ("mov", "add") and i.operands.startswith("x29, sp"))
            for i in body[:40]
        )
        for loop in loops:
            made, part_of = units_of(loop, names, around)
            # What no loop is around is a whole one, whatever its lines say.
            alone = [(loop, part_of, loop.within)] if part_of else []
            for outer, name, parts in made + alone:
                within = [part for loop in parts for part in parts_of(loop, 1)]
                yield Unit(*name, outer.instructions, within, pointer)


def parts_of(loop, around):
    """A loop within a sub-block's code, and those within it, as `Unit.within` has them."""
    if not loop.within:
        return [(None, around, loop.instructions)]
    # Two: the halves that have scales of their own. Nothing else there is a loop of loops.
    inner = [part for inner in loop.within for part in parts_of(inner, 2 * around)]
    return [(2 * around, around, loop.instructions), *inner]


def units_of(loop, names, around):
    """Units in a loop: each with its name, and the loops within it; and, of a loop that does only a
    part of a sub-block, its name."""
    made, parts = [], []
    name = next((names[i.address] for i in loop.instructions if i.address in names), None)
    for child in loop.within:
        more, part_of = units_of(child, names, around)
        made += more
        name = name or part_of
        # One without products may unpack what is multiplied.
        if not more:
            parts.append(child)
    if name is None:
        return made, None
    if sum(i.address in around for i in loop.instructions) > STRAY:
        return [*made, (loop, name, parts)], None
    return made, name


def is_around(chain):
    """Whether this is code of a product outside of a sub-block's."""
    return bool(PRODUCT.search(" ".join(chain))) and not any(map(is_sub_block, chain))


def is_sub_block(name):
    """Whether a function is the one that computes a sub-block, and not a pointer's `add`."""
    return bool(SUB_BLOCK.search(name)) and any(proof.search(name) for proof in PROOFS.values())


def may_be_work(i, isa=None):
    """Whether the mnemonic is that of a product, or of a part of one."""
    sets = [isa] if isa else PRODUCTS
    whole = any(PRODUCTS[isa][0].match(i.mnemonic) for isa in sets)
    return whole or any(isa in ("avxvnni", "avx512") for isa in sets) and bool(TAKEN_APART.match(i.mnemonic))


def product_of(chain):
    """Instruction set, type, product and positions, if these functions are a product's."""
    names = " ".join(chain)
    positions = next(filter(None, map(DOT.search, chain)), None)
    isa = next((isa for isa, proof in PROOFS.items() if proof.search(names)), None)
    formats, product = FORMAT.findall(names), PRODUCT.search(names)
    if positions and isa and formats and product:
        # The outermost name has nothing but the format or the terms.
        format_ = next((name for name in formats if name in BYTES), formats[-1])
        return isa, format_, product[1] or product[2], int(positions[1])
    return None


def by_name(found):
    """The units of each name: the compiler may make several of one."""
    grouped = defaultdict(list)
    for unit in found:
        grouped[unit.name].append(unit)

    def order(item):
        unit = item[1][0]
        # Terms come after formats.
        place = [*BYTES, unit.format].index(unit.format)
        return list(PRODUCTS).index(unit.isa), place, unit.product == "gemm", unit.positions

    return dict(sorted(grouped.items(), key=order))
