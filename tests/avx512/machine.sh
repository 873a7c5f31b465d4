# Sourced by run.sh, after debian.sh: a machine with AVX-512 VNNI, emulated.
#
# `prepare_machine CACHE` fetches what it takes, once.
#
# `run_in_machine CACHE SCRATCH NAME=PROGRAM…` boots it, with the programs as /programs/NAME and the
# libraries they load, runs the shell script SCRATCH/session and prints what that prints. Fails unless
# the script succeeds.

prepare_machine() {
    local cache=$1 linux packages cpus
    if [ "$(cat "$cache/holds" 2>/dev/null)" = bochs-1 ]; then
        return
    fi
    rm -rf "$cache"
    mkdir -p "$cache"
    use_apt "$cache/apt"
    linux=$(dependency linux-image-cloud-amd64 'linux-image-[0-9].*') ||
        skip "Debian offers no linux-image-cloud-amd64 here"
    packages=$(missing bochs bochs-term bochsbios) || skip "Debian offers no bochs here"
    # shellcheck disable=SC2086 # one word a package
    unpack "$cache/root" $packages "$linux" busybox-static isolinux syslinux-common genisoimage
    cpus=$(in_bochs "$cache" --help cpu 2>&1) || true
    grep -qx corei7_icelake_u <<<"$cpus" ||
        skip "Debian's Bochs does not emulate an Ice Lake CPU, or does not start"
    rm -rf "$cache/apt"
    echo bochs-1 >"$cache/holds"
}

# in_bochs CACHE ARGUMENT…: the emulator, from where it was unpacked.
in_bochs() {
    local libraries=$1/root/usr/lib/x86_64-linux-gnu
    LD_LIBRARY_PATH=$libraries LTDL_LIBRARY_PATH=$libraries/bochs/plugins TERM=vt100 \
        "$1/root/usr/bin/bochs-bin" "${@:2}"
}

run_in_machine() {
    local cache=$1 scratch=$2 bochs
    make_disc "$@"
    configure_machine "$cache" "$scratch"
    : >"$scratch/serial"
    # The display is a terminal, of which nothing is wanted but that it is one.
    export -f in_bochs
    script -qefc "in_bochs '$cache' -q -f '$scratch/bochsrc' -rc '$scratch/debugger'" \
        /dev/null </dev/null >/dev/null 2>&1 &
    bochs=$!
    tail -n +1 -f --pid=$bochs "$scratch/serial" | tr -d '\r' | tee "$scratch/printed"
    wait "$bochs" || true # the status of a machine that was switched off is not 0
    tail -n1 "$scratch/printed" | grep -qx 'session ended with 0' || {
        echo "the emulated machine failed; of its console:" >&2
        tail -n20 "$scratch/console" >&2
        return 1
    }
}

# A disc that boots into a memory file system whose /init runs the session.
make_disc() {
    local cache=$1 scratch=$2 root=$1/root files=$2/files program library
    mkdir -p "$files"/{bin,dev,proc,programs} "$scratch/disc"
    cp "$root/bin/busybox" "$files/bin/"
    for program in "${@:3}"; do
        strip -o "$files/programs/${program%%=*}" "${program#*=}"
        for library in $(ldd "${program#*=}" | grep -o '/[^ ]*'); do
            cp -L --parents "$library" "$files/"
        done
    done
    cp "$scratch/session" "$files/"
    cat >"$files/init" <<'END'
#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs none /dev
busybox mount -t proc none /proc
busybox stty -F /dev/ttyS1 raw
{
    busybox sh /session
    echo "session ended with $?"
} >/dev/ttyS1 2>&1
busybox sleep 1 # for the line to empty
busybox poweroff -f
END
    chmod +x "$files/init"
    (cd "$files" && find . | "$root/bin/busybox" cpio -o -H newc) >"$scratch/disc/files" 2>/dev/null

    cp "$root"/boot/vmlinuz-* "$scratch/disc/linux"
    cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" \
        "$scratch/disc/"
    # What Linux must not see, because Bochs 2.7 announces it and falls short: short `rep movsb`
    # without `rep movsb` itself, protection keys without their state, compacted states of a wrong
    # size (of which Linux would conclude that there is no AVX at all).
    cat >"$scratch/disc/isolinux.cfg" <<'END'
default linux
label linux
    kernel /linux
    append initrd=/files console=ttyS0 quiet mitigations=off panic=-1 tsc=reliable clearcpuid=fsrm,pku,ospke,xsaves,xsavec
END
    "$root/usr/bin/genisoimage" -quiet -o "$scratch/disc.iso" -b isolinux.bin -c boot.cat \
        -no-emul-boot -boot-load-size 4 -boot-info-table "$scratch/disc"
}

configure_machine() {
    local share=$1/root/usr/share/bochs scratch=$2
    # Time passes with the instructions: the fewer a second, the sooner its timers end.
    cat >"$scratch/bochsrc" <<END
config_interface: textconfig
display_library: term
cpu: model=corei7_icelake_u, count=1, ips=20000000, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync=none
megs: 512
romimage: file=$share/BIOS-bochs-latest
vgaromimage: file=$share/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$scratch/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$scratch/console
com2: enabled=1, mode=file, dev=$scratch/serial
sound: waveoutdrv=dummy
log: $scratch/log
panic: action=fatal
error: action=ignore
info: action=ignore
END
    # Debian's Bochs begins in its debugger.
    echo continue >"$scratch/debugger"
}
