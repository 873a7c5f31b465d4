"""What reads machine code, and what makes it: LLVM's tools, and the kernels built for a processor."""

import functools
import os
import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
# The instruction sets of each architecture's program.
ARCHITECTURES = {
    "x86_64": ("avx2", "avxvnni", "avx512"),
    "aarch64": ("neon", "dotprod", "i8mm"),
}
# The oldest LLVM that knows how the processors of predict.py work.
LLVM = 19


class Unavailable(Exception):
    """The figures cannot be had here."""


def output(command, **options):
    """What a command prints; what it complains of, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise Unavailable(f"{command[0]} failed:\n{(done.stderr or done.stdout)[:2000]}")
    return done.stdout


def sourced(script, *arguments):
    """The output of a shell script that has what the emulation checks have, too."""
    files = ". tests/debian.sh; . tests/aarch64/toolchain.sh; set -euo pipefail; "
    command = ["bash", "-c", files + script, "bash", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Unavailable("the tools for this are not here (see above)")
    return done.stdout


@functools.cache
def llvm():
    """How to run one of LLVM's tools: `run(tool, *arguments, **options)`."""
    for suffix in ["", *(f"-{n}" for n in range(40, LLVM - 1, -1))]:
        found = shutil.which("llvm-mca" + suffix)
        if found and major(output([found, "--version"])) >= LLVM:
            return lambda tool, *arguments, **options: output([tool + suffix, *arguments], **options)
    root = CACHE / "potluck-llvm"
    if not any(root.glob("root/usr/lib/llvm-*/bin/llvm-mca")):
        fetch(root)
    tools = max(root.glob("root/usr/lib/llvm-*/bin"), key=lambda path: major(str(path)))
    libraries = [root / "root/usr/lib/x86_64-linux-gnu", tools.parent / "lib"]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    return lambda tool, *arguments, **options: output(
        [tools / tool, *arguments], env=environment, **options
    )


def major(version):
    found = re.search(r"(?:version |llvm-)(\d+)", version)
    return int(found[1]) if found else 0


def fetch(root):
    """Unpacks Debian's newest LLVM tools; nothing is installed."""
    script = """
        use_apt "$1/apt"
        name=$(apt-cache pkgnames llvm- | grep -xE 'llvm-[0-9]+' | sort -V | tail -1)
        [ "${name#llvm-}" -ge "$2" ] || skip "LLVM $2 is needed, Debian offers ${name:-none}"
        libraries=$(missing "$name" | grep '^lib' || true)
        unpack "$1/root" "$name" $libraries
        rm -rf "$1/apt"
    """
    sourced(script, root, LLVM)


def build(architecture):
    """The kernels' program for an architecture, and the compiler's version."""
    target = f"{architecture}-unknown-linux-gnu"
    environment = dict(os.environ)
    if architecture == "aarch64":
        rust = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        cache = os.environ.get("POTLUCK_AARCH64_CACHE", CACHE / "potluck-aarch64")
        printed = sourced('prepare_toolchain "$1" "$2" >&2; env -0', cache, rust)
        wanted = ("RUSTC", "CARGO_TARGET_AARCH64_")
        pairs = (line.split("=", 1) for line in printed.split("\0") if line.startswith(wanted))
        environment |= dict(pairs)
    folder = ROOT / "target/kernels"
    cargo = ["cargo", "rustc", "--release", "--locked", "--target", target]
    # The names of functions say which types they are for.
    cargo += ["--target-dir", folder, "--", "-C", "symbol-mangling-version=v0"]
    done = subprocess.run(cargo, cwd=HERE, env=environment)
    if done.returncode:
        raise Unavailable(f"the kernels could not be built for {architecture}")
    rustc = environment.get("RUSTC", "rustc")
    version = output([rustc, "--version"], env=environment, cwd=HERE).strip()
    return folder / target / "release/potluck-kernels", version


def disassembly(program):
    return llvm()("llvm-objdump", "-d", "--no-show-raw-insn", program)


def names_at(program):
    """What `listing.units` asks for names."""

    def names(addresses):
        if not addresses:
            return []
        asked = "".join(f"{address:#x}\n" for address in addresses)
        answers = llvm()("llvm-symbolizer", "-e", program, input=asked).rstrip("\n").split("\n\n")
        return [answer.strip("\n").split("\n")[::2] for answer in answers]

    return names
