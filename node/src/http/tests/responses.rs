use serde_json::{Value, json};

use crate::http::script::{Script, call, content, done, hello, post, started};
use crate::serve::{Finish, RequestError, Update};

const PATH: &str = "/v1/responses";

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect()
}

#[test]
fn a_whole_response_has_its_items() {
    let body = json!({"model": "stub", "input": "hi", "instructions": "sys"});
    let answer = post(Script::new(hello), PATH, &body).json();
    assert_eq!(answer["object"], "response");
    assert_eq!(answer["status"], "completed");
    let item = &answer["output"][0];
    assert_eq!(
        (&item["type"], &item["role"]),
        (&json!("message"), &json!("assistant"))
    );
    let part = &item["content"][0];
    assert_eq!(
        (&part["text"], &part["annotations"]),
        (&json!("Hello"), &json!([]))
    );
    assert_eq!(answer["usage"]["total_tokens"], 13);
    assert_eq!(answer["usage"]["input_tokens_details"]["cached_tokens"], 4);
    for field in [
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "created_at",
        "error",
    ] {
        assert!(answer.get(field).is_some(), "{field}");
    }
}

#[test]
fn events_come_in_the_order_in_which_clients_put_them_together() {
    let body = json!({"model": "stub", "input": "hi", "stream": true});
    let answered = post(Script::new(hello), PATH, &body);
    let events = answered.events();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(types(&events), expected);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let name = event["type"].as_str().expect("a name");
        assert!(answered.text.contains(&format!("event: {name}\n")));
    }
    assert_eq!(events[6]["text"], "Hello");
    assert_eq!(
        events[9]["response"]["output"][0]["content"][0]["text"],
        "Hello"
    );
    assert_eq!(events[9]["response"]["id"], events[0]["response"]["id"]);
    assert_eq!(events[4]["item_id"], events[8]["item"]["id"]);
}

#[test]
fn thoughts_and_calls_are_items_of_their_own() {
    let script = || {
        let thought = Update::Reasoning("hm".to_owned().into());
        let arguments = Update::ToolArguments("{\"a\":1}".to_owned().into());
        let end = done(Finish::ToolCalls);
        vec![
            started(),
            thought,
            call(0, "f"),
            arguments,
            call(1, "g"),
            end,
        ]
    };
    let tools = json!([{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]);
    let body = json!({"input": "hi", "stream": true, "include": [], "tools": tools});
    let events = post(Script::new(script), PATH, &body).events();
    let added: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.added")
        .map(|event| (event["output_index"].clone(), event["item"]["type"].clone()))
        .collect();
    let expected = [
        (json!(0), json!("reasoning")),
        (json!(1), json!("function_call")),
        (json!(2), json!("function_call")),
    ];
    assert_eq!(added, expected);
    let output = &events.last().expect("some")["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "hm");
    assert_eq!(output[1]["arguments"], "{\"a\":1}");
    assert_eq!(output[2]["arguments"], "{}");
    assert_eq!(output[2]["call_id"], "call_1");
    let whole = json!({"input": "hi", "tools": tools});
    let whole = post(Script::new(script), PATH, &whole).json();
    let kinds: Vec<_> = whole["output"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| item["type"].clone())
        .collect();
    assert_eq!(kinds, ["reasoning", "function_call", "function_call"]);
}

#[test]
fn an_answer_that_is_cut_says_so_and_a_failure_is_an_event() {
    let cut = || vec![started(), content("Hel"), done(Finish::Length)];
    let events = post(
        Script::new(cut),
        PATH,
        &json!({"input": "hi", "stream": true}),
    )
    .events();
    let last = events.last().expect("some");
    assert_eq!(last["type"], "response.incomplete");
    let reason = &last["response"]["incomplete_details"]["reason"];
    assert_eq!(*reason, "max_output_tokens");
    let fails = || {
        let failed = Update::Failed(RequestError::Stopping);
        vec![started(), content("Hel"), failed]
    };
    let events = post(
        Script::new(fails),
        PATH,
        &json!({"input": "hi", "stream": true}),
    )
    .events();
    let last = events.last().expect("some");
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("stopping"))
    );
}

#[test]
fn what_is_not_kept_or_not_done_is_refused_by_name() {
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("background", json!(true)),
        ("truncation", json!("auto")),
        ("include", json!(["message.output_text.logprobs"])),
    ] {
        let body = json!({"input": "hi", field: value});
        let answered = post(Script::new(hello), PATH, &body);
        assert_eq!(answered.status, 400, "{field}");
        assert_eq!(answered.json()["error"]["param"], field);
    }
}
