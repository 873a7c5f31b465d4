#!/usr/bin/env bash
# gguf-py reads MXFP4's scale byte 255 as a power of two, ml_dtypes as NaN.
#
# An MXFP4 block is a byte of scale and 32 numbers of four bits. The OCP Microscaling specification calls
# the scale E8M0: 2^(byte - 127), and 255 is NaN, so that a block can say that it holds no numbers. GGUF
# files keep the byte as it is; their reader goes on counting, and the block's numbers are large but finite.
# Who writes GGUF from tensors in which NaN blocks occur loses that they were not numbers. Potluck decodes
# as gguf-py does, since that is what files of this format mean.
#
# Seen with gguf 0.19.0 and ml_dtypes 0.5.4 on Linux, for a block of halves:
#   scale  gguf        ml_dtypes
#   0      2.94e-39    2.94e-39
#   127    5.00e-01    5.00e-01
#   254    8.51e+37    8.51e+37
#   255    1.70e+38    nan
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/pip install --quiet gguf==0.19.0 ml_dtypes==0.5.4 numpy==2.4.6
venv/bin/python > seen <<'PYTHON'
import gguf
import ml_dtypes
import numpy

# Code 1 in both halves of each byte is one half.
HALF = 0x11
print("scale  gguf        ml_dtypes")
for scale in (0, 127, 254, 255):
    block = numpy.array([[scale] + [HALF] * 16], numpy.uint8)
    ours = gguf.quants.dequantize(block, gguf.GGMLQuantizationType.MXFP4)[0, 0]
    power = numpy.array([scale], numpy.uint8).view(ml_dtypes.float8_e8m0fnu).astype(numpy.float32)[0]
    print(f"{scale:<6} {ours:<11.2e} {power * numpy.float32(0.5):.2e}")
PYTHON
cat seen
cmp -s - seen <<'EXPECTED' || { echo "the behaviour has changed"; exit 1; }
scale  gguf        ml_dtypes
0      2.94e-39    2.94e-39
127    5.00e-01    5.00e-01
254    8.51e+37    8.51e+37
255    1.70e+38    nan
EXPECTED
