//! Walks a schema and everything that it refers to.

use serde_json::{Map, Value, json};

use super::numbers::{self, Multiples};
use super::references::References;
use super::{Fields, classes, objects, refused, strings};
use crate::grammar::GrammarError;

/// Keywords whose value is kept as it is. The library refuses those that it lacks, by name.
const KEPT: [&str; 35] = [
    "type",
    "required",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "uniqueItems",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "extends",
    "disallow",
    "$dynamicRef",
    "$recursiveRef",
    "divisibleBy",
    "$schema",
];

/// Rewrites a schema and its definitions: removes keywords without effect, and makes every `$ref`
/// point to a definition or to `#`.
///
/// # Errors
/// A keyword is not supported.
pub(super) fn rewrite(root: &Value) -> Result<(Value, Fields), GrammarError> {
    let mut rewriter = Rewriter {
        references: References::new(root),
        multiples: Multiples::default(),
    };
    let mut definitions = Map::new();
    let written = rewriter.schema(root, Place::Root)?;
    while let Some((name, schema)) = rewriter.references.next() {
        definitions.insert(name, rewriter.schema(schema, Place::Within)?);
    }
    rewriter.multiples.check()?;
    Ok((written, definitions))
}

/// The place of a schema in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Within,
    /// Inside a schema with its own `$id`, which is the base of its `$ref`s.
    Apart,
}

struct Rewriter<'a> {
    references: References<'a>,
    multiples: Multiples,
}

impl Rewriter<'_> {
    fn schema(&mut self, schema: &Value, place: Place) -> Result<Value, GrammarError> {
        let fields = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(fields) => fields,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(refused(
                    "a part of it is neither an object nor true or false",
                ));
            }
        };
        let within = match fields.get("$id") {
            Some(Value::String(id)) if place != Place::Root && !id.starts_with('#') => Place::Apart,
            _ if place == Place::Apart => Place::Apart,
            _ => Place::Within,
        };
        let mut written = Map::new();
        for (keyword, held) in fields {
            if keyword == "$schema" && place != Place::Root {
                continue;
            }
            if let Some(held) = self.keyword(keyword, held, within)? {
                written.insert(keyword.clone(), held);
            }
        }
        if !fields.contains_key("items") {
            // Without `items`, which describes the first items, `additionalItems` has no effect.
            written.shift_remove("additionalItems");
        }
        if !leave_out_idle(&mut written) {
            return Ok(Value::Bool(false));
        }
        numbers::rewrite(&mut written, &mut self.multiples)?;
        strings::rewrite(&mut written)?;
        objects::rewrite(&mut written, &self.references)?;
        Ok(written.into())
    }

    /// The rewritten value of a keyword; `None` if the keyword has no effect.
    fn keyword(
        &mut self,
        keyword: &str,
        held: &Value,
        place: Place,
    ) -> Result<Option<Value>, GrammarError> {
        Ok(Some(match (keyword, held) {
            ("$ref", Value::String(reference)) => {
                if place == Place::Apart && reference.starts_with('#') {
                    return Err(refused(format!(
                        "$ref {reference:?} counts from an $id: leave that out, and refer from the root"
                    )));
                }
                self.references.rename(reference)?.into()
            }
            ("properties", Value::Object(named)) => {
                let mut written = Map::new();
                for (name, schema) in named {
                    written.insert(name.clone(), self.schema(schema, place)?);
                }
                written.into()
            }
            ("patternProperties", Value::Object(named)) => {
                let mut written = Map::new();
                for (pattern, schema) in named {
                    let schema = self.schema(schema, place)?;
                    let is_same = written.insert(classes::plain(pattern)?, schema).is_some();
                    if is_same {
                        return Err(refused(format!(
                            "patternProperties has {pattern:?} twice: name it once"
                        )));
                    }
                }
                written.into()
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(list)) => {
                let list = list.iter().map(|schema| self.schema(schema, place));
                list.collect::<Result<Vec<_>, _>>()?.into()
            }
            ("items" | "additionalItems" | "additionalProperties", one) => {
                self.schema(one, place)?
            }
            ("const" | "enum", held) => {
                numbers::check_exact(held)?;
                held.clone()
            }
            ("$ref" | "properties" | "patternProperties", _) => held.clone(),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", _) => held.clone(),
            _ if KEPT.contains(&keyword) => held.clone(),
            // By the standard, unknown keywords are annotations.
            _ => return Ok(None),
        }))
    }
}

/// Removes keywords that have no effect but that the library refuses. Returns whether any value
/// still matches.
fn leave_out_idle(fields: &mut Fields) -> bool {
    for (keyword, idle) in [
        ("uniqueItems", json!(false)),
        ("minContains", json!(0)),
        ("unevaluatedProperties", json!(true)),
        ("unevaluatedItems", json!(true)),
        ("dependencies", json!({})),
        ("dependentRequired", json!({})),
        ("dependentSchemas", json!({})),
        ("not", json!(false)),
    ] {
        if fields.get(keyword) == Some(&idle) {
            fields.shift_remove(keyword);
        }
    }
    for (keyword, needed) in [
        ("then", "if"),
        ("else", "if"),
        ("minContains", "contains"),
        ("maxContains", "contains"),
    ] {
        if !fields.contains_key(needed) {
            fields.shift_remove(keyword);
        }
    }
    if !fields.contains_key("then") && !fields.contains_key("else") {
        fields.shift_remove("if");
    }
    if fields
        .get("maxItems")
        .and_then(Value::as_u64)
        .is_some_and(|most| most <= 1)
    {
        fields.shift_remove("uniqueItems");
    }
    // Some programs write this for a value that must be absent.
    !matches!(fields.get("not"), Some(all) if *all == json!({}) || *all == json!(true))
}
