//! Objects: closed ones, and counts of properties.

use serde_json::{Value, json};

use super::references::References;
use super::{Fields, MOST_OPTIONAL, each_inner, names, refused};
use crate::grammar::GrammarError;

/// Rewrites constraints on names as properties.
///
/// # Errors
/// A constraint that cannot be rewritten.
pub(super) fn rewrite(
    fields: &mut Fields,
    references: &References<'_>,
) -> Result<(), GrammarError> {
    names::rewrite(fields, references)?;
    close(fields);
    Ok(())
}

/// Replaces `unevaluatedProperties` and `unevaluatedItems` where no other keyword evaluates any.
fn close(fields: &mut Fields) {
    if ["$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"]
        .iter()
        .any(|by| fields.contains_key(*by))
    {
        return;
    }
    for (keyword, same, also_by) in [
        (
            "unevaluatedProperties",
            "additionalProperties",
            "additionalProperties",
        ),
        ("unevaluatedItems", "items", "contains"),
    ] {
        if fields.contains_key(same) || fields.contains_key(also_by) {
            continue;
        }
        if let Some(closed @ Value::Bool(_)) = fields.shift_remove(keyword) {
            fields.insert(same.to_owned(), closed);
        }
    }
}

/// Refuses counts that a repeated name could satisfy: the library counts properties, not distinct
/// names.
///
/// # Errors
/// The schema has such a count.
pub(super) fn check_counts(schema: &mut Value) -> Result<(), GrammarError> {
    let Value::Object(fields) = schema else {
        return Ok(());
    };
    let mut checked = check_count(fields);
    each_inner(fields, &mut |_keyword, schema| {
        if checked.is_ok() {
            checked = check_counts(schema);
        }
    });
    checked
}

fn check_count(fields: &Fields) -> Result<(), GrammarError> {
    let Some(least) = fields.get("minProperties").and_then(Value::as_u64) else {
        return Ok(());
    };
    let is_closed = fields.get("additionalProperties") == Some(&json!(false))
        && !fields.contains_key("patternProperties");
    let required = fields
        .get("required")
        .and_then(Value::as_array)
        .map_or(0, Vec::len) as u64;
    if is_closed || least <= required + 1 {
        return Ok(());
    }
    Err(refused(
        "minProperties is supported for at most one name more than are required, or where all names are listed",
    ))
}

/// Refuses schemas with more optional properties than the library can follow at once.
///
/// # Errors
/// The schema has too many.
pub(super) fn check_optional(
    root: &mut Value,
    definitions: &mut Fields,
) -> Result<(), GrammarError> {
    let mut count = 0;
    for schema in definitions.values_mut().chain([root]) {
        count_optional(schema, &mut count);
    }
    match count <= MOST_OPTIONAL {
        true => Ok(()),
        false => Err(refused(format!(
            "it has {count} optional properties, and {MOST_OPTIONAL} are supported: make it smaller"
        ))),
    }
}

fn count_optional(schema: &mut Value, count: &mut usize) {
    let Value::Object(fields) = schema else {
        return;
    };
    let len = |keyword: &str| match fields.get(keyword) {
        Some(Value::Object(named)) => named.len(),
        Some(Value::Array(names)) => names.len(),
        _ => 0,
    };
    *count += len("properties").saturating_sub(len("required"));
    each_inner(fields, &mut |_keyword, schema| {
        count_optional(schema, count)
    });
}
