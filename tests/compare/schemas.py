#!/usr/bin/env python3
"""Checks that answers of `potluck serve` are of the JSON schemas that were asked for.

    cargo build --release
    tests/compare/schemas.py
    tests/compare/schemas.py --generated 1000 --seed 7 --only generated
    tests/compare/schemas.py --only zod-signup pydantic-invoice --show

Two lots of schemas: those of tests/data/schemas.jsonl, as real programs and libraries write them, and
generated ones of every keyword that is supported, with each other. Each is asked for once, by
`response_format`, with a seed of its own; each answer is read, with exact decimals and with floats, and
checked by the package `jsonschema` of PyPI with all its formats.

An answer that reaches --max-tokens is not whole and counts as failed. Generated schemas bound every
string and list, so that what a small model says ends; so do most of the real ones. What a schema does
not bound (recursion, a string without maxLength) nobody can promise to end: such a case is marked
"unbounded", and asked for again with another seed, at most --tries times.

A schema with "refused" must be refused with status 400 and these words.

Exit code: 0 if every answer is right, 1 if one is not, 2 if it could not be measured.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import decimal
import http.client
import json
import os
import pathlib
import random
import sys

import binary
import served
import environment

environment.enter("jsonschema")

import jsonschema

REAL = pathlib.Path(__file__).resolve().parents[1] / "data" / "schemas.jsonl"
PATTERNS = [
    "^[a-z]{2,8}$",
    "^[A-Z]{2}-\\d{3}$",
    "^(?:red|green)-[0-9a-f]{4}$",
    "^\\+[1-9]\\d{6,10}$",
    "^[^\\s]{1,9}$",
    "^(?=.*\\d)(?=.*[a-z])[a-z0-9]{6,9}$",
    "^[äöü]{1,3}\\.$",
]
FORMATS = ["date", "time", "date-time", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
NAMES = "id name kind count items price note größe a_b x-y is_open 1st".split()


RIGHT = ("valid", "refused as it should be")


class Generator:
    """Random schemas whose values are small."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}
        # Whether a value may have recursion or names of any length.
        self.unbounded = False

    def whole(self):
        root = self.object(3)
        if self.definitions:
            root["$defs"] = self.definitions
        return root

    def any(self, depth):
        if depth <= 0 or self.random.random() < 0.45:
            return self.random.choice([self.string, self.string, self.integer, self.number, self.choice, self.plain])()
        return self.random.choice(
            [self.object, self.object, self.list, self.tuple, self.union, self.tagged, self.both, self.named, self.recursive]
        )(depth - 1)

    def plain(self):
        return self.random.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["boolean", "null"]}])

    def string(self):
        kind = self.random.randrange(4)
        if kind == 0:
            return {"type": "string", "pattern": self.random.choice(PATTERNS)}
        if kind == 1:
            return {"type": "string", "format": self.random.choice(FORMATS)}
        least = self.random.randrange(4)
        schema = {"type": "string", "minLength": least, "maxLength": least + self.random.randrange(25)}
        if kind == 2:
            schema["type"] = ["string", "null"]
        return schema

    def integer(self):
        scale = self.random.choice([1, 20, 1000, 1 << 31, 1 << 53, 1 << 63])
        least = self.random.randint(-scale, scale)
        most = least + self.random.randint(2, scale + 2)
        schema = {"type": "integer"}
        schema[self.random.choice(["minimum", "exclusiveMinimum"])] = least
        schema[self.random.choice(["maximum", "exclusiveMaximum"])] = most
        if scale < 1 << 31 and self.random.random() < 0.2:
            schema |= {"multipleOf": self.random.choice([2, 3, 5]), "maximum": most + 10}
        return schema

    def number(self):
        places = self.random.randrange(4)
        ends = sorted(round(self.random.uniform(-1, 1) * self.random.choice([1, 1, 100, 1e6]), places) for _ in range(2))
        least, most = ends[0], ends[1] + self.random.choice([0, 1, 0.25])
        schema = {"type": "number"}
        if least == most:
            return schema | {"minimum": least, "maximum": most}
        schema[self.random.choice(["minimum", "exclusiveMinimum"])] = least
        schema[self.random.choice(["maximum", "exclusiveMaximum"])] = most
        if self.random.random() < 0.25 and most - least > 2:
            schema["multipleOf"] = self.random.choice([0.01, 0.1, 0.5, 0.25])
        return schema

    def choice(self):
        values = ["red", "grün", 'quo"te', 3, -1.5, None, True, [1, "x"], {"k": []}, "", "two\nlines", 1 << 40]
        values = self.random.sample(values, self.random.randint(1, 5))
        return {"const": values[0]} if len(values) == 1 else {"enum": values}

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randint(0, 4))
        properties = {name: self.any(depth) for name in names}
        schema = {"type": "object", "properties": properties}
        schema["required"] = [name for name in names if self.random.random() < 0.7]
        more = self.random.randrange(4)
        if more == 0:
            self.unbounded = True
            schema |= {"additionalProperties": self.any(0), "maxProperties": len(schema["required"]) + 1}
            schema["properties"] = {name: properties[name] for name in schema["required"]}
        elif more == 1:
            schema |= {"patternProperties": {"^[a-z]{2,5}_$": self.any(0)}, "additionalProperties": False}
            schema |= {"maxProperties": len(schema["required"]) + 1}
            schema["properties"] = {name: properties[name] for name in schema["required"]}
        else:
            schema["additionalProperties"] = False
        return schema

    def list(self, depth):
        least = self.random.randrange(3)
        return {
            "type": "array",
            "items": self.any(depth),
            "minItems": least,
            "maxItems": least + self.random.randint(0 if least else 1, 2),
        }

    def tuple(self, depth):
        items = [self.any(depth) for _ in range(self.random.randint(1, 3))]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": self.random.randint(0, len(items))}

    def union(self, depth):
        return {"anyOf": [self.any(depth), self.any(depth), *self.random.choice([[], [{"type": "null"}]])]}

    def tagged(self, depth):
        kinds = self.random.sample(["cat", "dog", "bird"], 2)
        options = [self.object(depth) for _ in kinds]
        for kind, option in zip(kinds, options, strict=True):
            option["properties"]["kind"] = {"const": kind}
            option["required"] = sorted({*option["required"], "kind"})
            if "maxProperties" in option:
                option["maxProperties"] = len(option["required"]) + 1
        if self.random.random() < 0.5:
            for number, option in enumerate(options):
                name = f"Option {len(self.definitions)}/{number}"
                self.definitions[name] = option
                options[number] = {"$ref": "#/$defs/" + name.replace("/", "~1").replace(" ", "%20")}
        return {"oneOf": options}

    def both(self, depth):
        first = {"type": "object", "properties": {"first": self.any(depth)}, "required": ["first"]}
        second = {"properties": {"first": True, "second": self.any(depth)}, "additionalProperties": False}
        return {"allOf": [first, second], "description": "two halves"}

    def named(self, depth):
        name = f"N{len(self.definitions)}"
        self.definitions[name] = {}
        self.definitions[name] = self.any(depth)
        return {"$ref": f"#/$defs/{name}"}

    def recursive(self, depth):
        self.unbounded = True
        name = f"R{len(self.definitions)}"
        self.definitions[name] = {
            "type": "object",
            "properties": {
                "value": self.any(0),
                "next": {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/{name}"}]},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
        return {"$ref": f"#/$defs/{name}"}


def cases(arguments):
    wanted = set(arguments.only)
    if not wanted or wanted != {"generated"}:
        for line in arguments.real.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            if not wanted or case["name"] in wanted or "real" in wanted:
                yield case
    for number in range(arguments.generated):
        name = f"generated-{arguments.seed + number}"
        if not wanted or wanted & {name, "generated"}:
            generator = Generator(arguments.seed + number)
            case = {"name": name, "ask": "Write an example.", "schema": generator.whole()}
            yield case | {"unbounded": generator.unbounded}


class Asked(served.Server):
    """A server that answers with schemas."""

    def ask(self, case, seed, max_tokens):
        body = {
            "messages": [{"role": "user", "content": case["ask"]}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": case["schema"]}},
            "max_tokens": case.get("max_tokens", max_tokens),
            "seed": seed,
        }
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())


def verdict(case, status, answer):
    """What became of a schema, in a word, and why."""
    if status != 200:
        message = answer.get("error", {}).get("message", str(answer))
        if status == 400 and (words := case.get("refused")) and words in message:
            return "refused as it should be", message
        return "refused" if status == 400 else f"status {status}", message
    if "refused" in case:
        return "not refused", answer["choices"][0]["message"]["content"]
    choice = answer["choices"][0]
    text = choice["message"]["content"]
    if choice["finish_reason"] != "stop":
        return "not whole", text
    written = json.dumps(case["schema"])
    for exact in [{"parse_float": decimal.Decimal}, {}]:
        # A multiple of 0.01 is none in binary: only the exact decimal can tell.
        schema = json.loads(written, **exact)
        if not exact and '"multipleOf"' in written:
            continue
        checker = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            checker.check_schema(json.loads(written))
            value = json.loads(text, **exact)
        except (ValueError, jsonschema.SchemaError) as error:
            return "wrong", f"{error}: {text}"
        errors = list(checker(schema, format_checker=checker.FORMAT_CHECKER).iter_errors(value))
        if errors:
            return "wrong", f"{errors[0].json_path}: {errors[0].message[:200]}: {text}"
    return "valid", text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    binary.add_arguments(parser)
    parser.set_defaults(models=["smollm2:135m"])
    parser.add_argument("--generated", type=int, default=300, help="how many schemas to make up")
    parser.add_argument("--real", type=pathlib.Path, default=REAL, metavar="FILE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these; real or generated for a lot")
    parser.add_argument("--max-tokens", type=int, default=900)
    parser.add_argument("--tries", type=int, default=5, help="for schemas without bounds")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--show", action="store_true", help="print every answer")
    arguments = parser.parse_args()
    right = True
    try:
        for name, file in binary.Potluck(arguments.potluck).models(arguments.models):
            options = ["--no-mdns", "--model", file, "--threads", arguments.threads]
            options += ["--streams", arguments.streams, "--context", 4096]
            server = Asked.potluck(arguments.potluck, *options)
            try:
                right &= check(arguments, name, server)
            finally:
                server.stop()
    except binary.Failure as error:
        binary.fail(error)
    return 0 if right else 1


def ask(arguments, server, case, seed):
    """The answer, or the last of several that have no end."""
    for again in range(arguments.tries if case.get("unbounded") else 1):
        status, answer = server.ask(case, seed + 1000 * again, arguments.max_tokens)
        if status != 200 or answer["choices"][0]["finish_reason"] == "stop":
            break
    return status, answer, again


def check(arguments, model, server):
    todo = list(cases(arguments))
    counts = {"real": collections.Counter(), "generated": collections.Counter()}
    tokens = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.streams) as pool:
        answers = pool.map(lambda pair: ask(arguments, server, pair[1], pair[0]), enumerate(todo, 1))
        for case, (status, answer, again) in zip(todo, answers, strict=True):
            word, why = verdict(case, status, answer)
            word += f" at try {again + 1}" if word == "valid" and again else ""
            counts["generated" if case["name"].startswith("generated-") else "real"][word] += 1
            tokens += answer.get("usage", {}).get("completion_tokens", 0)
            is_right = word.startswith(RIGHT)
            if not is_right or arguments.show:
                print(f"{case['name']}: {word}: {why}")
            if not is_right:
                print(f"  {json.dumps(case['schema'], ensure_ascii=False)}")
    for lot, words in counts.items():
        if words:
            print(f"{model}, {lot}: " + ", ".join(f"{count} {word}" for word, count in sorted(words.items())))
    print(f"{tokens} tokens")
    return all(word.startswith(RIGHT) for words in counts.values() for word in words)


if __name__ == "__main__":
    sys.exit(main())
