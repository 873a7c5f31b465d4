use serde_json::{Value, json};

use super::said;
use crate::http::script::{Script, ask, call, content, done, hello, post, started};
use crate::serve::{Finish, Input, RequestError, Update};

#[test]
fn answers_are_streamed_line_by_line_unless_it_is_said_otherwise() {
    let lines = post(
        Script::new(hello),
        "/api/chat",
        &said(&json!({"tools": []})),
    )
    .lines();
    let texts: Vec<_> = lines
        .iter()
        .map(|line| line["message"]["content"].clone())
        .collect();
    assert_eq!(texts, ["Hel", "lo", ""]);
    for line in &lines {
        assert_eq!(line["model"], "stub");
        assert_eq!(line["message"]["role"], "assistant");
        assert!(
            line["created_at"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
    }
    let last = lines.last().expect("some");
    assert_eq!(
        (&last["done"], &last["done_reason"]),
        (&json!(true), &json!("stop"))
    );
    for count in [
        "total_duration",
        "prompt_eval_count",
        "eval_count",
        "eval_duration",
    ] {
        assert!(last[count].is_u64(), "{count}");
    }
    assert!(lines[..2].iter().all(|line| line["done"] == false));
    let whole = post(
        Script::new(hello),
        "/api/chat",
        &said(&json!({"stream": false})),
    )
    .json();
    assert_eq!(whole["message"]["content"], "Hello");
    assert_eq!(whole["done"], true);
    let prompt = json!({"model": "stub", "prompt": "x", "stream": false});
    let whole = post(Script::new(hello), "/api/generate", &prompt).json();
    assert_eq!(whole["response"], "Hello");
}

#[test]
fn calls_come_whole_with_objects_as_arguments() {
    let calls = || {
        let arguments = |text: &str| Update::ToolArguments(text.to_owned().into());
        vec![
            started(),
            Update::Reasoning("hm".to_owned().into()),
            call(0, "f"),
            arguments("{\"a\""),
            arguments(":1}"),
            call(1, "g"),
            done(Finish::ToolCalls),
        ]
    };
    let body = said(&json!({"tools": [{"type": "function", "function": {"name": "f"}}]}));
    let lines = post(Script::new(calls), "/api/chat", &body).lines();
    assert_eq!(lines[0]["message"]["thinking"], "hm");
    let function = |n: usize| &lines[n]["message"]["tool_calls"][0]["function"];
    assert_eq!(*function(1), json!({"name": "f", "arguments": {"a": 1}}));
    assert_eq!(*function(2), json!({"name": "g", "arguments": {}}));
    assert_eq!(lines[3]["done_reason"], "stop");
    let mut whole = body;
    whole["stream"] = false.into();
    let whole = post(Script::new(calls), "/api/chat", &whole).json();
    assert_eq!(
        whole["message"]["tool_calls"].as_array().map(Vec::len),
        Some(2)
    );
}

#[test]
fn errors_are_texts_before_the_first_line_and_after_it() {
    let fails = || {
        vec![
            started(),
            content("Hel"),
            Update::Failed(RequestError::Stopping),
        ]
    };
    let lines = post(Script::new(fails), "/api/chat", &said(&json!({}))).lines();
    assert!(lines.last().expect("some")["error"].is_string());
    for body in [
        json!({"model": "none", "messages": [{"role": "user", "content": "x"}]}),
        json!({"messages": [{"role": "user", "content": "x"}]}),
        said(&json!({"options": {"temperature": -1}})),
        said(&json!({"format": "yaml"})),
        json!({"model": "stub", "messages": [{"role": "user", "content": "x", "images": ["aaaa"]}]}),
    ] {
        let answered = post(Script::new(hello), "/api/chat", &body);
        assert!(answered.status.is_client_error(), "{body}");
        assert!(answered.json()["error"].is_string());
    }
}

#[test]
fn a_request_without_words_loads_or_lets_go() {
    for (body, reason) in [
        (json!({"model": "stub"}), "load"),
        (json!({"model": "stub", "keep_alive": 0}), "unload"),
    ] {
        for path in ["/api/generate", "/api/chat"] {
            let answer = post(Script::new(hello), path, &body).json();
            assert_eq!(
                (&answer["done"], &answer["done_reason"]),
                (&json!(true), &json!(reason))
            );
        }
    }
}

#[test]
fn a_prompt_is_a_conversation_unless_it_is_raw() {
    let asked = |more: Value| {
        let mut body = json!({"model": "stub", "prompt": "x"});
        let more = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(more);
        let script = Script::new(hello);
        let asked = std::sync::Arc::clone(&script.asked);
        let status = post(script, "/api/generate", &body).status;
        let is_text = asked
            .lock()
            .expect("no panic")
            .first()
            .map(|request| matches!(request.input, Input::Text(_)));
        (status.as_u16(), is_text)
    };
    assert_eq!(asked(json!({"raw": true})), (200, Some(true)));
    // The script's model has no template.
    assert_eq!(asked(json!({})), (200, Some(true)));
    for refused in [
        json!({"raw": true, "system": "s"}),
        json!({"suffix": "s"}),
        json!({"template": "t"}),
        json!({"context": [1]}),
        json!({"images": ["aaaa"]}),
    ] {
        assert_eq!(asked(refused.clone()), (400, None), "{refused}");
    }
    assert_eq!(
        asked(json!({"context": [], "suffix": "", "images": []})).0,
        200
    );
}

#[test]
fn models_are_shown_by_either_name_of_the_field() {
    for body in [
        json!({"name": "stub"}),
        json!({"model": "stub", "verbose": true}),
    ] {
        let shown = post(Script::new(hello), "/api/show", &body).json();
        assert_eq!(shown["details"]["format"], "gguf");
        assert!(shown["model_info"].is_object() && shown["capabilities"].is_array());
    }
    assert_eq!(
        post(Script::new(hello), "/api/show", &json!({})).status,
        400
    );
    let tags = ask(Script::new(hello), "GET", "/api/tags", &Value::Null).json();
    let model = &tags["models"][0];
    for field in ["name", "model", "modified_at", "size", "digest", "details"] {
        assert!(!model[field].is_null(), "{field}");
    }
}

#[test]
fn vectors_are_lists_of_numbers() {
    let body = json!({"model": "stub", "input": ["a", "b"], "options": {"temperature": null}});
    let answer = post(Script::new(hello), "/api/embed", &body).json();
    assert_eq!(answer["embeddings"].as_array().map(Vec::len), Some(2));
    let old = json!({"model": "stub", "prompt": "a"});
    let answer = post(Script::new(hello), "/api/embeddings", &old).json();
    assert_eq!(answer["embedding"].as_array().map(Vec::len), Some(2));
}
