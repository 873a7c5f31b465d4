//! JSON schemas, before the library makes them into a grammar.
//!
//! The library reads a part of JSON Schema, and here and there less strictly than the standard. A
//! schema is written anew for it: the same values, or fewer, and none that the schema forbids. What
//! cannot be kept to is refused by name.
//!
//! | what | where |
//! |---|---|
//! | the walk over a schema: keywords, annotations | [`rewrite`] |
//! | `$ref`, wherever it leads within the document | [`references`] |
//! | bounds of numbers, `multipleOf`, exact constants | [`numbers`] |
//! | `format`, `pattern` with what it looks ahead for | [`strings`] |
//! | names of properties, and how many there are | [`objects`] |
//! | objects that list their properties | [`closed`] |
//! | `oneOf` whose schemas share no value | [`alternatives`] |
//! | recursion that no value ends | [`finite`] |

mod alternatives;
mod closed;
mod finite;
mod numbers;
mod objects;
mod references;
mod rewrite;
mod strings;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::GrammarError;

/// The longest schema that is read, written as JSON.
const LONGEST: usize = 256 << 10;
/// The deepest nesting of objects and lists in a schema. A property takes two levels.
const DEEPEST: usize = 100;
/// White space between the tokens of JSON: a space, or the start of a line with its indentation.
/// Without a bound, a small model may write white space without end.
const WHITE_SPACE: &str = r"[ ]|\n[ \t]{0,20}";
/// What may follow a backslash in a string. Without `u`: with it, a name could be written so that it
/// is taken for another one.
const ESCAPES: &str = "nrbtf\\\"";

/// How often definitions are looked at for what follows from each other.
const MOST_PASSES: usize = 64;

type Fields = Map<String, Value>;

/// A schema as the grammar is made of it.
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
    // What the library takes for its options must be ours.
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

/// Levels of objects and lists. Values that were parsed are at most 128 deep, and others are made
/// of such; so this does not run out of stack.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Does something with each schema within a schema, by the keyword under which it is.
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

/// The types that a schema names; `None` if it names none.
fn types(fields: &Fields) -> Option<Vec<&str>> {
    match fields.get("type")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => Some(several.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// Adds a schema that a value has to be of, too.
fn also(fields: &mut Fields, schema: Value) {
    let all = fields.entry("allOf").or_insert_with(|| json!([]));
    if let Value::Array(all) = all {
        all.push(schema);
    }
}
