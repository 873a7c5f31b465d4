"""The Python environment of the comparisons, made on first use.

A script that needs packages from PyPI starts with `environment.enter("gguf", "numpy")`. If the
running interpreter cannot import them, the script goes on in a virtual environment that has them,
kept in the user's cache folder or in $POTLUCK_COMPARE_CACHE.
"""

import importlib.util
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys

# Pinned, so that figures taken on different days have the same opponent.
REQUIREMENTS = {
    "gguf": "gguf==0.19.0",
    "jinja2": "jinja2==3.1.6",
    "jsonschema": "jsonschema[format]==4.26.0",
    "llama_cpp": "llama-cpp-python==0.3.36",
    "numpy": "numpy==2.4.6",
}
# PyPI has llama.cpp as source only: it is built here, for this very processor, in minutes.
LLAMA_FLAGS = ["-DGGML_NATIVE=ON"]
if platform.machine() == "x86_64":
    # The tile instructions of some servers: its kernels with them crash where a system does not let programs have them,
    # and no phone or laptop has them.
    WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    LLAMA_FLAGS += [f"-DCMAKE_C_FLAGS={WITHOUT_AMX}", f"-DCMAKE_CXX_FLAGS={WITHOUT_AMX}"]
BUILD_ENVIRONMENT = {
    "CMAKE_ARGS": shlex.join(LLAMA_FLAGS),
    "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
}
ENTERED = "POTLUCK_COMPARE_ENTERED"
FIND_MISSING = "import importlib.util, sys; print(*(m for m in sys.argv[1:] if not importlib.util.find_spec(m)))"


def enter(*modules):
    """Returns if this interpreter has the modules; else restarts the script in one that has."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return
    if os.environ.get(ENTERED):
        sys.exit(f"cannot import {', '.join(missing)} even in {sys.prefix}: remove that folder and try again")
    interpreter = make(modules)
    os.environ[ENTERED] = "1"
    arguments = [interpreter, *sys.argv]
    if os.name == "nt":  # There, exec returns to the shell before the script has ended.
        sys.exit(subprocess.run(arguments).returncode)
    os.execv(interpreter, arguments)


def make(modules):
    """The interpreter of the virtual environment, with the modules installed."""
    folder = cache_folder() / "venv"
    interpreter = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if not has_pip(interpreter):
        note(f"making a virtual environment in {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    found = subprocess.run([interpreter, "-c", FIND_MISSING, *modules], stdout=subprocess.PIPE, text=True, check=True)
    if missing := found.stdout.split():
        install(interpreter, [REQUIREMENTS[module] for module in missing])
    return interpreter


def cache_folder():
    if chosen := os.environ.get("POTLUCK_COMPARE_CACHE"):
        return pathlib.Path(chosen).absolute()
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = pathlib.Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "potluck-compare"


def has_pip(interpreter):
    # A venv whose making was interrupted may lack it.
    try:
        run = subprocess.run([interpreter, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return run.returncode == 0


def install(interpreter, requirements):
    log = cache_folder() / "pip.log"
    # Without pip's cache: a wheel in it may have been built for other processors.
    command = [interpreter, "-m", "pip", "install", "--verbose", "--no-cache-dir", *requirements]
    note(f"installing {' '.join(requirements)} (log in {log})")
    variables = {**os.environ, **BUILD_ENVIRONMENT}
    with log.open("w") as out, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, text=True, errors="replace"
    ) as pip:
        try:
            show_progress(pip.stdout, out)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        sys.exit(f"pip failed: see {log} (llama.cpp needs a C and a C++ compiler)")


def show_progress(lines, log):
    shown = -1
    for line in lines:
        log.write(line)
        # ninja's and make's marks.
        if step := re.match(r"\s*\[\s*(\d+)/(\d+)\]", line):
            percent = 100 * int(step[1]) // int(step[2])
        elif step := re.match(r"\s*\[\s*(\d+)%\]", line):
            percent = int(step[1])
        else:
            if line.startswith(("Collecting ", "Installing collected ")):
                note(f"  {line.strip()}")
            continue
        if percent // 5 != shown // 5:
            shown = percent
            note(f"  compiling, {percent} %")


def note(text):
    print(text, file=sys.stderr, flush=True)
