#!/usr/bin/env bash
# llguidance takes 29 February in every year for the format "date".
#
# Other days that no month has are not taken. A validator that knows the calendar rejects such an answer,
# as RFC 3339 does; Potluck brings a pattern of its own for dates.
#
# Seen with llguidance 1.9.1:
#   2028-02-29: True
#   2027-02-29: True
#   2027-02-30: False
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


date = {"type": "string", "format": "date"}
for day in ["2028-02-29", "2027-02-29", "2027-02-30"]:
    print(f"{day}:", takes(date, json.dumps(day)))
PYTHON
seen=$(venv/bin/python takes.py)

echo "$seen"
[ "$seen" = "2028-02-29: True
2027-02-29: True
2027-02-30: False" ] || { echo "the behaviour has changed"; exit 1; }
