//! The walk over a schema, and over all that it refers to.

use serde_json::{Map, Value, json};

use super::numbers::{self, Multiples};
use super::references::References;
use super::{Fields, objects, refused, strings};
use crate::grammar::GrammarError;

/// Keywords whose value is taken as it is. Those that the library does not have, it refuses by name.
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

/// A schema and its definitions, with nothing that asks nothing, and every `$ref` to a definition or
/// to `#`.
///
/// # Errors
/// A keyword that cannot be kept to.
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

/// Where a schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Within,
    /// Within one that has an `$id`, from which a `$ref` counts.
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
            // Without `items` for the first ones, there are no others.
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

    /// What is written of a keyword; `None` for one that asks nothing.
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
            ("properties" | "patternProperties", Value::Object(named)) => {
                let mut written = Map::new();
                for (name, schema) in named {
                    written.insert(name.clone(), self.schema(schema, place)?);
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
            // By the standard, what is unknown is a remark.
            _ => return Ok(None),
        }))
    }
}

/// Takes out what asks nothing of a value and is refused all the same; whether any value is left.
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
    // As some write that a value may not be there.
    !matches!(fields.get("not"), Some(all) if *all == json!({}) || *all == json!(true))
}
