#!/usr/bin/env bash
# The AVX-512 VNNI kernels on a machine without AVX-512: are their bits those of the others?
#
#     tests/avx512/run.sh
#
# Boots Linux in Bochs, which emulates an Ice Lake CPU, runs there the kernels' unit tests, and the
# `bits` example, which digests the logits of small models, with AVX2 and with AVX-512, and compares
# the digests. (They are not compared with this machine's: Bochs 2.7 rounds halfway cases of
# `vcvtps2ph` up in place of to even, so there the KV cache has other bits, with any instructions.)
# It takes some ten minutes.
#
# Bochs, the kernel and what makes a bootable disc come from Debian packages (some 50 MB, once),
# unpacked under POTLUCK_AVX512_CACHE, by default ~/.cache/potluck-avx512; nothing is installed. The
# exit status is 0 if all agrees, 77 if the check cannot run here, with the reason.

set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/debian.sh
. tests/avx512/machine.sh

cache=${POTLUCK_AVX512_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/potluck-avx512}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the programs to run are built on x86-64 Linux only"
prepare_machine "$cache"

# The whole workspace, so that what its other builds made serves; `echo` in place of a runner prints
# the paths of the test programs.
cargo build --release --locked --workspace --example bits
tests=$(CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=echo \
    cargo test --quiet --release --locked --workspace --lib | grep -o '^[^ ]*/potluck_model-[^ ]*')
bits=${CARGO_TARGET_DIR:-target}/release/examples/bits

cat >"$scratch/session" <<'END'
set -e
/programs/tests kernels::
for isa in avx2 avx512; do
    POTLUCK_ISA=$isa /programs/bits >/$isa
    busybox cat /$isa
done
busybox cmp /avx2 /avx512
END
run_in_machine "$cache" "$scratch" tests="$tests" bits="$bits"
echo "the same bits with AVX-512 VNNI as without"
