//! `propertyNames`: constraints on the names of an object, as properties or a pattern.

use serde_json::{Map, Value, json};

use super::references::References;
use super::{Fields, classes, refused, types};
use crate::grammar::GrammarError;

/// Keywords that constrain a string.
const LIMITS: [&str; 16] = [
    "$ref",
    "enum",
    "const",
    "pattern",
    "minLength",
    "maxLength",
    "format",
    "not",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "$dynamicRef",
    "$recursiveRef",
    "extends",
    "disallow",
];

/// Rewrites `propertyNames` as the properties or the pattern that it allows.
///
/// # Errors
/// A constraint that cannot be rewritten.
pub(super) fn rewrite(
    fields: &mut Fields,
    references: &References<'_>,
) -> Result<(), GrammarError> {
    let Some(names) = fields.shift_remove("propertyNames") else {
        return Ok(());
    };
    if names == json!(true) {
        return Ok(());
    }
    let names = resolved(&names, references)?;
    let limits = limits(names);
    let others = fields
        .get("additionalProperties")
        .cloned()
        .unwrap_or(json!(true));
    let has_patterns = fields.contains_key("patternProperties");
    let pattern = match limits.as_deref() {
        Some([]) => return Ok(()),
        Some(["enum" | "const"]) if !has_patterns => {
            let one = names.get("const").map(std::slice::from_ref);
            let several = names.get("enum").and_then(Value::as_array);
            let wanted = one.or(several.map(Vec::as_slice)).unwrap_or_default();
            list(fields, wanted, &others);
            return Ok(());
        }
        Some(["pattern"]) => names
            .get("pattern")
            .and_then(Value::as_str)
            .map(str::to_owned),
        Some(["minLength"] | ["maxLength"] | ["minLength", "maxLength"]) => {
            let length = |keyword: &str| names.get(keyword).and_then(Value::as_u64);
            let least = length("minLength").unwrap_or(0);
            let most = length("maxLength").map_or(String::new(), |most| most.to_string());
            Some(format!("^[\\s\\S]{{{least},{most}}}$"))
        }
        _ => None,
    };
    let Some(pattern) = pattern.filter(|_| !has_patterns && !fields.contains_key("properties"))
    else {
        return Err(refused(
            "propertyNames is supported with enum or const alone, or where there are no other names with pattern or lengths",
        ));
    };
    let pattern = classes::plain(&pattern)?;
    fields.insert("patternProperties".to_owned(), json!({ pattern: others }));
    fields.insert("additionalProperties".to_owned(), json!(false));
    Ok(())
}

/// Allows these names only.
fn list(fields: &mut Fields, wanted: &[Value], others: &Value) {
    let mut named = Map::new();
    for name in wanted.iter().filter_map(Value::as_str) {
        let schema = fields.get("properties").and_then(|known| known.get(name));
        named.insert(name.to_owned(), schema.unwrap_or(others).clone());
    }
    fields.insert("properties".to_owned(), named.into());
    fields.insert("additionalProperties".to_owned(), json!(false));
}

/// The keywords of a schema that constrain a string; `None` if no string matches it.
fn limits(schema: &Value) -> Option<Vec<&'static str>> {
    let fields = schema.as_object()?;
    if types(fields).is_some_and(|types| !types.contains(&"string")) {
        return None;
    }
    let limits = LIMITS
        .iter()
        .filter(|keyword| fields.contains_key(**keyword));
    Some(limits.copied().collect())
}

/// Follows `$ref`s to their final target. One beside other constraints is left.
fn resolved<'v>(schema: &'v Value, references: &References<'v>) -> Result<&'v Value, GrammarError> {
    let mut schema = schema;
    for _ in 0..16 {
        match (limits(schema).as_deref(), schema.get("$ref")) {
            (Some(["$ref"]), Some(Value::String(reference))) => {
                schema = references.find(reference)?;
            }
            _ => return Ok(schema),
        }
    }
    Err(refused("propertyNames refers to itself"))
}
