#!/usr/bin/env bash
# The arithmetic on aarch64, under emulation: are its bits those of this machine?
#
#     tests/aarch64/run.sh
#
# Builds `potluck-model` for aarch64, then, on emulated CPUs with matrix products, with dot products
# and without, runs the kernels' unit tests and compares the digests of the `bits` example with this
# machine's.
#
# What it needs and this machine lacks of a Rust target, a linker and qemu-user comes from Debian
# packages (some 200 MB, once), unpacked under POTLUCK_AARCH64_CACHE, by default
# ~/.cache/potluck-aarch64; nothing is installed. The build goes to target-aarch64. The exit status is
# 0 if all agrees, 77 if the check cannot run here, with the reason.

set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/debian.sh
. tests/aarch64/toolchain.sh

cache=${POTLUCK_AARCH64_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/potluck-aarch64}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the emulator is set up on x86-64 Linux only"

# digests NAME PROGRAM…: what the `bits` example prints, and to NAME-isas the instruction sets it
# compared.
digests() {
    "${@:2}" >"$results/$1" 2>"$results/$1-isas" || {
        cat "$results/$1-isas" >&2
        return 1
    }
    echo "$1: $(cat "$results/$1-isas")"
}

# Before the toolchain changes the compiler. The whole workspace, so that what its other builds made
# serves.
cargo build --release --locked --workspace --example bits
digests here "${CARGO_TARGET_DIR:-target}/release/examples/bits"

rust_version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
prepare_toolchain "$cache" "$rust_version"
target=aarch64-unknown-linux-gnu
export CARGO_TARGET_DIR=target-aarch64 CARGO_BUILD_TARGET=$target
# Burn carries tensors, it does none of the arithmetic: optimising it would only take time.
carried=()
for package in burn-dispatch burn-flex burn-tensor; do
    carried+=(--config "profile.release.package.$package.opt-level=1")
done
cargo build "${carried[@]}" --release --locked -p potluck-model --example bits

# on_cpu MODEL ISAS: tests and digests on an emulated CPU that has exactly these instruction sets.
on_cpu() {
    # An emulator that hangs must not hang whoever waits for this.
    local emulator=(timeout 1200 "$QEMU" -cpu "$1")
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${emulator[*]}"
    cargo test "${carried[@]}" --release --locked -p potluck-model --lib kernels::
    digests "$1" "${emulator[@]}" "target-aarch64/$target/release/examples/bits"
    grep -qxF "instruction sets: $2" "$results/$1-isas" || {
        echo "expected of $1: $2" >&2
        return 1
    }
    diff "$results/here" "$results/$1" || {
        echo "the digests of this machine (<) and of $1 (>) differ" >&2
        return 1
    }
}

on_cpu max "scalar neon dotprod i8mm"
on_cpu cortex-a76 "scalar neon dotprod"
on_cpu cortex-a53 "scalar neon"
echo "$(wc -l <"$results/here") models: the same bits here and on aarch64, with matrix products, with dot products and without"
