#!/usr/bin/env python3
"""Compares rendered chat templates with Jinja 2's, set up as the Transformers library does.

Potluck's half is built before:

    cargo build --release -p potluck-model --example render
    tests/compare/templates.py target/release/examples/render
    tests/compare/templates.py target/release/examples/render tests/data/templates/*.jinja MODEL.gguf…
    tests/compare/templates.py --golden tests/data/templates.jsonl tests/data/templates/*.jinja

Without files, the templates that llama.cpp's source package ships are compared; the package is
fetched by pip and kept in the cache folder. Where Python raises an error, nothing is compared.
With --golden, what Jinja 2 gives is written instead of compared, a conversation a line.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import environment

environment.enter("jinja2", "gguf")

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

BOS, EOS = "<s>", "</s>"
DATE = datetime.date(2024, 7, 6)
PACKAGE = environment.REQUIREMENTS["llama_cpp"]


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def user(content):
    return said("user", content)


def assistant(content, **more):
    return said("assistant", content, **more)


def system(content):
    return said("system", content)


def call(name, arguments, id="call00001"):
    return {"id": id, "name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}


def result(name, content, id="call00001"):
    return said("tool", content, name=name, tool_call_id=id)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a place.\nUse it <often> & \"well\".",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A town, such as Zürich"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": ["integer", "null"], "minimum": 1, "default": 3},
                "precision": {"type": "number", "default": 0.5, "maximum": 1e22, "minimum": 1e-07},
                "where": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}},
                    "required": ["lat"],
                    "additionalProperties": False,
                },
            },
            "required": ["place"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time of day.",
        "parameters": {"type": "object", "properties": {}},
        "return": {"type": "string"},
    },
}

# For golden data: of what templates often get wrong.
CORNERS = [
    [user("Why is the sky blue?")],
    [system("Answer in verse."), user("Why is the sky blue?")],
    [user("Hi!"), assistant("Hello. "), user("  Who are you?\n")],
    [system("\n Be kind. "), user("1"), assistant(" 2 "), user("3"), assistant("4"), user("5")],
    [user("2+2?"), assistant("<think>\nEasy.\n</think>\n\n4"), user("And 3+3?"), assistant("<think>x</think>6")],
    [user("a"), user("b")],
    [assistant("I start."), user("Fine.")],
    [user(""), assistant(""), user("")],
    [user("{{ bos_token }} {% if %} {# <|im_end|> </s> & \"quoted\" 'single' \\ back\\u003cslash #}")],
    [user("日本語 👩‍👩‍👧 ünï\u0301 \u00a0\u3000 العربية"), assistant("はい。"), user("ok\r\n\ttab")],
    [user("<tool_response>x</tool_response>"), assistant("y")],
    [user("line\n" * 50)],
]

# Of what programs ask.
CONVERSATIONS = [
    [user("Why is the sky blue?")],
    [system(" Answer in verse.\n"), user("{% if %} <b>\"It's\"</b> \\ & 日本語\r\n\ttab "), assistant(" はい。 "), user("  ok\n")],
    [user("2+2?"), assistant("<think>\nEasy.\n</think>\n\n4"), user("And 3+3?"), assistant("6", reasoning="Also easy."), user("7?")],
    [user(["First. ", "Second."]), assistant("Fine."), user(["Third."])],
    [
        system("Use tools."),
        user("Weather in Zürich?"),
        assistant("", tool_calls=[call("weather", {"place": "Zürich", "days": 3, "precision": 0.5, "where": {"lat": 47.0}})]),
        result("weather", '{"sky": "clear", "degrees": 21.5}'),
        assistant("It is clear."),
        user("Thanks."),
    ],
    [
        user("Weather here and now?"),
        assistant(
            "Let me look.",
            reasoning="Two tools.",
            tool_calls=[call("weather", {"place": "here", "unit": None, "x": True}), call("clock", {}, "call00002")],
        ),
        result("weather", "rain"),
        result("clock", "12:00 <noon>", "call00002"),
    ],
    [
        user("What time?"),
        assistant("", tool_calls=[call("clock", '{"zone": "UTC"}')]),
        result("clock", "11:00"),
        user("And now?"),
        assistant("", tool_calls=[call("clock", {"zone": ["UTC", 1e-5, 1e16, -0.0]})]),
        result("clock", "11:01"),
        assistant("11:01"),
    ],
    [assistant("I start."), user("a"), user("b"), assistant(""), user("")],
]


# Python escapes HTML in what is added to a text after `|safe`, though nothing else is escaped; the
# quotes of JSON then read `&#34;`, which the model was not trained on. Not done here.
KNOWN = {"meetkai-functionary-medium-v3.1.jinja"}


class Generation(Extension):
    """`{% generation %}`, which marks what the model said, for training."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    def _support(self, caller):
        return caller()


def jinja():
    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    jinja.filters["tojson"] = to_json
    jinja.globals["raise_exception"] = refuse
    return jinja


def source_of(path):
    if path.suffix != ".gguf":
        # Line ends as they are.
        return path.read_bytes().decode(), BOS, EOS
    import gguf

    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"]
    text = lambda name: tokens.contents(fields[f"tokenizer.ggml.{name}_token_id"].contents())
    return fields["tokenizer.chat_template"].contents(), text("bos"), text("eos")


def cases(source, golden):
    """What both are given, in the form that the example `render` reads."""
    tools = [json.dumps(tool, ensure_ascii=False) for tool in (WEATHER, CLOCK)]
    if golden:
        for messages in CORNERS:
            for prompt in (True, False):
                for date in (None, str(DATE)):
                    yield {"messages": messages, "add_generation_prompt": prompt, "date": date}
    for messages in CONVERSATIONS if not golden or "tool_calls" in source else ():
        for offered in ([], tools):
            for date in (None, str(DATE)):
                for thinking in (None, True, False) if "enable_thinking" in source else (None,):
                    for prompt in (True, False):
                        if golden and (date is None) == prompt:
                            continue  # Enough of each.
                        yield {
                            "messages": messages,
                            "add_generation_prompt": prompt,
                            "date": date,
                            "tools": offered,
                            "thinking": thinking,
                        }


def message_for_python(message):
    given = {"role": message["role"], "content": message["content"]}
    if isinstance(message["content"], list):
        given["content"] = [{"type": "text", "text": text} for text in message["content"]]
    if "reasoning" in message:
        given["reasoning_content"] = message["reasoning"]
    if "tool_calls" in message:
        given["tool_calls"] = [call_for_python(call) for call in message["tool_calls"]]
    return given | {key: message[key] for key in ("name", "tool_call_id") if key in message}


def call_for_python(call):
    function = {"name": call["name"], "arguments": json.loads(call["arguments"])}
    return {"id": call["id"], "type": "function", "function": function}


def given_to_python(case, bos, eos):
    given = {
        "messages": [message_for_python(message) for message in case["messages"]],
        "tools": [json.loads(tool) for tool in case.get("tools", ())] or None,
        "documents": None,
        "add_generation_prompt": case["add_generation_prompt"],
        "bos_token": bos,
        "eos_token": eos,
    }
    if case["date"]:
        given["strftime_now"] = DATE.strftime
        given["date_string"] = DATE.strftime("%d %b %Y")
    if case.get("thinking") is not None:
        given["enable_thinking"] = given["thinking"] = case["thinking"]
    return given


def theirs(path, golden=False):
    source, bos, eos = source_of(path)
    template = jinja().from_string(source)
    for case in cases(source, golden):
        try:
            yield case, {"text": template.render(**given_to_python(case, bos, eos))}
        except Exception as error:  # Whatever it is: there is nothing to compare with.
            yield case, {"error": str(error), "refused": type(error) is jinja2.exceptions.TemplateError}


def ours(program, path, cases):
    stdin = "".join(json.dumps(case) + "\n" for case in cases)
    run = subprocess.run([program, str(path)], input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


# Stands for the package's build tool while pip fetches it: nothing is built.
BACKEND = """
import pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder) / "{0}-{1}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {0}\\nVersion: {1}\\n")
    return info.name
"""


def shipped():
    """The templates of llama.cpp's source package."""
    folder = environment.cache_folder() / "templates"
    if not folder.exists():
        environment.note(f"fetching the source of {PACKAGE}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            unpacked = fetch(pathlib.Path(temporary))
            unpacked.rename(folder)
    return sorted(folder.glob("*.jinja"))


def fetch(temporary):
    backend = temporary / "backend" / "scikit_build_core"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build.py").write_text(BACKEND.format(*PACKAGE.replace("-", "_").split("==")))
    options = ["--quiet", "--no-deps", "--no-binary=:all:", "--no-build-isolation", f"--dest={temporary}"]
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(backend.parent)})
    unpacked = temporary / "unpacked"
    unpacked.mkdir()
    with tarfile.open(next(temporary.glob("*.tar.gz"))) as package:
        for member in package:
            path = pathlib.PurePosixPath(member.name)
            if path.parts[-3:-1] == ("models", "templates") and path.suffix == ".jinja" and member.isfile():
                (unpacked / path.name).write_bytes(package.extractfile(member).read())
    return unpacked


def write_golden(golden, files):
    with golden.open("w") as out:
        for path in files:
            for case, result in theirs(path, golden=True):
                if "error" in result and not result.pop("refused"):
                    continue
                line = {"template": path.name, **case, **result}
                out.write(json.dumps(line, separators=(",", ":")) + "\n")


def compare(program, files, verbose):
    compared = differing = refused_by_python = more = 0
    for path in files:
        expected = list(theirs(path))
        found = ours(program, path, [case for case, _ in expected])
        worse = []
        for (case, expected), actual in zip(expected, found, strict=True):
            if "error" in expected:
                refused_by_python += 1
                more += "text" in actual
                continue
            compared += 1
            if expected["text"] != actual.get("text"):
                worse.append((case, expected, actual))
        if path.name in KNOWN:
            print(f"{path.name}: {len(worse)} differ, as is known")
            continue
        differing += len(worse)
        if worse:
            print(f"{path.name}: {len(worse)} differ")
        for case, expected, actual in worse if verbose else worse[:1]:
            print(f"  {json.dumps(case, ensure_ascii=False)}")
            expected, actual = expected["text"], actual.get("text", actual.get("error"))
            same = len(os.path.commonprefix([expected, actual]))
            start = max(0, same - 60)
            print(f"  from character {start} on:")
            print(f"  jinja2  {expected[start : same + 120]!r}\n  potluck {actual[start : same + 120]!r}")
    print(
        f"{len(files)} templates: {compared} texts compared, {differing} differ unexpectedly; "
        f"{refused_by_python} that Python does not render, of which {more} are rendered here"
    )
    return min(1, differing)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true", help="print every difference, not one a template")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.golden:
        write_golden(arguments.golden, arguments.files)
        return 0
    program, *files = arguments.files
    return compare(program, files or shipped(), arguments.verbose)


if __name__ == "__main__":
    sys.exit(main())
