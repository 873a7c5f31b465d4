#!/usr/bin/env python3
"""Writes what `gguf-py` says weights are, for the tests of the kernels.

    tests/compare/weights.py --golden tests/golden/weights.json
    tests/compare/weights.py --grids model/src/kernels/grids/numbers.rs

The golden file has random blocks of every quantised type, with odd scales among them, and for each
the CRC-32 of all weights, as little-endian f32, and the first of the last block. The grids are the numbers from which the
IQ2 and IQ3 types choose. Neither changes unless a type joins.
"""

import argparse
import json
import pathlib
import zlib

import environment

# Where the f16 scales of a block lie. MXFP4 has an exponent.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [], "IQ3_S": [0], "IQ3_XXS": [0],
    "IQ2_S": [0], "IQ2_XS": [0], "IQ2_XXS": [0], "TQ2_0": [64], "TQ1_0": [52],
}
# Scales of the first blocks: zeros, the least, the largest, subnormal ones.
ODD = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x3C00, 0x0400]
ODD_EXPONENTS = [0, 1, 2, 3, 126, 127, 128, 253, 254, 255]
# Bits of a level in a number of a grid.
GRIDS = {"IQ2_XXS": 2, "IQ2_XS": 2, "IQ2_S": 2, "IQ3_XXS": 4, "IQ3_S": 4}


def golden():
    import gguf
    import numpy as np

    random = np.random.default_rng(18)
    found = {}
    for name, halves in HALVES.items():
        of = gguf.GGMLQuantizationType[name]
        elements, block_bytes = gguf.GGML_QUANT_SIZES[of]
        count = 12 if elements == 256 else 40
        blocks = random.integers(0, 256, (count, block_bytes), dtype=np.uint8)
        for i, block in enumerate(blocks):
            for at in halves:
                half = ODD[(i + at) % len(ODD)] if i < len(ODD) else int(random.integers(0x7C00)) | i % 2 << 15
                block[at : at + 2] = [half & 0xFF, half >> 8]
            if name == "MXFP4" and i < len(ODD_EXPONENTS):
                block[0] = ODD_EXPONENTS[i]
        with np.errstate(over="ignore"):
            weights = gguf.quants.dequantize(blocks, of).astype("<f4")
        found[name] = {
            "blocks": blocks.tobytes().hex(),
            "last_block": weights.reshape(-1)[-elements:][:8].tobytes().hex(),
            "crc32": zlib.crc32(weights.tobytes()),
        }
    return json.dumps(found, indent=1) + "\n"


def grids():
    import gguf
    import numpy as np

    parts = [
        "//! The grids of the IQ2 and IQ3 types, as `tests/compare/weights.py --grids` writes them: which\n"
        "//! groups of levels there are. The level of weight `i` is in bits `2 i` and up (IQ2), or\n"
        "//! `4 i` (IQ3).\n"
    ]
    for name, bits in GRIDS.items():
        of = getattr(gguf.quants, name)
        of.init_grid()
        levels = np.searchsorted(of.grid_map, of.grid.reshape(of.grid_shape))
        numbers = (levels << (bits * np.arange(levels.shape[1]))).sum(axis=1)
        text = ", ".join(f"0x{number:04x}" for number in numbers)
        parts.append(f"\npub(super) const {name}: [u16; {len(numbers)}] = [{text}];\n")
    return "".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--grids", type=pathlib.Path, metavar="FILE", help="to be formatted by cargo fmt")
    options = parser.parse_args()
    environment.enter("gguf", "numpy")
    if options.golden:
        options.golden.write_text(golden())
    if options.grids:
        options.grids.write_text(grids())


if __name__ == "__main__":
    main()
