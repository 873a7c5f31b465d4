//! Closes objects that list their properties, unless the schema explicitly allows others.
//!
//! The standard allows additional properties. But programs that list the properties they read do
//! not expect others, and a small model that may add names can do so endlessly. Parts of `allOf`
//! stay open: each would forbid the properties of the others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Fields, MOST_PASSES, each_inner};

/// Closes objects.
pub(super) fn close(root: &mut Value, definitions: &mut Fields) {
    let mut parts = BTreeSet::new();
    let mut passes = 0;
    loop {
        passes += 1;
        if passes > MOST_PASSES {
            return;
        }
        let known = parts.len();
        let is_part = parts.contains("#");
        find_parts(root, is_part, &mut parts);
        for (name, schema) in definitions.iter_mut() {
            let is_part = parts.contains(&format!("#/$defs/{name}"));
            find_parts(schema, is_part, &mut parts);
        }
        if parts.len() == known {
            break;
        }
    }
    close_in(root, parts.contains("#"));
    for (name, schema) in definitions.iter_mut() {
        close_in(schema, parts.contains(&format!("#/$defs/{name}")));
    }
}

/// Whether the schema has constraints besides those of its own object keywords.
fn has_parts(fields: &Fields) -> bool {
    let by = ["$ref", "allOf", "anyOf", "oneOf", "const", "enum"];
    by.iter().any(|keyword| fields.contains_key(*keyword))
}

/// Finds schemas that are only parts of another: targets of references in `allOf`, and targets of
/// references from a schema that lists properties itself.
fn find_parts(schema: &mut Value, is_part: bool, parts: &mut BTreeSet<String>) {
    let Value::Object(fields) = schema else {
        return;
    };
    let are_parts = is_part || adds_to_parts(fields);
    if let Some(Value::String(name)) = fields.get("$ref")
        && are_parts
    {
        parts.insert(name.clone());
    }
    each_inner(fields, &mut |keyword, schema| {
        find_parts(schema, becomes_part(keyword, are_parts), parts);
    });
}

/// Whether the schemas under this keyword are parts of a whole, given whether those beside it are.
fn becomes_part(keyword: &str, are_parts: bool) -> bool {
    match keyword {
        "allOf" => true,
        "anyOf" | "oneOf" => are_parts,
        _ => false,
    }
}

/// Whether the referenced schemas add to this one: it lists properties itself, or refers to others
/// by more than one keyword.
fn adds_to_parts(fields: &Fields) -> bool {
    let ways = ["properties", "$ref", "allOf", "anyOf", "oneOf"].iter();
    let count = ways
        .filter(|keyword| fields.contains_key(**keyword))
        .count();
    count > 1 || fields.contains_key("properties")
}

fn close_in(schema: &mut Value, is_part: bool) {
    let Value::Object(fields) = schema else {
        return;
    };
    let are_parts = is_part || adds_to_parts(fields);
    each_inner(fields, &mut |keyword, schema| {
        close_in(schema, becomes_part(keyword, are_parts));
    });
    let says = [
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
    ];
    if is_part || has_parts(fields) || says.iter().any(|keyword| fields.contains_key(*keyword)) {
        return;
    }
    let Some(Value::Object(named)) = fields.get("properties") else {
        return;
    };
    let required = fields.get("required").and_then(Value::as_array);
    let mut required = required.into_iter().flatten().filter_map(Value::as_str);
    let least = fields
        .get("minProperties")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if required.all(|name| named.contains_key(name)) && least <= named.len() as u64 {
        fields.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}
