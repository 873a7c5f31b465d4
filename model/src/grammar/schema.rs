//! JSON schemas, before they are made into a grammar.

use serde_json::{Value, json};

use super::GrammarError;

/// The longest schema that is read, written as JSON.
const LONGEST: usize = 256 << 10;
/// The deepest nesting of objects and lists in a schema. A property takes two levels.
const DEEPEST: usize = 100;
/// White space between the tokens of JSON: a space, or the start of a line with its indentation.
/// Without a bound, a small model may write white space without end.
const WHITE_SPACE: &str = r"[ ]|\n[ \t]{0,20}";
/// The formats of strings that are kept to. By the standard, others say something about a string
/// and ask nothing of it.
const FORMATS: [&str; 10] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];

/// A schema as the grammar is made of it.
pub(super) fn prepare(schema: &Value) -> Result<Value, GrammarError> {
    const KIND: &str = "JSON schema";
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
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Object(_) => schema.clone(),
        Value::Bool(false) => return Err(refused("it allows nothing")),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(refused("it is not an object"));
        }
    };
    clean(&mut schema);
    // What the library takes for its options must be ours.
    schema["x-guidance"] = json!({ "whitespace_pattern": WHITE_SPACE });
    Ok(schema)
}

fn refused(reason: &str) -> GrammarError {
    GrammarError::Refused {
        kind: "JSON schema",
        reason: reason.to_owned(),
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

/// Takes out what asks nothing of a value and is refused all the same.
fn clean(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let is_remark = match fields.get("format") {
        Some(Value::String(format)) => !FORMATS.contains(&format.as_str()),
        _ => false,
    };
    if is_remark {
        fields.remove("format");
    }
    for (keyword, idle) in [
        ("uniqueItems", json!(false)),
        ("minContains", json!(0)),
        ("unevaluatedProperties", json!(true)),
        ("unevaluatedItems", json!(true)),
    ] {
        if fields.get(keyword) == Some(&idle) {
            fields.remove(keyword);
        }
    }
    for (keyword, held) in fields.iter_mut() {
        match (keyword.as_str(), held) {
            // Schemas by a name of their own, which may be that of a keyword.
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(named),
            ) => named.values_mut().for_each(clean),
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(list)) => {
                list.iter_mut().for_each(clean);
            }
            ("items" | "additionalItems" | "additionalProperties", one) => clean(one),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_taken_out_where_they_are_keywords_only() {
        let schema = json!({
            "type": "object",
            "x-guidance": {"lenient": true},
            "properties": {
                "format": {"type": "string", "format": "color"},
                "day": {"type": "string", "format": "date"},
                "list": {"type": "array", "uniqueItems": false, "items": {"format": "int32"}},
            },
            "const": {"format": "kept"},
        });
        let prepared = prepare(&schema).expect("a schema");
        assert_eq!(prepared["properties"]["format"], json!({"type": "string"}));
        assert_eq!(prepared["properties"]["day"]["format"], "date");
        assert_eq!(
            prepared["properties"]["list"],
            json!({"type": "array", "items": {}})
        );
        assert_eq!(prepared["const"]["format"], "kept");
        assert_eq!(prepared["x-guidance"].get("lenient"), None);
    }

    #[test]
    fn schemas_beyond_the_bounds_are_refused() {
        let mut deep = json!({"type": "string"});
        for _ in 0..60 {
            deep = json!({"properties": {"a": deep}});
        }
        let wide = json!({"enum": vec!["x".repeat(100); 3000]});
        for (schema, says) in [
            (deep, "the JSON schema is nested deeper than 100"),
            (wide, "the JSON schema has 309"),
            (
                json!(false),
                "an answer cannot be kept to the JSON schema: it allows nothing",
            ),
            (
                json!("object"),
                "an answer cannot be kept to the JSON schema: it is not an object",
            ),
        ] {
            let error = prepare(&schema).expect_err("refused").to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
