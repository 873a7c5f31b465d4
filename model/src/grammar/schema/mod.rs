//! JSON schemas, prepared for the library that compiles them into a grammar.
//!
//! The library supports a part of JSON Schema, and in places less strictly than the standard. We
//! rewrite the schema for it: it then matches the same values or fewer, and none that the original
//! forbids. Unsupported keywords are refused by name.
//!
//! | topic | module |
//! |---|---|
//! | the walk over a schema: keywords, annotations | [`rewrite`] |
//! | `$ref` to any place within the document | [`references`] |
//! | bounds of numbers, `multipleOf`, exact constants | [`numbers`] |
//! | `format` | [`formats`] |
//! | `pattern`, its lookaheads and classes | [`strings`], [`classes`] |
//! | property names and counts | [`names`], [`objects`] |
//! | objects that list their properties | [`closed`] |
//! | `oneOf` whose schemas share no value | [`alternatives`] |
//! | infinite recursion | [`finite`] |

mod alternatives;
mod classes;
mod closed;
mod finite;
mod formats;
mod names;
mod numbers;
mod objects;
mod references;
mod rewrite;
mod strings;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::GrammarError;

/// Maximum length of a schema, serialised as JSON.
const LONGEST: usize = 256 << 10;
/// Maximum optional properties of all objects. The library follows all that may come next.
const MOST_OPTIONAL: usize = 4_000;
/// Maximum nesting of objects and lists in a schema. A property takes two levels.
const DEEPEST: usize = 100;
/// White space between JSON tokens: a space, or a line break with indentation. Without a limit, a
/// small model may write white space endlessly.
const WHITE_SPACE: &str = r"[ ]|\n[ \t]{0,20}";
/// Allowed characters after a backslash in a string. `u` is missing on purpose: with it, one name
/// could be written in two ways.
const ESCAPES: &str = "nrbtf\\\"";

/// Maximum passes over the definitions until the results no longer change.
const MOST_PASSES: usize = 64;

type Fields = Map<String, Value>;

/// Rewrites a schema for the library.
pub(super) fn prepare(schema: &Value) -> Result<Value, GrammarError> {
    if depth(schema) > DEEPEST {
        return Err(GrammarError::TooDeep {
            kind: KIND,
            limit: DEEPEST,
        });
    }
    let bytes = schema.to_string().len();
    if bytes > LONGEST {
        return Err(GrammarError::TooLong {
            kind: KIND,
            bytes,
            limit: LONGEST,
        });
    }
    let any = Value::Object(Map::new());
    let schema = match schema {
        Value::Bool(true) => &any,
        Value::Object(_) => schema,
        Value::Bool(false) => return Err(refused("it allows nothing")),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(refused("it is not an object"));
        }
    };
    let (mut root, mut definitions) = rewrite::rewrite(schema)?;
    finite::leave_out_what_never_ends(&mut root, &mut definitions)?;
    closed::close(&mut root, &mut definitions);
    objects::check_optional(&mut root, &mut definitions)?;
    let known = definitions.clone();
    for schema in definitions.values_mut().chain([&mut root]) {
        objects::check_counts(schema)?;
        alternatives::settle(schema, &known);
    }
    let Value::Object(mut root) = root else {
        return Err(refused("it allows nothing"));
    };
    if !definitions.is_empty() {
        root.insert("$defs".to_owned(), definitions.into());
    }
    // The library reads its options from this key, so only ours may be there.
    let options = json!({"whitespace_pattern": WHITE_SPACE, "json_allowed_escapes": ESCAPES});
    root.insert("x-guidance".to_owned(), options);
    Ok(root.into())
}

const KIND: &str = "JSON schema";

fn refused(reason: impl Into<String>) -> GrammarError {
    GrammarError::Refused {
        kind: KIND,
        reason: reason.into(),
    }
}

/// Nesting of objects and lists. Parsed values are at most 128 deep, and all others consist of
/// parsed values, so the recursion cannot overflow the stack.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Calls `act` for each direct subschema, with its keyword.
fn each_inner(fields: &mut Fields, act: &mut dyn FnMut(&str, &mut Value)) {
    for (keyword, held) in fields.iter_mut() {
        match (keyword.as_str(), held) {
            ("properties" | "patternProperties", Value::Object(named)) => {
                named.values_mut().for_each(|schema| act(keyword, schema));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(list)) => {
                list.iter_mut().for_each(|schema| act(keyword, schema));
            }
            ("items" | "additionalItems" | "additionalProperties", one) => act(keyword, one),
            _ => {}
        }
    }
}

/// The types that a schema names, if any.
fn types(fields: &Fields) -> Option<Vec<&str>> {
    match fields.get("type")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => Some(several.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// Adds a further constraint, which values must match too.
fn also(fields: &mut Fields, schema: Value) {
    let all = fields.entry("allOf").or_insert_with(|| json!([]));
    if let Value::Array(all) = all {
        all.push(schema);
    }
}
