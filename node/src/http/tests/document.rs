//! Checks that the OpenAPI document is as strict as the server: for every field, the server accepts
//! what the document allows and refuses everything else.

use serde_json::{Map, Value, json};

use super::super::openapi;
use crate::http::script::{Script, hello, post};

/// The document's schemas.
struct Document(Value);

impl Document {
    fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    fn followed<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"]
            .as_str()
            .and_then(|name| name.rsplit('/').next())
        {
            Some(name) => self.schema(name),
            None => schema,
        }
    }

    /// Whether a value matches a schema. Supports only the keywords that the document uses.
    fn allows(&self, schema: &Value, value: &Value) -> bool {
        let schema = self.followed(schema);
        let keywords = schema.as_object().expect("a schema");
        keywords
            .iter()
            .all(|(keyword, asked)| self.meets(schema, keyword, asked, value))
    }

    fn meets(&self, schema: &Value, keyword: &str, asked: &Value, value: &Value) -> bool {
        let list = asked.as_array();
        let number = value.as_f64();
        let items = value.as_array();
        let fields = value.as_object();
        match keyword {
            "description" | "examples" => true,
            "type" => match list {
                Some(types) => types.iter().any(|one| is_of_type(value, one)),
                None => is_of_type(value, asked),
            },
            "enum" => list.expect("values").iter().any(|one| is_same(one, value)),
            "const" => is_same(asked, value),
            "anyOf" => list
                .expect("schemas")
                .iter()
                .any(|one| self.allows(one, value)),
            "minimum" => number.is_none_or(|number| Some(number) >= asked.as_f64()),
            "maximum" => number.is_none_or(|number| Some(number) <= asked.as_f64()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| json!(text.len()).as_u64() <= asked.as_u64()),
            "minLength" => value
                .as_str()
                .is_none_or(|text| json!(text.len()).as_u64() >= asked.as_u64()),
            "minItems" => {
                items.is_none_or(|items| items.len() as u64 >= asked.as_u64().expect("a number"))
            }
            "maxItems" => {
                items.is_none_or(|items| items.len() as u64 <= asked.as_u64().expect("a number"))
            }
            "items" => items.is_none_or(|items| items.iter().all(|one| self.allows(asked, one))),
            "required" => fields.is_none_or(|fields| {
                let names = list.expect("names").iter();
                names
                    .filter_map(Value::as_str)
                    .all(|name| fields.contains_key(name))
            }),
            "properties" => fields.is_none_or(|fields| {
                let given = fields
                    .iter()
                    .filter_map(|(name, held)| Some((asked.get(name)?, held)));
                given
                    .into_iter()
                    .all(|(schema, held)| self.allows(schema, held))
            }),
            "additionalProperties" => fields.is_none_or(|fields| {
                let named = |name: &String| schema["properties"].get(name).is_some();
                let others = fields.iter().filter(|(name, _)| !named(name));
                others.into_iter().all(|(_, held)| self.allows(asked, held))
            }),
            // This test has no regular expressions: the samples that match are the schema's
            // examples.
            "pattern" => {
                schema["examples"]
                    .as_array()
                    .is_some_and(|good| good.contains(value))
                    || !value.is_string()
            }
            "propertyNames" => fields.is_none_or(|fields| {
                let is_number = |name: &String| name.parse::<u32>().is_ok();
                fields
                    .iter()
                    .all(|(name, held)| is_number(name) || held.is_null())
            }),
            other => panic!("the document has {other}, which this test does not know"),
        }
    }

    /// Values to try against a schema: one of each type, and those at the bounds.
    fn samples(&self, schema: &Value, depth: usize) -> Vec<Value> {
        let schema = self.followed(schema);
        let mut samples = kinds();
        for (keyword, by) in [("minimum", -1), ("maximum", 1)] {
            if let Some(bound) = schema[keyword].as_i64() {
                samples.push(json!(bound));
                samples.extend(bound.checked_add(by).map(|beyond| json!(beyond)));
            } else if let Some(bound) = schema[keyword].as_f64() {
                samples.extend([json!(bound), json!(bound + by as f64)]);
            }
            if schema[keyword] == json!(i64::MAX) {
                samples.push(json!(u64::MAX));
            }
        }
        samples.extend(schema["enum"].as_array().into_iter().flatten().cloned());
        samples.extend(schema["examples"].as_array().into_iter().flatten().cloned());
        samples.extend(schema.get("const").cloned());
        if let Some(longest) = schema["maxLength"].as_u64() {
            samples.extend([longest, longest + 1].map(|length| json!("z".repeat(length as usize))));
        }
        if depth == 0 {
            return samples;
        }
        for one in schema["anyOf"].as_array().into_iter().flatten() {
            samples.extend(self.samples(one, depth - 1));
        }
        if let Some(items) = schema.get("items") {
            samples.extend(
                self.samples(items, depth - 1)
                    .into_iter()
                    .map(|item| json!([item])),
            );
            let item = self.least(items);
            for count in [
                schema["maxItems"].as_u64(),
                schema["maxItems"].as_u64().map(|most| most + 1),
            ] {
                samples.extend(count.map(|count| vec![item.clone(); count as usize].into()));
            }
        }
        let least = self.least(schema);
        for (name, held) in schema["properties"].as_object().into_iter().flatten() {
            for sample in self.samples(held, depth - 1) {
                let mut object = least.clone();
                if object.is_object() {
                    object[name] = sample;
                    samples.push(object);
                }
            }
        }
        samples
    }

    /// The smallest valid value of a schema, an object where the schema allows one.
    fn least(&self, schema: &Value) -> Value {
        let schema = self.followed(schema);
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(first) = schema["anyOf"].as_array().and_then(|any| any.first())
            && schema.get("type").is_none()
        {
            return self.least(first);
        }
        let kind = match &schema["type"] {
            Value::Array(types) => &types[0],
            one => one,
        };
        match kind.as_str() {
            Some("object") => {
                let mut object = Map::new();
                for name in schema["required"].as_array().into_iter().flatten() {
                    let name = name.as_str().expect("a name");
                    object.insert(name.to_owned(), self.least(&schema["properties"][name]));
                }
                object.into()
            }
            Some("array") => json!([self.least(&schema["items"])]),
            Some("string") => json!("x"),
            Some("boolean") => json!(true),
            _ => json!(1),
        }
    }
}

/// A value of each type.
fn kinds() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(1e6),
        json!(""),
        json!("x"),
        json!("y".repeat(2000)),
        json!([]),
        json!(["x"]),
        json!([1]),
        json!([[1]]),
        json!([[]]),
        json!([null]),
        json!({}),
        json!({"x": 1}),
        json!({"x": null}),
        json!({"7": 1}),
    ]
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a type {other}"),
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Rules between fields that the document states only in words.
fn is_in_words_only(schema: &str, field: &str, value: &Value) -> bool {
    match (schema, field) {
        ("CompletionRequest", "prompt") => value.as_array().is_some_and(|list| list.len() > 16),
        // A script's model has no template, so all text is raw.
        ("OllamaGenerateRequest", "system") => value.is_string(),
        (_, "dimensions") => value.as_f64().is_some_and(|asked| asked != 2.0),
        (_, "tool_choice") => {
            let name = value.get("name").or_else(|| value["function"].get("name"));
            name.is_some_and(|name| name.is_string() && name != "x")
        }
        _ => false,
    }
}

fn check(path: &str, name: &str, base: &Value) {
    let document = Document(openapi::document());
    let schema = document.schema(name);
    assert!(document.allows(schema, base), "{name}: {base}");
    let properties = schema["properties"].as_object().expect("properties");
    for (field, held) in properties {
        let mut samples = document.samples(held, 4);
        samples.dedup();
        for sample in samples {
            let mut body = base.clone();
            body[field] = sample.clone();
            if is_in_words_only(name, field, &sample) {
                continue;
            }
            let allowed = document.allows(schema, &body);
            let answered = post(Script::new(hello), path, &body);
            let is_taken = answered.status == 200;
            assert!(
                is_taken || answered.status == 400,
                "{path} {field}: {sample}: {}",
                answered.status
            );
            assert_eq!(
                allowed, is_taken,
                "{path} {field}: {sample}: {}",
                answered.text
            );
        }
    }
}

#[test]
fn requests_of_openai_are_as_the_document_says() {
    let tool = json!({"type": "function", "function": {"name": "x"}});
    let message = json!({"role": "user", "content": "Hi"});
    let chat = json!({"messages": [message], "tools": [tool], "logprobs": true});
    check("/v1/chat/completions", "ChatRequest", &chat);
    check(
        "/v1/completions",
        "CompletionRequest",
        &json!({"prompt": "x"}),
    );
    check("/v1/embeddings", "EmbeddingRequest", &json!({"input": "x"}));
    let tool = json!({"type": "function", "name": "x"});
    check(
        "/v1/responses",
        "ResponseRequest",
        &json!({"input": "x", "tools": [tool]}),
    );
}

#[test]
fn requests_of_ollama_are_as_the_document_says() {
    let message = json!({"role": "user", "content": "Hi"});
    let chat = json!({"model": "stub", "messages": [message], "stream": false});
    check("/api/chat", "OllamaChatRequest", &chat);
    let generate = json!({"model": "stub", "prompt": "x", "stream": false});
    check("/api/generate", "OllamaGenerateRequest", &generate);
    check(
        "/api/embed",
        "OllamaEmbedRequest",
        &json!({"model": "stub", "input": "x"}),
    );
    let embeddings = json!({"model": "stub", "prompt": "x"});
    check("/api/embeddings", "OllamaEmbeddingsRequest", &embeddings);
}
