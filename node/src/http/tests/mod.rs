//! Responses of the API, by dialect.

mod document;
mod ollama;
mod openai;
mod responses;

use serde_json::{Value, json};

use super::script::{Script, ask, hello, post};
use crate::serve::{RequestError, Update};

/// A conversation with one message.
fn said(more: &Value) -> Value {
    let mut body = json!({"model": "stub", "messages": [{"role": "user", "content": "Say hello"}]});
    let more = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(more);
    body
}

#[test]
fn every_path_answers_in_its_dialect_and_unknown_ones_are_not_found() {
    for (path, is_text) in [
        ("/api/pull", true),
        ("/v1/audio/speech", false),
        ("/x", false),
    ] {
        let answered = ask(Script::new(hello), "POST", path, &json!({}));
        assert_eq!(answered.status, 404, "{path}");
        assert_eq!(answered.json()["error"].is_string(), is_text, "{path}");
    }
    let pulled = ask(Script::new(hello), "POST", "/api/pull", &json!({})).json();
    let words = pulled["error"].as_str().expect("words");
    assert!(words.contains("`potluck pull NAME`"), "{words}");
    let wrong = ask(
        Script::new(hello),
        "GET",
        "/v1/chat/completions",
        &Value::Null,
    );
    assert_eq!(wrong.status, 405);
    assert!(wrong.json()["error"]["message"].is_string());
    for path in [
        "/",
        "/health",
        "/metrics",
        "/openapi.json",
        "/api/version",
        "/api/ps",
    ] {
        let answered = ask(Script::new(hello), "GET", path, &Value::Null);
        assert_eq!(answered.status, 200, "{path}");
    }
    let head = ask(Script::new(hello), "HEAD", "/", &Value::Null);
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    let version = ask(Script::new(hello), "GET", "/api/version", &Value::Null).json();
    let version = version["version"].as_str().expect("a version").to_owned();
    assert_eq!(
        version
            .split('.')
            .filter(|part| part.parse::<u32>().is_ok())
            .count(),
        3
    );
}

#[test]
fn a_model_is_found_by_a_name_with_a_slash() {
    for path in ["/v1/models/org%2Fname:tag", "/models/org/name:tag"] {
        let model = ask(Script::new(hello), "GET", path, &Value::Null).json();
        assert_eq!(model["id"], "org/name:tag");
        assert!(model["created"].is_u64() && model["object"] == "model");
    }
    let list = ask(Script::new(hello), "GET", "/v1/models", &Value::Null).json();
    assert_eq!(list["data"][0]["id"], "stub");
    let none = ask(Script::new(hello), "GET", "/v1/models/none", &Value::Null);
    assert_eq!(none.status, 404);
    assert_eq!(none.json()["error"]["code"], "model_not_found");
    let odd = ask(Script::new(hello), "GET", "/v1/models/%ff", &Value::Null);
    assert_eq!(odd.status, 400);
    assert!(odd.json()["error"]["message"].is_string());
    let long = said(&json!({"model": "x".repeat(1000)}));
    assert_eq!(
        post(Script::new(hello), "/v1/completions", &long).status,
        400
    );
    let long = post(Script::new(hello), "/v1/chat/completions", &long);
    assert!(long.status == 400 && long.text.len() < 300);
}

#[test]
fn a_request_that_is_refused_has_a_status_whether_it_is_streamed_or_not() {
    for (error, status) in [
        (
            RequestError::TooLong {
                tokens: 9,
                context: 8,
            },
            400,
        ),
        (
            RequestError::Busy {
                waiting: 3,
                retry_after: std::time::Duration::from_secs(2),
            },
            429,
        ),
        (RequestError::Stopping, 503),
        (
            RequestError::NoDevices {
                message: "kitchen is away".to_owned(),
            },
            503,
        ),
        (
            RequestError::NoMemory {
                message: "another model has it".to_owned(),
            },
            503,
        ),
        (
            RequestError::Failed {
                message: "it broke".to_owned(),
            },
            500,
        ),
    ] {
        for stream in [false, true] {
            for path in ["/v1/chat/completions", "/api/chat"] {
                let body = said(&json!({"stream": stream}));
                let refused = Script {
                    refuses: Some(error.clone()),
                    ..Script::new(hello)
                };
                assert_eq!(post(refused, path, &body).status, status);
                let late = error.clone();
                let failed = Script::new(move || {
                    let before = Update::Waiting { before: 2 };
                    vec![before, Update::Failed(late.clone())]
                });
                let answered = post(failed, path, &body);
                assert_eq!(answered.status, status, "{path} {stream}");
                let may_later = [429, 503].contains(&status);
                let fault = super::fault::Fault::from(error.clone());
                assert_eq!(fault.retry_after.is_some(), may_later, "{path} {stream}");
                assert!(answered.json()["error"].is_string() == path.starts_with("/api"));
            }
        }
    }
}

#[test]
fn an_answer_that_is_not_awaited_is_dropped() {
    let script = Script {
        endless: true,
        ..Script::new(|| hello()[..3].iter().map(copied).collect())
    };
    let under_way = std::sync::Arc::clone(&script.open);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        use futures_util::StreamExt as _;
        use hyper::service::Service as _;
        let router = super::routes::router(super::script::api(script));
        let service = hyper_util::service::TowerToHyperService::new(router);
        let request = axum::http::Request::builder()
            .method("POST")
            .uri("/v1/chat/completions")
            .header("host", "localhost")
            .body(axum::body::Body::from(
                said(&json!({"stream": true})).to_string(),
            ))
            .expect("a request");
        let response = service.call(request).await.expect("an answer");
        let mut parts = response.into_body().into_data_stream();
        assert!(parts.next().await.is_some());
        drop(service);
        // This test's handle, and the open answer's.
        assert_eq!(std::sync::Arc::strong_count(&under_way), 2);
        drop(parts);
        assert_eq!(std::sync::Arc::strong_count(&under_way), 1);
    });
}

fn copied(update: &Update) -> Update {
    match update {
        Update::Content { text, tokens } => Update::Content {
            text: text.clone(),
            tokens: tokens.clone(),
        },
        _ => super::script::started(),
    }
}
