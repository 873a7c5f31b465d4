#!/usr/bin/env python3
"""Compares rendered chat templates with Jinja 2's, set up as the Transformers library does.

Potluck's half is built before:

    cargo build --release -p potluck-model --example render
    tests/compare/template.py target/release/examples/render tests/data/templates/*.jinja MODEL.gguf…
    tests/compare/template.py --golden tests/data/templates.jsonl tests/data/templates/*.jinja

With --golden, what Jinja 2 gives is written instead of compared, a conversation a line.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import environment

environment.enter("jinja2", "gguf")

from jinja2.exceptions import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

BOS, EOS = "<s>", "</s>"
DATE = "06 Jul 2024"


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


CONVERSATIONS = [
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


def environment():
    def refuse(message):
        raise TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    jinja.filters["tojson"] = to_json
    jinja.globals["raise_exception"] = refuse
    return jinja


def source_of(path):
    if path.suffix != ".gguf":
        return path.read_text(), BOS, EOS
    import gguf

    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"]
    text = lambda name: tokens.contents(fields[f"tokenizer.ggml.{name}_token_id"].contents())
    return fields["tokenizer.chat_template"].contents(), text("bos"), text("eos")


def cases():
    for messages in CONVERSATIONS:
        for prompt in (True, False):
            for date in (None, DATE):
                yield {"messages": messages, "add_generation_prompt": prompt, "date": date}


def theirs(path):
    source, bos, eos = source_of(path)
    template = environment().from_string(source)
    for case in cases():
        given = {"messages": case["messages"], "add_generation_prompt": case["add_generation_prompt"]}
        if case["date"]:
            given["strftime_now"] = lambda form: {"%d %b %Y": DATE}[form]
        try:
            yield {"text": template.render(**given, bos_token=bos, eos_token=eos, tools=None, documents=None)}
        except TemplateError as error:
            yield {"error": str(error)}


def ours(program, path):
    stdin = "".join(json.dumps(case) + "\n" for case in cases())
    run = subprocess.run([program, str(path)], input=stdin.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--golden", type=pathlib.Path)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.golden:
        with arguments.golden.open("w") as out:
            for path in arguments.files:
                for case, result in zip(cases(), theirs(path), strict=True):
                    line = {"template": path.name, **case, **result}
                    out.write(json.dumps(line, separators=(",", ":")) + "\n")
        return 0
    program, *files = arguments.files
    differing = 0
    for path in files:
        for case, expected, actual in zip(cases(), theirs(path), ours(program, path), strict=True):
            same = expected.get("text") == actual.get("text") and ("error" in expected) == ("error" in actual)
            if not same:
                differing += 1
                print(f"{path}: {case}\n  jinja2  {expected}\n  potluck {actual}")
    print(f"{len(files)} templates, {len(list(cases()))} conversations each: {differing} differ")
    return min(1, differing)


if __name__ == "__main__":
    sys.exit(main())
