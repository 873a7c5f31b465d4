use serde_json::{Value, json};

use super::said;
use crate::http::script::{Script, ask, call, content, done, hello, post, started};
use crate::serve::{Finish, Format, Input, RequestError, ToolChoice, Update};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_streamed_answer_has_the_shape_that_clients_put_together() {
    let body = said(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answered = post(Script::new(hello), CHAT, &body);
    assert_eq!(answered.status, 200);
    assert!(answered.text.starts_with(": keep-alive\n\n"));
    assert!(answered.text.ends_with("\n\ndata: [DONE]\n\n"));
    let events = answered.events();
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["id"], events[0]["id"]);
        assert!(event["created"].is_u64() && event["model"] == "stub");
    }
    let delta = |n: usize| &events[n]["choices"][0]["delta"];
    assert_eq!(*delta(0), json!({"role": "assistant", "content": ""}));
    assert_eq!(*delta(1), json!({"content": "Hel"}));
    assert_eq!(*delta(2), json!({"content": "lo"}));
    assert_eq!(*delta(3), json!({}));
    let reasons: Vec<_> = events[..4]
        .iter()
        .map(|event| event["choices"][0]["finish_reason"].clone())
        .collect();
    assert_eq!(
        reasons,
        [Value::Null, Value::Null, Value::Null, json!("stop")]
    );
    assert_eq!(events[4]["choices"], json!([]));
    assert_eq!(events[4]["usage"]["total_tokens"], 13);
    assert_eq!(events.len(), 5);
    let without = post(Script::new(hello), CHAT, &said(&json!({"stream": true})));
    let events = without.events();
    assert!(events.len() == 4 && events.iter().all(|event| event["usage"].is_null()));
}

#[test]
fn a_whole_answer_has_its_usage_and_logprobs_if_they_are_asked_for() {
    let answer = post(Script::new(hello), CHAT, &said(&json!({}))).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Hello");
    assert_eq!(choice["finish_reason"], "stop");
    assert!(choice["logprobs"].is_null());
    let usage = json!({
        "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    });
    assert_eq!(answer["usage"], usage);
    let asked = said(&json!({"logprobs": true, "top_logprobs": 2}));
    let script = Script::new(hello);
    let requests = std::sync::Arc::clone(&script.asked);
    let answer = post(script, CHAT, &asked).json();
    let token = &answer["choices"][0]["logprobs"]["content"][0];
    assert_eq!(token["token"], "Hel");
    assert_eq!(token["bytes"], json!([72, 101, 108]));
    assert_eq!(token["top_logprobs"][0]["logprob"], -0.5);
    assert_eq!(requests.lock().expect("no panic")[0].logprobs, Some(2));
}

#[test]
fn tool_calls_are_streamed_as_clients_put_them_together() {
    let calls = || {
        let arguments = |text: &str| Update::ToolArguments(text.to_owned().into());
        vec![
            started(),
            call(0, "get_weather"),
            arguments("{\"city\":"),
            arguments("\"Paris\"}"),
            call(1, "now"),
            done(Finish::ToolCalls),
        ]
    };
    let tool = json!({"type": "function", "function": {"name": "get_weather"}});
    let body = said(&json!({"stream": true, "tools": [tool], "tool_choice": "required"}));
    let events = post(Script::new(calls), CHAT, &body).events();
    let calls_of: Vec<_> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"])
        .filter(|calls| !calls.is_null())
        .collect();
    let begun = json!([{"index": 0, "id": "call_0", "type": "function",
        "function": {"name": "get_weather", "arguments": ""}}]);
    assert_eq!(*calls_of[0], begun);
    assert!(
        calls_of
            .iter()
            .all(|calls| calls.as_array().is_some_and(|all| all.len() == 1))
    );
    let mut assembled = ["".to_owned(), "".to_owned()];
    for calls in calls_of {
        let index = calls[0]["index"].as_u64().expect("an index") as usize;
        assembled[index] += calls[0]["function"]["arguments"].as_str().expect("text");
    }
    assert_eq!(assembled, ["{\"city\":\"Paris\"}", "{}"]);
    let last = events.last().expect("some");
    assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    let whole = post(Script::new(calls), CHAT, &said(&json!({}))).json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["tool_calls"][1]["function"]["arguments"], "{}");
    assert!(message["content"].is_null());
}

#[test]
fn thoughts_have_both_names() {
    let thoughts = || {
        let thought = Update::Reasoning("hm".to_owned().into());
        vec![started(), thought, content("Yes"), done(Finish::Length)]
    };
    let events = post(Script::new(thoughts), CHAT, &said(&json!({"stream": true}))).events();
    let delta = &events[1]["choices"][0]["delta"];
    assert_eq!(
        *delta,
        json!({"reasoning_content": "hm", "reasoning": "hm"})
    );
    let whole = post(Script::new(thoughts), CHAT, &said(&json!({}))).json();
    assert_eq!(whole["choices"][0]["message"]["reasoning_content"], "hm");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_failure_after_the_first_byte_is_an_error_frame_and_the_end() {
    let fails = || {
        let message = "it broke".to_owned();
        let failed = Update::Failed(RequestError::Failed { message });
        vec![started(), content("Hel"), failed]
    };
    let answered = post(Script::new(fails), CHAT, &said(&json!({"stream": true})));
    assert_eq!(answered.status, 200);
    let events = answered.events();
    let error = &events.last().expect("some")["error"];
    assert_eq!(error["code"], "failed");
    assert!(!answered.text.contains("[DONE]"));
    // An answer whose stream ends without a final update has failed as well.
    let lost = || vec![started(), content("Hel")];
    let answered = post(Script::new(lost), CHAT, &said(&json!({"stream": true})));
    assert!(answered.events().last().expect("some")["error"].is_object());
    assert_eq!(post(Script::new(lost), CHAT, &said(&json!({}))).status, 500);
}

#[test]
fn text_that_looks_like_frames_stays_text() {
    let text = "a\n\ndata: [DONE]\n\nb\u{2028}\"\\\u{0}é";
    let script = Script::new(move || vec![started(), content(text), done(Finish::EndOfTurn)]);
    let answered = post(script, CHAT, &said(&json!({"stream": true})));
    let events = answered.events();
    assert_eq!(events[1]["choices"][0]["delta"]["content"], text);
}

#[test]
fn several_choices_are_told_apart() {
    let body = said(&json!({"n": 3, "seed": 5, "stream": true}));
    let script = Script::new(hello);
    let asked = std::sync::Arc::clone(&script.asked);
    let events = post(script, CHAT, &body).events();
    for index in 0..3 {
        let of_it = events
            .iter()
            .filter(|event| event["choices"][0]["index"] == index);
        let text: String = of_it
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, "Hello");
    }
    let seeds: Vec<_> = asked
        .lock()
        .expect("no panic")
        .iter()
        .map(|one| one.sampling.seed)
        .collect();
    assert_eq!(seeds, [5, 6, 7]);
    let whole = post(Script::new(hello), CHAT, &said(&json!({"n": 2}))).json();
    assert_eq!(whole["choices"].as_array().map(Vec::len), Some(2));
    assert_eq!(whole["usage"]["prompt_tokens"], 10, "one prompt");
    assert_eq!(whole["usage"]["completion_tokens"], 6);
    let too_many = post(Script::new(hello), CHAT, &said(&json!({"n": 17})));
    assert_eq!(too_many.status, 400);
}

#[test]
fn what_clients_say_reaches_the_service() {
    let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
    let body = said(&json!({
        "max_completion_tokens": 50, "max_tokens": null, "stop": ["X"], "reasoning_effort": "low",
        "temperature": 0.5, "user": "me", "store": false, "metadata": {}, "parallel_tool_calls": false,
        "tools": [{"type": "function", "function": {"name": "W", "description": null}}],
        "tool_choice": {"type": "function", "function": {"name": "W"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "W", "schema": schema}},
        "chat_template_kwargs": {"enable_thinking": false}, "top_k": 40, "service_tier": "auto",
    }));
    let script = Script::new(hello);
    let asked = std::sync::Arc::clone(&script.asked);
    assert_eq!(post(script, "/chat/completions", &body).status, 200);
    let asked = asked.lock().expect("no panic");
    let request = &asked[0];
    assert_eq!((request.max_tokens, request.stop.len()), (Some(50), 1));
    assert_eq!(request.sampling.temperature, 0.5);
    assert!(matches!(&request.format, Format::JsonSchema(found) if **found == schema));
    let Input::Chat(chat) = &request.input else {
        panic!("a conversation");
    };
    assert_eq!(chat.tool_choice, ToolChoice::Named("W".to_owned()));
    assert!(!chat.parallel_tool_calls && chat.thinking == Some(false));
}

#[test]
fn what_would_change_an_answer_and_is_not_done_is_refused_by_name() {
    for (more, param) in [
        (json!({"functions": [{}]}), "functions"),
        (json!({"modalities": ["audio"]}), "modalities"),
        (
            json!({"web_search_options": {"x": 1}}),
            "web_search_options",
        ),
        (json!({"grammar": "root ::= x"}), "grammar"),
        (
            json!({"chat_template_kwargs": {"custom": 1}}),
            "chat_template_kwargs",
        ),
        (json!({"mirostat": 2}), "mirostat"),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
        ),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"top_logprobs": 2}), "logprobs"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (json!({"stream": "yes"}), "stream"),
        (json!({"model": 5}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
    ] {
        let answered = post(Script::new(hello), CHAT, &said(&more));
        assert_eq!(answered.status, 400, "{more}");
        assert_eq!(answered.json()["error"]["param"], param);
    }
    let unknown = post(Script::new(hello), CHAT, &said(&json!({"model": "none"})));
    assert_eq!(unknown.status, 404);
}

#[test]
fn texts_are_gone_on_with() {
    let path = "/v1/completions";
    let plain =
        json!({"model": "stub", "prompt": "user: Say hello\nassistant: ", "temperature": 0.1});
    let answer = post(Script::new(hello), path, &plain).json();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["text"], "Hello");
    let two = json!({"prompt": ["a", "b"], "echo": true, "stream": true,
        "stream_options": {"include_usage": true}});
    let answered = post(Script::new(hello), path, &two);
    let events = answered.events();
    let text = |index: u64| -> String {
        let of_it = events
            .iter()
            .filter(|event| event["choices"][0]["index"] == index);
        of_it
            .filter_map(|event| event["choices"][0]["text"].as_str())
            .collect()
    };
    assert_eq!([text(0), text(1)], ["aHello", "bHello"]);
    assert_eq!(events.last().expect("some")["usage"]["prompt_tokens"], 20);
    let logprobs = json!({"prompt": [1, 2, 3], "logprobs": 1});
    let answer = post(Script::new(hello), path, &logprobs).json();
    let told = &answer["choices"][0]["logprobs"];
    assert_eq!(told["tokens"], json!(["Hel", "lo"]));
    assert_eq!(told["text_offset"], json!([0, 3]));
    for wrong in [
        json!({"prompt": []}),
        json!({}),
        json!({"prompt": "a", "suffix": "b"}),
        json!({"prompt": "a", "best_of": 3}),
        json!({"prompt": ["a", 1]}),
        json!({"prompt": ["a", "b"], "n": 9}),
    ] {
        assert_eq!(
            post(Script::new(hello), path, &wrong).status,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn vectors_are_numbers_or_base64() {
    let path = "/v1/embeddings";
    let numbers = json!({"model": "stub", "input": "a"});
    let answer = post(Script::new(hello), path, &numbers).json();
    assert_eq!(answer["data"][0]["embedding"][0], 0.6_f32);
    assert_eq!(answer["usage"]["prompt_tokens"], 7);
    let coded = json!({"model": "stub", "input": ["a", "b"], "encoding_format": "base64"});
    let answer = post(Script::new(hello), path, &coded).json();
    assert_eq!(answer["data"][1]["embedding"], "mpkZP83MTL8=");
    let longer = json!({"input": "a", "dimensions": 5});
    assert_eq!(post(Script::new(hello), path, &longer).status, 400);
    let ids = json!({"input": [[1, 2]], "encoding_format": "base64"});
    assert_eq!(post(Script::new(hello), path, &ids).status, 400);
}

#[test]
fn malformed_json_is_refused_in_the_shape_of_the_dialect() {
    for (path, is_text) in [(CHAT, false), ("/api/chat", true), ("/v1/responses", false)] {
        for body in [json!([1]), json!("x"), Value::Null] {
            let answered = ask(Script::new(hello), "POST", path, &body);
            assert_eq!(answered.status, 400, "{path} {body}");
            assert_eq!(answered.json()["error"].is_string(), is_text);
        }
    }
}
