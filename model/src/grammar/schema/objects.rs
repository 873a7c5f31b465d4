//! Objects: constraints on property names and counts.

use serde_json::{Map, Value, json};

use super::references::References;
use super::{Fields, each_inner, refused};
use crate::grammar::GrammarError;

/// Rewrites constraints on names as properties.
///
/// # Errors
/// A constraint that cannot be rewritten.
pub(super) fn rewrite(
    fields: &mut Fields,
    references: &References<'_>,
) -> Result<(), GrammarError> {
    name_properties(fields, references)?;
    close(fields);
    Ok(())
}

/// Rewrites `propertyNames` as the properties or the pattern that it allows.
fn name_properties(fields: &mut Fields, references: &References<'_>) -> Result<(), GrammarError> {
    let Some(names) = fields.shift_remove("propertyNames") else {
        return Ok(());
    };
    let names = resolved(&names, references)?;
    let asked = |keyword: &str| names.get(keyword);
    if names == &json!(true) {
        return Ok(());
    }
    let others = fields
        .get("additionalProperties")
        .cloned()
        .unwrap_or(json!(true));
    let wanted = match (asked("enum"), asked("const")) {
        (Some(Value::Array(wanted)), _) => Some(wanted.clone()),
        (_, Some(one)) => Some(vec![one.clone()]),
        _ => None,
    };
    let has_patterns = fields.contains_key("patternProperties");
    if let Some(wanted) = wanted.filter(|_| !has_patterns) {
        let mut named = Map::new();
        for name in wanted.iter().filter_map(Value::as_str) {
            let schema = fields.get("properties").and_then(|known| known.get(name));
            named.insert(name.to_owned(), schema.unwrap_or(&others).clone());
        }
        fields.insert("properties".to_owned(), named.into());
        fields.insert("additionalProperties".to_owned(), json!(false));
        return Ok(());
    }
    let limits = [
        "pattern",
        "minLength",
        "maxLength",
        "format",
        "enum",
        "const",
        "not",
        "allOf",
        "anyOf",
        "oneOf",
    ];
    let limits: Vec<_> = limits
        .into_iter()
        .filter(|keyword| asked(keyword).is_some())
        .collect();
    let pattern = match limits[..] {
        [] if names.is_object() => return Ok(()),
        ["pattern"] => asked("pattern").and_then(Value::as_str).map(str::to_owned),
        ["minLength"] | ["maxLength"] | ["minLength", "maxLength"] => {
            let length = |keyword: &str| asked(keyword).and_then(Value::as_u64);
            let least = length("minLength").unwrap_or(0);
            let most = length("maxLength").map_or(String::new(), |most| most.to_string());
            Some(format!("^[\\s\\S]{{{least},{most}}}$"))
        }
        _ => None,
    };
    let Some(pattern) = pattern.filter(|_| !has_patterns && !fields.contains_key("properties"))
    else {
        return Err(refused(
            "propertyNames is supported with enum or const, or where there are no other names with pattern or lengths",
        ));
    };
    fields.insert("patternProperties".to_owned(), json!({ pattern: others }));
    fields.insert("additionalProperties".to_owned(), json!(false));
    Ok(())
}

/// Follows `$ref`s to their final target.
fn resolved<'v>(schema: &'v Value, references: &References<'v>) -> Result<&'v Value, GrammarError> {
    let mut schema = schema;
    for _ in 0..16 {
        match schema.get("$ref") {
            Some(Value::String(reference)) => schema = references.find(reference)?,
            _ => return Ok(schema),
        }
    }
    Err(refused("propertyNames refers to itself"))
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
