//! Random schemas for property tests, and a validator for them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A schema whose values are small.
pub(super) fn any_schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 3, |inner| {
        let items = (inner.clone(), 0_usize..3, 0_usize..3);
        let array = items.prop_map(|(items, least, more)| {
            json!({"type": "array", "items": items, "minItems": least, "maxItems": least + more})
        });
        let properties = prop::collection::vec(
            (prop::sample::select(NAMES), inner.clone(), any::<bool>()),
            0..4,
        );
        let any_of = prop::collection::vec(inner, 1..3);
        prop_oneof![
            array,
            properties.prop_map(object),
            any_of.prop_map(|any_of| json!({ "anyOf": any_of })),
        ]
    })
}

const NAMES: &[&str] = &["a", "b\"c", "type", "größe", "x y"];

fn leaf() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        Just(json!({"type": ["integer", "null"], "minimum": 0, "maximum": 3})),
        (-20_i32..20, 0_i32..200).prop_map(|(least, more)| {
            json!({"type": "integer", "minimum": least, "maximum": least + more})
        }),
        Just(json!({"type": "number", "minimum": -1, "maximum": 2.5})),
        (0_usize..3, 0_usize..6).prop_map(|(least, more)| {
            json!({"type": "string", "minLength": least, "maxLength": least + more})
        }),
        Just(json!({"enum": ["red", "grün", "\"", 3, null, [1]]})),
        Just(json!({"const": {"k": "v"}})),
        Just(json!({"type": "string", "pattern": "^[a-f]{2,4}-\\d$"})),
    ]
    .boxed()
}

fn object(properties: Vec<(&str, Value, bool)>) -> Value {
    let mut named = Map::new();
    let mut required = Vec::new();
    for (name, schema, is_required) in properties {
        if named.insert(name.to_owned(), schema).is_none() && is_required {
            required.push(name);
        }
    }
    json!({
        "type": "object",
        "properties": named,
        "required": required,
        "additionalProperties": false,
    })
}

/// Whether a value matches a schema. Supports exactly the keywords of [`any_schema`].
pub(super) fn is_of(value: &Value, schema: &Value) -> bool {
    let Value::Object(schema) = schema else {
        panic!("a schema")
    };
    schema
        .iter()
        .all(|(keyword, asked)| match keyword.as_str() {
            "type" => match asked {
                Value::Array(types) => types.iter().any(|one| is_of_type(value, one)),
                one => is_of_type(value, one),
            },
            "enum" => asked
                .as_array()
                .is_some_and(|values| values.contains(value)),
            "const" => asked == value,
            "anyOf" => {
                let schemas = asked.as_array().expect("schemas");
                schemas.iter().any(|schema| is_of(value, schema))
            }
            "minimum" => value.as_f64() >= asked.as_f64() || !value.is_number(),
            "maximum" => value.as_f64() <= asked.as_f64() || !value.is_number(),
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 >= number(asked)),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 <= number(asked)),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= number(asked)),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= number(asked)),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| is_of(item, asked))),
            "properties" => value.as_object().is_none_or(|fields| {
                fields
                    .iter()
                    .all(|(name, held)| asked.get(name).is_none_or(|schema| is_of(held, schema)))
            }),
            "required" => value.as_object().is_none_or(|fields| {
                let mut names = asked.as_array().expect("names").iter();
                names.all(|name| fields.contains_key(name.as_str().expect("a name")))
            }),
            "additionalProperties" => value.as_object().is_none_or(|fields| {
                fields
                    .keys()
                    .all(|name| schema["properties"].get(name).is_some())
            }),
            "pattern" => value.as_str().is_some_and(is_of_the_pattern),
            other => panic!("{other} is not checked"),
        })
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type") {
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

/// `^[a-f]{2,4}-\d$`
fn is_of_the_pattern(text: &str) -> bool {
    let Some((letters, digit)) = text.split_once('-') else {
        return false;
    };
    let is_digit = digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit();
    is_digit
        && (2..=4).contains(&letters.len())
        && letters.bytes().all(|b| (b'a'..=b'f').contains(&b))
}
