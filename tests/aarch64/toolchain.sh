# Sourced by run.sh, after debian.sh: what builds for aarch64, and what runs the result here.
#
# `prepare_toolchain CACHE RUST_VERSION` sets QEMU, the emulator, and exports for cargo the linker and
# flags of the target, and RUSTC where the usual one has no such target. What this machine lacks of
# them is fetched into CACHE, once.

prepare_toolchain() {
    local cache=$1 rust_version=$2 target=aarch64-unknown-linux-gnu linker part lacks=()

    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || lacks+=(rust)
    linker=$(command -v aarch64-linux-gnu-gcc) || lacks+=(gcc)
    QEMU=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || lacks+=(qemu)

    if [ "$(cat "$cache/holds" 2>/dev/null)" != "$rust_version ${lacks[*]}" ]; then
        rm -rf "$cache"
        mkdir -p "$cache/bin"
        if [ ${#lacks[@]} -gt 0 ]; then
            use_apt "$cache/apt"
            local packages=()
            for part in "${lacks[@]}"; do
                "choose_$part" "$rust_version"
            done
            unpack "$cache/root" "${packages[@]}"
            for part in "${lacks[@]}"; do
                "wrap_$part" "$cache/root" "$cache/bin"
            done
            rm -rf "$cache/apt"
        fi
        echo "$rust_version ${lacks[*]}" >"$cache/holds"
    fi

    for part in "${lacks[@]}"; do
        case $part in
            rust) export RUSTC=$cache/bin/rustc ;;
            gcc) linker=$cache/bin/gcc ;;
            qemu) QEMU=$cache/bin/qemu ;;
        esac
    done
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$linker
    # Without shared libraries the emulator needs no aarch64 system beside the program.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
}

# A compiler with the standard library of both architectures, in one version: Debian's may be older
# or newer than the workspace's.
choose_rust() {
    local rustc std version runtime llvm offered=
    for rustc in rustc rustc-web; do
        std=libstd-${rustc/rustc/rust}
        version=$(candidate "$rustc") || continue
        offered+=" $rustc $version"
        if dpkg --compare-versions "$version" ge "$1" &&
            [ "$(candidate "$std-dev:arm64")" = "$version" ]; then
            runtime=$(dependency "$std-dev" "$std-[0-9.]*")
            llvm=$(dependency "$runtime" 'libllvm[0-9]*')
            packages+=("$rustc=$version" "$runtime=$version" "$llvm")
            packages+=("$std-dev:amd64=$version" "$std-dev:arm64=$version")
            return
        fi
    done
    skip "Debian offers${offered:- no rustc}, the workspace needs $1 for aarch64:" \
        "'rustup target add aarch64-unknown-linux-gnu' would do"
}

wrap_rust() {
    cat >"$2/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH=$1/usr/lib/x86_64-linux-gnu exec $1/usr/bin/rustc "\$@"
END
    chmod +x "$2/rustc"
}

# The C compiler as a linker: without its compilers proper and their libraries.
choose_gcc() {
    local gcc number
    gcc=$(dependency gcc-aarch64-linux-gnu 'gcc-[0-9]*-aarch64-linux-gnu') ||
        skip "Debian offers no gcc-aarch64-linux-gnu here: install one, or an aarch64 linker of that name"
    number=${gcc#gcc-}
    packages+=("$gcc" "libgcc-${number%%-*}-dev-arm64-cross")
    packages+=(binutils-aarch64-linux-gnu libc6-dev-arm64-cross)
}

wrap_gcc() {
    local gcc
    gcc=$(compgen -G "$1/usr/bin/aarch64-linux-gnu-gcc-[0-9]*")
    cat >"$2/gcc" <<END
#!/bin/sh
export PATH=$1/usr/bin:\$PATH LD_LIBRARY_PATH=$1/usr/lib/x86_64-linux-gnu
exec $gcc -B$1/usr/bin/aarch64-linux-gnu- "\$@"
END
    chmod +x "$2/gcc"
}

choose_qemu() {
    # Newer suites have the static programs in qemu-user, and this name only points there.
    packages+=("$(dependency qemu-user-static qemu-user || echo qemu-user-static)")
}

wrap_qemu() {
    local name
    for name in qemu-aarch64 qemu-aarch64-static; do
        [ ! -f "$1/usr/bin/$name" ] || mv "$1/usr/bin/$name" "$2/qemu"
    done
    # Those of other architectures.
    rm -f "$1"/usr/bin/qemu-*
}
