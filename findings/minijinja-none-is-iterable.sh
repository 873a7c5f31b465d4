#!/usr/bin/env bash
# minijinja says that none can be iterated over; Jinja 2 says that it cannot.
#
# Chat templates ask `tools is iterable` to find out whether there are tools, and Transformers gives them
# `tools = none` when there are none. Under minijinja such a template writes an empty list of tools into
# every prompt, or fails. Potluck replaces the test.
#
# Seen with minijinja 3.1.0 and Jinja2 3.1.6:
#   minijinja: True
#   jinja2: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/pip install --quiet jinja2==3.1.6
theirs=$(venv/bin/python -c 'import jinja2; print(jinja2.Template("{{ none is iterable }}").render())')

cargo init --quiet --vcs none --name none-is-iterable
cargo add --quiet minijinja@=3.1.0
cat > src/main.rs <<'RUST'
fn main() {
    let environment = minijinja::Environment::new();
    let text = environment.render_str("{{ none is iterable }}", ()).expect("renders");
    println!("{text}");
}
RUST
ours=$(cargo run --quiet)

echo "minijinja: $ours"
echo "jinja2: $theirs"
[ "$ours" = True ] && [ "$theirs" = False ] || { echo "the behaviour has changed"; exit 1; }
