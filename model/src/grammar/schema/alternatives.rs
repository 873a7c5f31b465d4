//! Replaces `oneOf` by `anyOf` where the schemas share no value.

use std::cell::Cell;

use serde_json::{Value, json};

use super::{Fields, also, each_inner, types};

/// Maximum depth for following references and alternatives.
const DEEPEST: usize = 12;
/// Maximum number of schema comparisons per `oneOf`.
const MOST_STEPS: usize = 20_000;

/// Replaces `oneOf` by `anyOf` where both are equivalent. If this cannot be proved, the library
/// decides.
pub(super) fn settle(schema: &mut Value, definitions: &Fields) {
    let Value::Object(fields) = schema else {
        return;
    };
    each_inner(fields, &mut |_keyword, schema| settle(schema, definitions));
    let Some(Value::Array(list)) = fields.get("oneOf") else {
        return;
    };
    let mut pairs = list.iter().enumerate().flat_map(|(at, first)| {
        let others = list[at + 1..].iter();
        others.map(move |second| (first, second))
    });
    let known = Known {
        definitions,
        steps: Cell::new(0),
    };
    if !pairs.all(|(first, second)| known.are_apart(first, second, DEEPEST)) {
        return;
    }
    let list = list.clone();
    fields.shift_remove("oneOf");
    if fields.contains_key("anyOf") {
        also(fields, json!({ "anyOf": list }));
    } else {
        fields.insert("anyOf".to_owned(), list.into());
    }
}

struct Known<'a> {
    definitions: &'a Fields,
    /// Comparisons made so far.
    steps: Cell<usize>,
}

impl Known<'_> {
    /// Whether the schemas provably share no value.
    fn are_apart(&self, first: &Value, second: &Value, depth: usize) -> bool {
        let (first, second) = match (first, second) {
            (Value::Bool(false), _) | (_, Value::Bool(false)) => return true,
            (Value::Object(first), Value::Object(second)) if depth > 0 => (first, second),
            _ => return false,
        };
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MOST_STEPS {
            return false;
        }
        types_of(first) & types_of(second) == 0
            || match (values_of(first), values_of(second)) {
                (Some(first), Some(second)) => !first
                    .iter()
                    .any(|one| second.iter().any(|other| is_same(one, other))),
                _ => false,
            }
            || types_of(first) | types_of(second) == OBJECT
                && self.are_objects_apart(first, second, depth - 1)
            || self.is_part_apart(first, second, depth - 1)
            || self.is_part_apart(second, first, depth - 1)
    }

    /// Whether a part of the first schema (reference or combinator) provably excludes the second.
    fn is_part_apart(&self, first: &Fields, second: &Fields, depth: usize) -> bool {
        let second = Value::Object(second.clone());
        let apart = |schema: &Value| self.are_apart(schema, &second, depth);
        let list = |keyword: &str| first.get(keyword).and_then(Value::as_array);
        let name = first.get("$ref").and_then(Value::as_str);
        let target = name.and_then(|name| self.definitions.get(name.strip_prefix("#/$defs/")?));
        target.is_some_and(apart)
            || list("allOf").is_some_and(|all| all.iter().any(apart))
            || ["anyOf", "oneOf"]
                .iter()
                .any(|keyword| list(keyword).is_some_and(|any| any.iter().all(apart)))
    }

    /// Whether a property that either object requires has schemas in both that share no value, or
    /// is not allowed in the other.
    fn are_objects_apart(&self, first: &Fields, second: &Fields, depth: usize) -> bool {
        let required = [first, second].into_iter().flat_map(|fields| {
            let required = fields.get("required").and_then(Value::as_array);
            required.into_iter().flatten().filter_map(Value::as_str)
        });
        required.into_iter().any(
            |name| match (property(first, name), property(second, name)) {
                (Some(first), Some(second)) => self.are_apart(first, second, depth),
                _ => false,
            },
        )
    }
}

/// The schema of a property, if known.
fn property<'s>(fields: &'s Fields, name: &str) -> Option<&'s Value> {
    if let Some(schema) = fields.get("properties").and_then(|named| named.get(name)) {
        return Some(schema);
    }
    let others = fields.get("additionalProperties")?;
    (!fields.contains_key("patternProperties")).then_some(others)
}

const OBJECT: u8 = 1 << 5;

/// The types that a value may have, as a bit set.
fn types_of(fields: &Fields) -> u8 {
    let bit = |name: &str| match name {
        "null" => 1,
        "boolean" => 1 << 1,
        "integer" => 1 << 2,
        "number" => 1 << 2 | 1 << 3,
        "string" => 1 << 4,
        "object" => OBJECT,
        "array" => 1 << 6,
        _ => 0,
    };
    let named = types(fields).map_or(u8::MAX, |types| {
        types.into_iter().map(bit).fold(0, |all, one| all | one)
    });
    let values = values_of(fields).map_or(u8::MAX, |values| {
        let types = values.into_iter().map(|value| match value {
            Value::Null => 1,
            Value::Bool(_) => 1 << 1,
            Value::Number(number) if number.as_f64().is_some_and(|value| value.fract() == 0.0) => {
                1 << 2
            }
            Value::Number(_) => 1 << 3,
            Value::String(_) => 1 << 4,
            Value::Object(_) => OBJECT,
            Value::Array(_) => 1 << 6,
        });
        types.fold(0, |all, one| all | one)
    });
    named & values
}

/// All values, if the schema lists them.
fn values_of(fields: &Fields) -> Option<Vec<&Value>> {
    match (fields.get("const"), fields.get("enum")) {
        (Some(one), _) => Some(vec![one]),
        (_, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// Whether two values may be equal: 1 equals 1.0. Doubtful cases count as equal.
fn is_same(first: &Value, second: &Value) -> bool {
    match (first, second) {
        (Value::Number(first), Value::Number(second)) => first.as_f64() == second.as_f64(),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => true,
        _ => first == second,
    }
}
