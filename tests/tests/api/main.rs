//! The HTTP API with real models and raw bytes: what clients send and need.
#![cfg(unix)]

mod answers;
mod ends;
mod guests;
mod many;
mod recorded;
mod refused;
mod schemas;
mod split;

use potluck_tests::{Device, Served};
use serde_json::{Value, json};

/// A device with the default model that lets everybody in.
fn open(options: &[&str]) -> Served {
    let device = Device::with_model("smollm2:135m");
    let always = ["--open", "--threads", "1"];
    let options: Vec<_> = always.iter().chain(options).copied().collect();
    Served::start(device, &options)
}

/// A conversation of one message, with more fields.
fn said(text: &str, more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": text}]});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}

const CHAT: &str = "/v1/chat/completions";

/// A request whose answer takes longer than any test.
fn endless() -> Value {
    said(
        "1, 2, 3, 4, 5",
        json!({"max_tokens": 8000, "stream": true, "temperature": 0,
        "logit_bias": {"2": -100, "0": -100}}),
    )
}
