#!/usr/bin/env bash
# Text that is added to a safe string is escaped by Jinja 2 and not by minijinja.
#
# In Python, `"..."|safe` is a Markup object, and whatever is added to it with `+` is escaped for HTML,
# also where the environment escapes nothing itself. Published chat templates for tools build a schema's
# text that way, so their prompts have `&#34;` where minijinja's have a quotation mark. A model that was
# trained on the first sees other tokens. (minijinja has no hook for `+`.)
#
# Seen with minijinja 3.1.0 and Jinja2 3.1.6, for {{ ("a"|safe) + '"b"' }}:
#   minijinja: a"b"
#   jinja2: a&#34;b&#34;
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TEMPLATE="{{ (\"a\"|safe) + '\"b\"' }}"

python3 -m venv venv
venv/bin/pip install --quiet jinja2==3.1.6
theirs=$(venv/bin/python -c 'import jinja2, os; print(jinja2.Template(os.environ["TEMPLATE"]).render())')

cargo init --quiet --vcs none --name safe-plus
cargo add --quiet minijinja@=3.1.0
cat > src/main.rs <<'RUST'
fn main() {
    let template = std::env::var("TEMPLATE").expect("given");
    let environment = minijinja::Environment::new();
    println!("{}", environment.render_str(&template, ()).expect("renders"));
}
RUST
ours=$(cargo run --quiet)

echo "minijinja: $ours"
echo "jinja2: $theirs"
[ "$ours" = 'a"b"' ] && [ "$theirs" = 'a&#34;b&#34;' ] || { echo "the behaviour has changed"; exit 1; }
