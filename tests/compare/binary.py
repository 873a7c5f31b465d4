"""The `potluck` binary, as the comparisons call it."""

import json
import pathlib
import subprocess
import sys

DEFAULT = pathlib.Path(__file__).resolve().parents[2] / "target" / "release" / "potluck"
CATALOGUE = ["smollm2:135m", "gemma3:270m"]


def add_arguments(parser):
    parser.add_argument("--potluck", type=pathlib.Path, default=DEFAULT, metavar="FILE", help="the release binary")
    parser.add_argument(
        "--models", nargs="+", default=CATALOGUE, metavar="MODEL", help="catalogue names, GGUF files, or NAME=FILE"
    )


class Failure(Exception):
    """The binary could not be run, or reported an error."""


class Potluck:
    def __init__(self, path):
        if not path.is_file():
            raise Failure(f"there is no {path}: run `cargo build --release`, or name the binary with --potluck")
        self.path = path.absolute()

    def text(self, *arguments, stdin=None):
        """What a command writes to stdout. Its stderr is the user's, with progress and errors."""
        command = [str(self.path), *map(str, arguments)]
        run = subprocess.run(
            command,
            input=None if stdin is None else stdin.encode(),
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
        )
        if run.returncode != 0:
            raise failed(command, run.returncode)
        return run.stdout.decode()

    def json(self, *arguments, stdin=None):
        return json.loads(self.text(*arguments, "--json", stdin=stdin))

    def stream(self, *arguments):
        """As `text`, in pieces of bytes as they come: for output too large to hold."""
        command = [str(self.path), *map(str, arguments)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
            try:
                while piece := child.stdout.read(1 << 20):
                    yield piece
            except BaseException:
                child.kill()
                raise
        if child.returncode != 0:
            raise failed(command, child.returncode)

    def models(self, given):
        """`(name, file)` of each model, fetched if it is not on this device."""
        for model in given:
            name, separator, file = model.rpartition("=")
            if separator:
                yield name, pathlib.Path(file)
            elif pathlib.Path(model).is_file():
                yield pathlib.Path(model).stem, pathlib.Path(model)
            else:
                yield model, pathlib.Path(self.text("pull", model).strip())


def failed(command, code):
    shown = " ".join(argument if len(argument) < 80 else argument[:76] + " …" for argument in command)
    return Failure(f"`{shown}` ended with code {code}")


def fail(error):
    """Ends a script whose comparison could not be made; 1 means that it was made and failed."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
