#!/usr/bin/env bash
# Whether everything compiles for Windows.
#
#     tests/windows/check.sh           checks all libraries and programs
#     tests/windows/check.sh build     also links target-windows/…/release/potluck.exe
#
# The target is x86_64-pc-windows-gnu. What is checked is that the code of that system is right by its
# types: the named pipe instead of the socket, Ctrl-C instead of signals, files, locks, the network.
# Nothing is run: not that a pipe carries messages, that only its owner opens it, or that a console is
# as it was. The unit tests of `node/src/local/place/windows.rs` are for a machine with Windows.
#
# What it needs and this machine lacks comes with `rustup target add` and from Debian packages (some 60
# MB, once: a C compiler for `ring`, and a linker), unpacked under POTLUCK_WINDOWS_CACHE, by default
# ~/.cache/potluck-windows; nothing is installed. The build goes to target-windows, or where
# CARGO_TARGET_DIR says. The exit status is 0 if all compiles, 77 if that cannot be checked here, with
# the reason.

set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/debian.sh

cache=${POTLUCK_WINDOWS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/potluck-windows}
target=x86_64-pc-windows-gnu
packages=(gcc-mingw-w64-x86-64-posix gcc-mingw-w64-x86-64-posix-runtime gcc-mingw-w64-base
    binutils-mingw-w64-x86-64 mingw-w64-x86-64-dev mingw-w64-common)

[ "$(uname -sm)" = "Linux x86_64" ] || skip "the compiler is set up on x86-64 Linux only"
command -v rustup >/dev/null || skip "Rust's libraries for $target come with rustup, and here is none"
rustup target list --installed | grep -qxF "$target" || rustup target add "$target" >&2 ||
    skip "Rust's libraries for $target cannot be had"

if command -v x86_64-w64-mingw32-gcc >/dev/null; then
    gcc=x86_64-w64-mingw32-gcc ar=x86_64-w64-mingw32-ar
else
    root=$cache/root
    gcc=$root/usr/bin/x86_64-w64-mingw32-gcc-posix ar=$root/usr/bin/x86_64-w64-mingw32-ar
    if ! [ -x "$gcc" ] || ! "$gcc" --version >/dev/null; then
        use_apt "$cache/apt"
        # And the libraries that the compiler itself is linked with, where they are not installed.
        mapfile -t needed < <({
            printf '%s\n' "${packages[@]}"
            missing "${packages[0]}" | grep -x 'lib.*' || true
        } | sort -u)
        unpack "$root" "${needed[@]}"
    fi
    export PATH=$root/usr/bin:$PATH
    export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export CC_x86_64_pc_windows_gnu=$gcc AR_x86_64_pc_windows_gnu=$ar
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$gcc
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target-windows} CARGO_BUILD_TARGET=$target

cargo check --release --locked --workspace --bins --lib
echo "everything compiles for $target"
if [ "${1-}" = build ]; then
    cargo build --release --locked --workspace --bin potluck
    ls -l "$CARGO_TARGET_DIR/$target/release/potluck.exe"
fi
