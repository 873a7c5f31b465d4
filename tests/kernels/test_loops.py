"""Tests of what finds and counts inner loops, on small listings.

python3 -m unittest discover tests/kernels
"""

import unittest

import listing
import loops
import toolchain

# A function of AVX-512 with a loop of whole sub-blocks in a loop over streams, and a GEMM whose words
# are in a loop of their own.
X86 = """
0000000000001000 <_R6packed8Multiply>:
    1000:      \tpushq\t%rbp
    1001:      \tmovq\t%rsp, %rbp
    1004:      \tsubq\t$0x40, %rsp            # imm = 0x40
    1010:      \tmovq\t%rdi, %rax
    1014:      \tvmovdqu64\t(%rax), %zmm1
{sixteen}
    1060:      \tvmovaps\t%zmm0, 0x40(%rsp)
    1064:      \tvpmulld\t-0x80(%rbp), %zmm0, %zmm0
    1068:      \tvpdpbusd\t(%rbx){{1to16}}, %zmm1, %zmm0
    106a:      \tprefetcht0\t0x780(%rax)
    106e:      \taddq\t$0x40, %rax
    1072:      \tcmpq\t%rax, (%rcx)
    1075:      \tjne\t0x1014 <_R6packed8Multiply+0x14>
    1077:      \tdecq\t%rdx
    107a:      \tjne\t0x1010 <_R6packed8Multiply+0x10>
    1080:      \tvmovdqa64\t%zmm1, (%rsp)
    1082:      \tvmovdqa64\t%zmm1, 0x40(%rsp,%r11)
    1084:      \tvpdpbusd\t(%rbx,%rdi,4){{1to16}}, %zmm1, %zmm0
    1088:      \tvpmaddwd\t(%rbx), %zmm1, %zmm2
    108c:      \tincq\t%rdi
    1090:      \tjne\t0x1084 <_R6packed8Multiply+0x84>
    1094:      \tdecq\t%rsi
    1098:      \tjne\t0x1080 <_R6packed8Multiply+0x80>
    109c:      \tretq
""".format(
    sixteen="\n".join(
        f"    {0x1018 + 4 * i:x}:      \tvpdpbusd\t{hex(4 * i)}(%rbx){{1to16}}, %zmm1, %zmm0"
        for i in range(15)
    )
)
KERNEL = "kernels::isa::x86::avx512::<kernels::packed::Multiply<kernels::packed_format::Q4_1>>"
APART = "words::apart::<packed::gemm::Tiles<simd::Avx512, packed_format::WithMinimum>>"


def names_of_x86(addresses):
    """GEMV of one position below 0x1080, GEMM of two from there on."""

    def chain(address):
        if address < 0x1080:
            inside = ["dot<1, 1>", "add_sub_block<simd::Avx512, packed_format::Q4_1, 1, 1>"] * (0x1014 <= address < 0x106A)
            return [*inside, "gemv<packed_format::Q4_1, simd::Avx512>", KERNEL]
        inside = ["dot<2, 2>", "add<simd::Avx512, packed_format::WithMinimum>"] * (0x1084 <= address < 0x1094)
        # Of the outer loop's own, more than could be a mistake.
        return [*inside, "call<2>", APART]

    return [chain(address) for address in addresses]


AARCH64 = """
0000000000002000 <_R6packed8Multiply>:
    2000:      \tstp\tx29, x30, [sp, #-0x10]!
    2004:      \tmov\tx29, sp
    2008:      \tldp\tq0, q1, [x0], #0x20
    200c:      \tldr\tq2, [sp, #0x40]
    2010:      \tstr\tq2, [x29, #-0x20]
    2014:      \tprfm\tpldl1keep, [x0, #0x780]
    2018:      \tsdot\tv3.4s, v0.16b, v1.16b
    201c:      \tsubs\tx1, x1, #0x1
    2020:      \tb.ne\t0x2008 <_R6packed8Multiply+0x8>
    2024:      \tcbz\tx2, 0x2008 <_R6packed8Multiply+0x8>
    2028:      \tret
"""


def figures(**some):
    return dict.fromkeys([*listing.FIGURES, "loops"], 0) | some


class Listings(unittest.TestCase):
    def setUp(self):
        # A small loop has few instructions of the code around it.
        self.stray, listing.STRAY = listing.STRAY, 0

    def tearDown(self):
        listing.STRAY = self.stray

    def test_loops_are_found_and_named_by_what_is_inlined_there(self):
        units = listing.by_name(listing.units(X86, names_of_x86))
        self.assertEqual(list(units), ["avx512 Q4_1 gemv 1", "avx512 WithMinimum gemm 2"])

    def test_figures_are_those_of_a_sub_block(self):
        (unit,) = listing.by_name(listing.units(X86, names_of_x86))["avx512 Q4_1 gemv 1"]
        self.assertEqual(unit.sub_blocks, 1)
        self.assertEqual(
            unit.per_sub_block(),
            # The comparison reads, prefetching does not.
            figures(instructions=23, work=16, loads=19, stores=1, spills=2),
        )

    def test_a_loop_that_does_a_part_of_a_sub_block_is_counted_as_often_as_it_runs(self):
        (unit,) = listing.by_name(listing.units(X86, names_of_x86))["avx512 WithMinimum gemm 2"]
        # 32 products for two positions, two in a pass: one of them has been taken apart.
        self.assertEqual([times for times, _ in unit.bodies()], [1, 16])
        self.assertEqual(
            unit.per_sub_block(),
            figures(
                # The array on the stack is no spill.
                instructions=4 + 16 * 4,
                work=16,
                apart=16,
                loads=16 + 16,
                stores=2,
                spills=1,
                loops=1,
            ),
        )

    def test_a_loop_without_products_is_counted_with_the_one_around_it(self):
        # The jump to itself in place of the prefetch.
        listing_ = X86.replace("prefetcht0\t0x780(%rax)", "jne\t0x106a <_R6packed8Multiply+0x6a>")
        (unit,) = listing.by_name(listing.units(listing_, names_of_x86))["avx512 Q4_1 gemv 1"]
        self.assertEqual(unit.per_sub_block()["instructions"], 23)
        self.assertEqual(unit.per_sub_block()["loops"], 1)

    def test_a_function_with_another_name_is_missed_aloud(self):
        def renamed(addresses):
            return [["dot<1, 1>", "of_a_block<>", "gemv<simd::Avx512>", KERNEL] for _ in addresses]

        with self.assertRaisesRegex(listing.Unnamed, "sub_block"):
            list(listing.units(X86, renamed))

    def test_accesses_to_memory_are_read_off_aarch64(self):
        ((_, body),) = listing.functions(AARCH64)
        body[6].is_product = True
        counts = listing.counts(body[2:9], "dotprod", frame_pointer=True)
        expected = figures(instructions=7, work=1, loads=2, stores=1, spills=2)
        self.assertEqual(dict(counts) | {"loops": 0}, expected)

    def test_loops_with_two_jumps_back_are_one(self):
        ((_, body),) = listing.functions(AARCH64)
        (loop,) = listing.nest(listing.blocks(body))
        # The jump at the end makes a loop around the other.
        self.assertEqual(sum(1 for _ in loop.all_instructions()), 8)


class Ceilings(unittest.TestCase):
    CEILING = {"a 1": {"instructions": 100, "spills": 2, "apart": 0, "loops": 0}}

    def problems(self, **changed):
        return loops.compare(self.CEILING, {"a 1": self.CEILING["a 1"] | changed})

    def test_what_is_no_worse_passes(self):
        self.assertEqual(self.problems(), [])
        self.assertEqual(self.problems(instructions=105, spills=0), [])

    def test_what_is_worse_is_said(self):
        self.assertEqual(self.problems(instructions=106), ["a 1: 106 instructions, 100 before"])
        self.assertEqual(self.problems(spills=3), ["a 1: 3 spills, 2 before"])
        problems = self.problems(apart=1, loops=1)
        self.assertEqual(problems, ["a 1: 1 apart, 0 before", "a 1: 1 loop, 0 before"])

    def test_loops_that_are_gone_or_new_are_said(self):
        problems = loops.compare(self.CEILING, {"a 2": {}})
        self.assertEqual(problems, ["a 1: not found any more", "a 2: new, without a ceiling"])

    def test_what_types_share_has_a_row_of_its_own(self):
        counts = self.CEILING["a 1"] | {"work": 12}
        names = ["avx512 Q4_1 gemv 2", "avx512 Q5_1 gemv 2", "avx512 Whole gemm 12"]
        rows = list(loops.markdown(dict.fromkeys(names, counts)))[2:]
        cell = "100 (12), 2 spills"
        expected = [f"| avx512 | Q4_1 |  | {cell} |  |  |  |", f"| avx512 | Whole |  |  |  |  | {cell} |"]
        self.assertEqual(rows, expected)

    def test_a_table_is_put_in_place_of_the_one_with_its_head(self):
        lines = ["a", "| h |", "|---|", "| 1 |", "", "| h2 |", "|---|", "| 2 |"]
        table = ["| h |", "|---|", "| 3 |", "| 4 |"]
        self.assertEqual(loops.replaced(lines, table), ["a", *table, *lines[4:]])
        with self.assertRaises(toolchain.Unavailable):
            loops.replaced(lines, ["| other |"])

    def test_other_instruction_sets_are_not_missed(self):
        self.assertEqual(loops.compare(self.CEILING, {}), [])


if __name__ == "__main__":
    unittest.main()
