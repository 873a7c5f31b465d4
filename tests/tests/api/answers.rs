//! What is answered is what was asked for.

use potluck_tests::content_of;
use serde_json::{Value, json};

use super::{CHAT, open, said};

const GREEDY: f64 = 0.0;

#[test]
fn both_dialects_and_the_command_line_give_the_same_words() {
    let served = open(&[]);
    let question = "What is the capital of France?";
    let body = said(question, json!({"temperature": GREEDY, "max_tokens": 16}));
    let answer = served.post(CHAT, &body).json();
    let text = answer["choices"][0]["message"]["content"].clone();
    let arguments = ["run", "--greedy", "-n", "16", "--json", "--alone", question];
    let told = served.device().potluck(arguments).success().json();
    assert_eq!(text, told["text"]);
    assert_eq!(
        answer["usage"]["completion_tokens"],
        told["token_ids"].as_array().expect("ids").len()
    );

    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let events = served.post(CHAT, &streamed).events();
    assert_eq!(text, content_of(&events));
    let last = events.last().expect("some");
    assert_eq!(
        (&last["choices"], last["usage"].is_object()),
        (&json!([]), true)
    );

    let mut lines = said(question, json!({"model": "smollm2:135m"}));
    lines["options"] = json!({"temperature": 0, "num_predict": 16});
    let lines = served.post("/api/chat", &lines).lines();
    let words = lines
        .iter()
        .filter_map(|line| line["message"]["content"].as_str());
    assert_eq!(text, words.collect::<String>());
    let body = json!({"input": question, "temperature": 0, "max_output_tokens": 16});
    let response = served.post("/v1/responses", &body).json();
    assert_eq!(response["output"][0]["content"][0]["text"], text);
}

#[test]
fn the_next_turn_of_a_conversation_reads_only_what_is_new() {
    let served = open(&[]);
    let long = "Tell me about the sea. ".repeat(20);
    let first = said(&long, json!({"temperature": GREEDY, "max_tokens": 8}));
    let answer = served.post(CHAT, &first).json();
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let prompt = answer["usage"]["prompt_tokens"].as_u64().expect("a number");
    let mut second = first.clone();
    let messages = second["messages"].as_array_mut().expect("messages");
    messages.push(answer["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "And the land?"}));
    let answer = served.post(CHAT, &second).json();
    let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(
        cached.is_some_and(|cached| cached + 8 >= prompt),
        "{answer}"
    );
    // And the same words as without.
    let fresh = open(&[]);
    let again = fresh.post(CHAT, &second).json();
    assert_eq!(again["choices"], answer["choices"]);
}

#[test]
fn schemas_and_tools_are_kept_to() {
    let served = open(&[]);
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["city", "temp"],
        "properties": {"city": {"type": "string", "maxLength": 20}, "temp": {"type": "integer"}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "W", "schema": schema, "strict": true}});
    let body = said(
        "The weather in Paris?",
        json!({"response_format": format, "seed": 1, "max_tokens": 200}),
    );
    let answer = served.post(CHAT, &body).json();
    let text = answer["choices"][0]["message"]["content"]
        .as_str()
        .expect("text");
    let object: Value = serde_json::from_str(text).expect("JSON");
    assert!(
        object["city"].is_string() && object["temp"].is_i64(),
        "{object}"
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");

    let weather = json!({"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
        "additionalProperties": false,
    }}});
    let more = json!({"tools": [weather], "tool_choice": "required", "seed": 1, "stream": true,
        "max_tokens": 200});
    let events = served
        .post(CHAT, &said("The weather in Paris?", more))
        .events();
    let calls: Vec<_> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"][0].as_object())
        .collect();
    assert_eq!(calls[0]["function"]["name"], "get_weather");
    assert!(calls[0]["id"].as_str().is_some_and(|id| !id.is_empty()));
    let first = calls[0]["index"].clone();
    let arguments = calls.iter().filter(|call| call["index"] == first);
    let arguments = arguments.filter_map(|call| call["function"]["arguments"].as_str());
    let arguments: Value = serde_json::from_str(&arguments.collect::<String>()).expect("JSON");
    assert!(arguments["city"].is_string(), "{arguments}");
    let last = &events.last().expect("some")["choices"][0]["finish_reason"];
    assert_eq!(*last, "tool_calls");
}

#[test]
fn answers_end_at_stop_texts_and_tell_how_likely_their_tokens_were() {
    let served = open(&[]);
    let count = "1, 2, 3, 4, 5, 6,";
    let body = json!({"prompt": count, "temperature": 0, "max_tokens": 30, "stop": [" 9", "99"]});
    let answer = served.post("/v1/completions", &body).json();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!(" 7, 8,"), &json!("stop"))
    );
    let body =
        json!({"prompt": count, "temperature": 0, "max_tokens": 2, "logprobs": 2, "echo": false});
    let answer = served.post("/v1/completions", &body).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    let tokens = choice["logprobs"]["tokens"].as_array().expect("tokens");
    let text: String = tokens.iter().filter_map(Value::as_str).collect();
    assert_eq!(choice["text"], text);
    let likely = &choice["logprobs"]["token_logprobs"][0];
    assert!(
        likely
            .as_f64()
            .is_some_and(|logprob| (-5.0..=0.0).contains(&logprob))
    );
    // A token that is made impossible does not come.
    let more = json!({"temperature": 0, "max_tokens": 1, "logprobs": true, "top_logprobs": 2});
    let answer = served.post(CHAT, &said("Say yes.", more.clone())).json();
    let top = &answer["choices"][0]["logprobs"]["content"][0];
    assert_eq!(top["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(top["token"], top["top_logprobs"][0]["token"]);
    let arguments = [
        "run", "--greedy", "-n", "1", "--json", "--alone", "Say yes.",
    ];
    let first = served.device().potluck(arguments).success().json()["token_ids"][0].clone();
    let mut biased = more;
    biased["logit_bias"] = json!({first.to_string(): -100});
    let answer = served.post(CHAT, &said("Say yes.", biased)).json();
    let chosen = &answer["choices"][0]["logprobs"]["content"][0]["token"];
    assert_ne!(*chosen, top["token"]);
}

#[test]
fn models_are_listed_before_one_is_loaded_and_shown_in_both_dialects() {
    let served = open(&["--alias", "gpt-4o-mini=smollm2:135m"]);
    let list = served.get("/v1/models").json();
    let names: Vec<_> = list["data"]
        .as_array()
        .expect("models")
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(names, ["smollm2:135m", "gpt-4o-mini"]);
    assert!(list["data"][0]["created"].as_u64() > Some(0));
    assert_eq!(served.get("/v1/models/gpt-4o-mini").status, 200);
    let tags = served.get("/api/tags").json();
    assert_eq!(tags["models"][0]["size"], 98_362_432);
    let shown = served
        .post("/api/show", &json!({"name": "smollm2:135m"}))
        .json();
    let info = &shown["model_info"];
    assert_eq!(info["general.architecture"], "llama");
    assert_eq!(info["llama.context_length"], 8192);
    assert_eq!(served.get("/api/ps").json()["models"], json!([]));
    let loading = served
        .post("/api/generate", &json!({"model": "gpt-4o-mini"}))
        .json();
    assert_eq!(loading["done_reason"], "load");
    let loaded = served.get("/api/ps").json();
    assert_eq!(
        loaded["models"].as_array().map(Vec::len),
        Some(1),
        "{loaded}"
    );
    let letting_go = json!({"model": "smollm2:135m", "keep_alive": 0});
    let answer = served.post("/api/generate", &letting_go).json();
    assert_eq!(answer["done_reason"], "unload");
    served.await_number("potluck_models_loaded ", |models| models == 0);
}

#[test]
fn texts_become_vectors_that_are_the_same_in_every_way_to_ask() {
    let served = open(&[]);
    let model = "smollm2:135m";
    let body = json!({"model": model, "input": ["the sea", "the land"]});
    let answer = served.post("/v1/embeddings", &body).json();
    let vector = |n: usize| -> Vec<f32> {
        serde_json::from_value(answer["data"][n]["embedding"].clone()).expect("numbers")
    };
    assert_eq!(vector(0).len(), 576);
    let length: f32 = vector(0).iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-3, "{length}");
    let lines = served.post("/api/embed", &body).json();
    let other: Vec<Vec<f32>> =
        serde_json::from_value(lines["embeddings"].clone()).expect("numbers");
    assert_eq!(other, [vector(0), vector(1)]);
    let mut coded = body;
    coded["encoding_format"] = "base64".into();
    let coded = served.post("/v1/embeddings", &coded).json();
    let text = coded["data"][1]["embedding"]
        .as_str()
        .expect("text")
        .to_owned();
    assert_eq!(text.len(), (576_usize * 4).div_ceil(3) * 4);
}
