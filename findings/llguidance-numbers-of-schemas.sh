#!/usr/bin/env bash
# llguidance takes numbers that a JSON schema excludes.
#
# A number above 0 and at most 0.5 may be 0, while a number above 0 alone may not. Integers go through
# f64: a constant of 2^53 + 1 is answered by 2^53, and itself refused. Masks made of such schemas let a
# model write what a validator rejects; Potluck rewrites bounds and constants before it asks for a mask.
#
# Seen with llguidance 1.9.1:
#   0 above 0: False
#   0 above 0, at most 0.5: True
#   9007199254740993 as that constant: False
#   9007199254740992 as that constant: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/pip install --quiet llguidance==1.9.1
cat > takes.py <<'PYTHON'
import json
from llguidance import LLMatcher, LLTokenizer

TOKENIZER = LLTokenizer("byte")


def takes(schema, text):
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    matcher = LLMatcher(TOKENIZER, grammar)
    tokens = TOKENIZER.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


above = {"type": "number", "exclusiveMinimum": 0}
print("0 above 0:", takes(above, "0"))
print("0 above 0, at most 0.5:", takes(above | {"maximum": 0.5}, "0"))
constant = {"const": 2**53 + 1}
print("9007199254740993 as that constant:", takes(constant, "9007199254740993"))
print("9007199254740992 as that constant:", takes(constant, "9007199254740992"))
PYTHON
seen=$(venv/bin/python takes.py)

echo "$seen"
[ "$seen" = "0 above 0: False
0 above 0, at most 0.5: True
9007199254740993 as that constant: False
9007199254740992 as that constant: True" ] || { echo "the behaviour has changed"; exit 1; }
