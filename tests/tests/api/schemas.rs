//! Answers are of the schemas that real libraries write, or these are refused by name. All of them, with
//! an independent validator and generated ones: `tests/compare/schemas.py`.

use std::fs;

use potluck_tests::{Client, workspace};
use serde_json::{Value, json};

use super::{CHAT, open, said};

/// The cases of `tests/data/schemas.jsonl`.
fn cases() -> Vec<Value> {
    let file = workspace().join("tests/data/schemas.jsonl");
    let text = fs::read_to_string(file).expect("the schemas");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn asked(case: &Value) -> Value {
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "a", "schema": case["schema"]}});
    let more = json!({"response_format": format, "max_tokens": 600, "seed": 1, "stream": true});
    said(case["ask"].as_str().expect("words"), more)
}

/// What the model answers.
fn value_of(served: &Client, cases: &[Value], name: &str) -> Value {
    let case = cases.iter().find(|case| case["name"] == name);
    let events = served.post(CHAT, &asked(case.expect("a case"))).events();
    let text = potluck_tests::content_of(&events);
    let last = events.last().expect("an end");
    assert_eq!(
        last["choices"][0]["finish_reason"], "stop",
        "{name}: {text}"
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
}

fn is_text(value: &Value, least: usize, most: usize) -> bool {
    value
        .as_str()
        .is_some_and(|text| (least..=most).contains(&text.chars().count()))
}

fn is_number(value: &Value, least: f64, most: f64) -> bool {
    value
        .as_f64()
        .is_some_and(|number| (least..=most).contains(&number))
}

/// Whether an object has these names and no others.
fn has_only(value: &Value, needed: &[&str], others: &[&str]) -> bool {
    let Some(fields) = value.as_object() else {
        return false;
    };
    let is_known =
        |name: &String| needed.contains(&name.as_str()) || others.contains(&name.as_str());
    fields.keys().all(is_known) && needed.iter().all(|name| fields.contains_key(*name))
}

fn all(value: &Value, is_right: impl Fn(&Value) -> bool) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().all(is_right))
}

/// What is right of a case's answer.
type Check = fn(&Value) -> bool;

const CHECKS: [(&str, Check); 12] = [
    ("pydantic-pets-discriminated", |value| {
        has_only(value, &["pets"], &[])
            && all(&value["pets"], |pet| match pet["kind"].as_str() {
                Some("cat") => {
                    has_only(pet, &["kind", "name", "lives"], &[])
                        && is_number(&pet["lives"], 0.0, 9.0)
                }
                Some("dog") => {
                    has_only(pet, &["kind", "name", "breed"], &[]) && is_text(&pet["breed"], 0, 30)
                }
                _ => false,
            })
    }),
    ("pydantic-decimal-places", |value| match &value["price"] {
        Value::String(text) => text.parse::<f64>().is_ok(),
        price => is_number(price, f64::MIN_POSITIVE, 100.0),
    }),
    ("pydantic-review", |value| {
        has_only(value, &["summary", "stars", "would_return"], &["tags"])
            && is_text(&value["summary"], 10, 120)
            && is_number(&value["stars"], 1.0, 5.0)
            && value["would_return"].is_boolean()
    }),
    ("zod-signup", |value| {
        let address = value["email"]
            .as_str()
            .and_then(|text| text.split_once('@'));
        has_only(value, &["email", "newsletter", "age"], &[])
            && address.is_some_and(|(name, host)| {
                !name.is_empty() && !name.contains("..") && host.contains('.')
            })
            && value["age"].as_i64().is_some_and(|age| age >= 18)
    }),
    ("zod-enum-record", |value| {
        has_only(&value["hours"], &["sat", "sun"], &[]) && is_text(&value["hours"]["sat"], 11, 11)
    }),
    ("zod-positive", |value| {
        let is_above_zero = |name: &str| value[name].as_f64().is_some_and(|number| number > 0.0);
        ["kg", "fraction", "half"]
            .iter()
            .all(|name| is_above_zero(name))
            && is_number(&value["half"], 0.0, 0.5)
            && value["fraction"].as_f64() < Some(1.0)
    }),
    ("typescript-generic", |value| {
        has_only(value, &["items", "page"], &[])
            && all(&value["items"], |user| {
                has_only(user, &["login"], &["admin"]) && is_text(&user["login"], 3, 15)
            })
    }),
    ("schemars-enum", |value| {
        *value == "Nothing"
            || has_only(value, &["Circle"], &[])
                && is_number(&value["Circle"]["radius"], 0.0, 1000.0)
            || has_only(value, &["Square"], &[]) && is_number(&value["Square"]["side"], 0.0, 1000.0)
    }),
    ("schemars-unsigned", |value| {
        has_only(value, &["name", "size"], &["mode"]) && value["size"].is_u64()
    }),
    ("openapi-components", |value| {
        has_only(value, &["name", "category"], &["photoUrls"])
            && is_text(&value["category"]["name"], 0, 20)
    }),
    ("password-rules", |value| {
        let text = value["password"].as_str().unwrap_or_default();
        (8..=16).contains(&text.len())
            && [char::is_lowercase, char::is_uppercase, char::is_numeric]
                .iter()
                .all(|is| text.contains(*is))
    }),
    ("quoted-names", |value| {
        has_only(value, &["a \"b\"", "c\\d", "e\nf"], &[]) && value["e\nf"] == "g\th"
    }),
];

#[test]
fn answers_are_of_the_schemas_that_libraries_write() {
    let served = open(&[]);
    let cases = cases();
    std::thread::scope(|scope| {
        for checks in CHECKS.chunks(3) {
            let (served, cases): (&Client, _) = (&served, &cases);
            scope.spawn(move || {
                for (name, is_right) in checks {
                    let value = value_of(served, cases, name);
                    assert!(is_right(&value), "{name}: {value}");
                }
            });
        }
    });
}

#[test]
fn schemas_that_cannot_be_kept_to_are_refused_by_name() {
    let served = open(&[]);
    let cases = cases();
    let refused: Vec<_> = cases
        .iter()
        .filter(|case| case["refused"].is_string())
        .collect();
    assert!(refused.len() >= 7);
    for case in refused {
        let answer = served.post(CHAT, &asked(case));
        assert_eq!(answer.status, 400, "{case}");
        let error = answer.json()["error"].clone();
        let words = case["refused"].as_str().expect("words");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| message.contains(words)),
            "{error}"
        );
        assert_eq!(error["param"], "response_format");
    }
}

#[test]
fn a_grammar_that_is_too_complex_to_follow_is_an_error_of_the_request() {
    let served = open(&[]);
    for regex in ["((a{1,100}){1,100}){1,100}", "[^\\s\\S]"] {
        let format = json!({"type": "regex", "regex": regex});
        let more = json!({"response_format": format, "max_tokens": 8, "temperature": 0});
        let answer = served.post(CHAT, &said("Hi", more));
        assert_eq!(answer.status, 400, "{regex}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
}
