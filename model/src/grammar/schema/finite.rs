//! Infinite recursion: for example, an object that requires another of its kind. A model that
//! entered it could never finish its answer.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Fields, MOST_PASSES, each_inner, refused, types};
use crate::grammar::GrammarError;

/// Replaces schemas that no finite value matches by `false`.
///
/// # Errors
/// No finite value matches the whole schema.
pub(super) fn leave_out_what_never_ends(
    root: &mut Value,
    definitions: &mut Fields,
) -> Result<(), GrammarError> {
    let mut ending = BTreeSet::new();
    let mut passes = 0;
    loop {
        passes += 1;
        if passes > MOST_PASSES {
            return Err(refused("its references lead too far: make it flatter"));
        }
        let known = ending.len();
        // Definitions mostly follow the schemas that refer to them.
        let schemas = definitions.iter().rev();
        let schemas = schemas.map(|(name, schema)| (format!("#/$defs/{name}"), schema));
        for (name, schema) in schemas.chain([("#".to_owned(), &*root)]) {
            if !ending.contains(&name) && ends(schema, &ending) {
                ending.insert(name);
            }
        }
        if ending.len() == known {
            break;
        }
    }
    if !ending.contains("#") {
        return Err(refused(
            "no value is of it: what it requires requires itself, without an end",
        ));
    }
    if ending.len() <= definitions.len() {
        definitions.retain(|name, _| ending.contains(&format!("#/$defs/{name}")));
        for schema in definitions.values_mut().chain([root]) {
            cut(schema, &ending);
        }
    }
    Ok(())
}

/// Whether a finite value matches this schema, assuming that one exists for each of `ending`.
fn ends(schema: &Value, ending: &BTreeSet<String>) -> bool {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(any) => return *any,
        _ => return true,
    };
    let list = |keyword: &str| fields.get(keyword).and_then(Value::as_array);
    let ends = |schema: &Value| ends(schema, ending);
    if let Some(Value::String(name)) = fields.get("$ref")
        && !ending.contains(name)
    {
        return false;
    }
    if list("allOf").is_some_and(|all| !all.iter().all(ends)) {
        return false;
    }
    if ["anyOf", "oneOf"]
        .iter()
        .any(|any| list(any).is_some_and(|any| !any.iter().any(ends)))
    {
        return false;
    }
    let Some(types) = types(fields) else {
        return true;
    };
    let count = |keyword: &str| fields.get(keyword).and_then(Value::as_u64).unwrap_or(0) as usize;
    let of_array = || {
        let first = list("prefixItems")
            .or_else(|| list("items"))
            .map_or(&[][..], Vec::as_slice);
        let least = count("minItems");
        let others = match fields.get("items") {
            Some(Value::Array(_)) => fields.get("additionalItems"),
            others => others,
        };
        first.iter().take(least).all(ends) && (least <= first.len() || others.is_none_or(ends))
    };
    let of_object = || {
        let property = |name: &str| {
            let named = fields.get("properties").and_then(|named| named.get(name));
            named.or_else(|| {
                fields
                    .get("additionalProperties")
                    .filter(|_| !fields.contains_key("patternProperties"))
            })
        };
        let required = list("required")
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let mut any = fields
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::values);
        let mut has_any = || any.any(ends) || fields.get("additionalProperties").is_none_or(ends);
        required
            .into_iter()
            .all(|name| property(name).is_none_or(ends))
            && (count("minProperties") == 0
                || fields.contains_key("patternProperties")
                || has_any())
    };
    types.is_empty()
        || types.iter().any(|name| match *name {
            "array" => of_array(),
            "object" => of_object(),
            _ => true,
        })
}

/// Replaces references to schemas without finite values by `false`.
fn cut(schema: &mut Value, ending: &BTreeSet<String>) {
    let Value::Object(fields) = schema else {
        return;
    };
    if let Some(Value::String(name)) = fields.get("$ref")
        && !ending.contains(name)
    {
        *schema = Value::Bool(false);
        return;
    }
    each_inner(fields, &mut |_keyword, schema| cut(schema, ending));
}
