//! Answers that the devices of a circle compute together: the words are those of one device alone,
//! whatever happens to the others.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use potluck_tests::{Client, ServedCircle, content_of};
use serde_json::{Value, json};

use super::{CHAT, endless, open, said};

const NAMES: [&str; 2] = ["kitchen", "tablet"];
const MEMORY: &str = "400M";
/// Two helpers have all layers, and whoever is there takes over.
const OVER_TWO: [&str; 2] = ["--placement", "kitchen:0..15,tablet:15..30,*"];

fn over_two(options: &[&str]) -> ServedCircle {
    let always = ["--open"];
    let options = always.iter().chain(&OVER_TWO).chain(options);
    ServedCircle::start(&NAMES, MEMORY, &options.copied().collect::<Vec<_>>())
}

fn number(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").text();
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    let number = found.and_then(|rest| rest.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// As [`endless`], of a length that helpers have room for beside what they keep.
fn endless_in_room() -> Value {
    let mut question = endless();
    question["max_tokens"] = 4000.into();
    question
}

/// Tokens of the prompt that were kept from earlier requests.
fn cached(answer: &Value) -> u64 {
    let details = &answer["usage"]["prompt_tokens_details"];
    details["cached_tokens"].as_u64().expect("a number")
}

/// What a client puts together of a streamed answer: text, calls by their index, and how it ended.
fn put_together(events: &[Value]) -> (String, BTreeMap<u64, (String, String)>, Value) {
    let mut calls: BTreeMap<u64, (String, String)> = BTreeMap::new();
    let deltas = events.iter().map(|event| &event["choices"][0]["delta"]);
    for delta in deltas
        .filter_map(|delta| delta["tool_calls"].as_array())
        .flatten()
    {
        let call = calls
            .entry(delta["index"].as_u64().expect("an index"))
            .or_default();
        let function = &delta["function"];
        call.0 += function["name"].as_str().unwrap_or_default();
        call.1 += function["arguments"].as_str().unwrap_or_default();
    }
    let last = events
        .iter()
        .rev()
        .find(|event| event["choices"][0].is_object());
    let finish = last.map(|last| last["choices"][0]["finish_reason"].clone());
    (content_of(events), calls, finish.unwrap_or_default())
}

/// A conversation, a schema and a tool whose answers take a while.
fn questions() -> [Value; 3] {
    let text = json!({"type": "string", "minLength": 60, "maxLength": 80});
    let list = json!({
        "type": "object", "additionalProperties": false, "required": ["notes"],
        "properties": {"notes": {"type": "array", "items": text, "minItems": 2, "maxItems": 2}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "N", "schema": list, "strict": true}});
    let tool = json!({"type": "function", "function": {"name": "note", "parameters": {
        "type": "object", "properties": {"text": text}, "required": ["text"],
        "additionalProperties": false,
    }}});
    let more = [
        json!({"seed": 5, "max_tokens": 80, "stream": true}),
        json!({"seed": 6, "max_tokens": 200, "stream": true, "response_format": format}),
        json!({"seed": 7, "max_tokens": 200, "stream": true, "tools": [tool], "tool_choice": "required",
            "parallel_tool_calls": false}),
    ];
    more.map(|more| said("Tell me of a journey to the sea.", more))
}

#[test]
fn answers_schemas_and_calls_are_those_of_one_device_though_a_helper_is_killed() {
    let alone = open(&["--alone"]);
    let mut circle = over_two(&[]);
    let devices = "potluck_circle_devices_connected ";
    circle.await_number(devices, |devices| devices == 2);
    let victims = ["kitchen", "tablet", "kitchen"];
    for (question, victim) in questions().iter().zip(victims) {
        let expected = put_together(&alone.post(CHAT, question).events());
        let recovered = number(&circle, "potluck_recoveries_total ");
        let answer = circle.post(CHAT, question);
        assert_eq!(answer.status, 200);
        let helper = circle.helper_mut(victim);
        let events = answer.events_and(8, || helper.kill());
        assert_eq!(put_together(&events), expected);
        circle.await_number("potluck_recoveries_total ", |now| now > recovered);
        circle.await_number(devices, |devices| devices == 1);
        circle.revive(victim);
    }
    // A whole answer, over two that are both there.
    let mut question = questions()[0].clone();
    question["stream"] = false.into();
    let told = |client: &Client| client.post(CHAT, &question).json()["choices"].clone();
    assert_eq!(told(&circle), told(&alone));
}

#[test]
fn guests_ask_the_circle_and_only_they_go_on_from_what_they_asked() {
    let circle = over_two(&["--share", "--share-at", "127.0.0.1:0"]);
    let added = circle.device().potluck(["guests", "add", "Anna", "--json"]);
    let added = added.success().json();
    let token = added["guest"]["token"].as_str().expect("a token");
    let guest = circle.guest().with_token(token);
    let long = "Tell me about the sea. ".repeat(20);
    let question = said(&long, json!({"temperature": 0, "max_tokens": 8}));
    let ask = |client: &Client| {
        let answer = client.post(CHAT, &question).json();
        (cached(&answer), answer["choices"].clone())
    };
    let (cached_first, words) = ask(&guest);
    assert_eq!(cached_first, 0);
    let (cached_again, words_again) = ask(&guest);
    assert!(cached_again > 100, "{cached_again}");
    let (cached_for_owner, words_of_owner) = ask(&circle);
    assert_eq!(cached_for_owner, 0);
    assert!(ask(&circle).0 > 100);
    assert_eq!((&words_again, &words_of_owner), (&words, &words));
    circle.await_number("potluck_split_sessions_kept ", |kept| kept == 2);
    // A guest who is removed loses the answer at once, and the helpers are free.
    let mut answer = guest.post(CHAT, &endless_in_room());
    let _ = answer.part().expect("an answer");
    let _ = circle
        .device()
        .potluck(["guests", "remove", "Anna"])
        .success();
    while matches!(answer.part(), Ok(Some(_))) {}
    circle.await_number("potluck_requests_running ", |running| running == 0);
    assert_eq!(guest.post(CHAT, &question).status, 401);
}

#[test]
fn several_at_once_over_helpers_get_the_words_that_each_gets_alone() {
    let alone = open(&["--alone"]);
    let circle = over_two(&["--streams", "6"]);
    let ask = |client: &Client, n: usize| {
        let question = format!("Tell me {n} things about the number {n}.");
        let more = json!({"seed": n, "max_tokens": 12, "stream": true});
        let answer = client.post(CHAT, &said(&question, more));
        assert_eq!(answer.status, 200);
        content_of(&answer.events())
    };
    let expected: Vec<_> = (0..8).map(|n| ask(&alone, n)).collect();
    let client: &Client = &circle;
    let together: Vec<_> = thread::scope(|scope| {
        // Two of them wait for a place.
        let asked: Vec<_> = (0..8)
            .map(|n| scope.spawn(move || ask(client, n)))
            .collect();
        let answers = asked.into_iter();
        answers.map(|one| one.join().expect("an answer")).collect()
    });
    assert_eq!(together, expected);
    let vectors = |client: &Client| {
        let body = json!({"model": "smollm2:135m", "input": ["the sea", "the land"]});
        client.post("/v1/embeddings", &body).json()["data"].clone()
    };
    assert_eq!(vectors(&circle), vectors(&alone));
    let loaded = circle.get("/api/ps").json();
    let size = loaded["models"][0]["size"].as_u64().expect("a size");
    // Embedding and head are here, the layers are not.
    assert!((20_000_000..60_000_000).contains(&size), "{loaded}");
}

#[test]
fn texts_that_come_at_once_are_embedded_one_after_another_if_memory_is_for_one() {
    let circle = over_two(&["--memory", "130M"]);
    let client: &Client = &circle;
    let vector = |text: &str| {
        let body = json!({"model": "smollm2:135m", "input": text});
        let answer = client.post("/v1/embeddings", &body);
        assert_eq!(answer.status, 200);
        answer.json()["data"][0]["embedding"].clone()
    };
    let texts = ["the sea", "the land"].map(|text| format!("{text} and the road ").repeat(60));
    let expected = texts.each_ref().map(|text| vector(text));
    thread::scope(|scope| {
        for n in 0..6 {
            let (text, expected) = (&texts[n % 2], &expected[n % 2]);
            let vector = &vector;
            scope.spawn(move || assert_eq!(vector(text), *expected));
        }
    });
}

#[test]
fn a_client_that_goes_ends_its_conversation_at_the_helpers_and_one_that_stays_has_it_kept() {
    let mut circle = over_two(&[]);
    let mut answer = circle.post(CHAT, &endless_in_room());
    for _ in 0..3 {
        let _ = answer.part().expect("an answer");
    }
    drop(answer);
    for name in NAMES {
        let helper = circle.helper_mut(name).program_mut();
        while helper.json()["event"] != "computed" {}
    }
    circle.await_number("potluck_requests_running ", |running| running == 0);
    assert_eq!(number(&circle, "potluck_split_sessions_kept "), 0);

    let long = "Tell me about the sea. ".repeat(20);
    let first = said(&long, json!({"temperature": 0, "max_tokens": 8}));
    let answer = circle.post(CHAT, &first).json();
    assert_eq!(cached(&answer), 0);
    circle.await_number("potluck_split_sessions_kept ", |kept| kept == 1);
    let prompt = answer["usage"]["prompt_tokens"].as_u64().expect("a number");
    let mut second = first.clone();
    let messages = second["messages"].as_array_mut().expect("messages");
    messages.push(answer["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "And the land?"}));
    let answer = circle.post(CHAT, &second).json();
    assert!(cached(&answer) + 8 >= prompt, "{answer}");
    let alone = open(&["--alone"]);
    let again = alone.post(CHAT, &second).json();
    assert_eq!(again["choices"], answer["choices"]);
    // What a helper held is gone with it.
    circle.await_number("potluck_split_sessions_kept ", |kept| kept == 1);
    circle.helper_mut("tablet").kill();
    circle.await_number("potluck_split_sessions_kept ", |kept| kept == 0);
    circle.revive("tablet");
    let answer = circle.post(CHAT, &second).json();
    assert_eq!(cached(&answer), 0);
    assert_eq!(again["choices"], answer["choices"]);
    // With the model goes what is kept of it.
    circle.await_number("potluck_split_sessions_kept ", |kept| kept == 1);
    let letting_go = json!({"model": "smollm2:135m", "keep_alive": 0});
    let answer = circle.post("/api/generate", &letting_go).json();
    assert_eq!(answer["done_reason"], "unload");
    circle.await_number("potluck_models_loaded ", |models| models == 0);
    circle.await_number("potluck_split_sessions_kept ", |kept| kept == 0);
}

#[test]
fn a_signal_tells_an_answer_over_helpers_that_the_node_stops() {
    let circle = over_two(&[]);
    let events = circle
        .post(CHAT, &endless_in_room())
        .events_and(3, || circle.signal("TERM"));
    let last = events.last().expect("some");
    assert_eq!(last["error"]["code"], "stopping", "{last}");
    let output = circle.end();
    assert_eq!(output.code, Some(143), "{output:?}");
}

/// Two helpers, both needed, that have room for two conversations each.
fn over_two_with_little_room() -> ServedCircle {
    let placement = ["--placement", "kitchen:0..15,tablet:15..30"];
    let always = ["--open", "--memory", "60M", "--context", "2048"];
    let options: Vec<_> = always.iter().chain(&placement).copied().collect();
    ServedCircle::start(&NAMES, "100M", &options)
}

#[test]
fn conversations_that_are_kept_make_room_for_others_and_more_than_fit_wait() {
    let alone = open(&["--alone", "--context", "2048"]);
    let circle = over_two_with_little_room();
    // They may take all of the context, and so much memory is reserved.
    let ask = |client: &Client, n: usize| {
        let more = json!({"seed": n, "stop": [" the", ".", ","]});
        let answer = client.post(CHAT, &said(&format!("Tell me about number {n}."), more));
        assert_eq!(answer.status, 200);
        answer.json()["choices"].clone()
    };
    let expected: Vec<_> = (0..5).map(|n| ask(&alone, n)).collect();
    for (n, expected) in expected.iter().enumerate() {
        assert_eq!(ask(&circle, n), *expected);
        circle.await_number("potluck_split_sessions_kept ", |kept| {
            (1..=2).contains(&kept)
        });
    }
    let client: &Client = &circle;
    let together: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..5)
            .map(|n| scope.spawn(move || ask(client, n)))
            .collect();
        let answers = asked.into_iter();
        answers.map(|one| one.join().expect("an answer")).collect()
    });
    assert_eq!(together, expected);
}

#[test]
fn without_devices_a_request_fails_in_words_and_with_them_it_works() {
    // Too little for all layers.
    let options = [
        "--open",
        "--with-peers",
        "--memory",
        "80M",
        "--context",
        "512",
    ];
    let mut circle = ServedCircle::start(&["kitchen"], MEMORY, &options);
    circle.helper_mut("kitchen").kill();
    circle.await_number("potluck_circle_devices_connected ", |devices| devices == 0);
    for stream in [false, true] {
        let question = said("Hi", json!({"max_tokens": 4, "stream": stream}));
        let refused = circle.post(CHAT, &question);
        assert_eq!(refused.status, 503);
        assert_eq!(refused.header("retry-after"), Some("10"));
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], "devices_unavailable");
        let words = error["message"].as_str().expect("words");
        assert!(words.contains("kitchen"), "{words}");
    }
    let lines = said("Hi", json!({"model": "smollm2:135m"}));
    assert_eq!(circle.post("/api/chat", &lines).status, 503);
    circle.revive("kitchen");
    let question = said("Hi", json!({"max_tokens": 4, "seed": 1}));
    let answer = circle.post(CHAT, &question);
    assert_eq!(answer.status, 200);
    let alone = open(&["--alone", "--context", "512"]);
    let again = alone.post(CHAT, &question).json();
    assert_eq!(answer.json()["choices"], again["choices"]);
}

/// How long it takes until the first words of an answer come, and the whole answer's words.
fn first_words(client: &Client, body: &Value) -> (Duration, String) {
    let begun = Instant::now();
    let mut answer = client.post(CHAT, body);
    let mut text = String::new();
    while !text.contains("\"content\":\"") {
        text += &answer.part().expect("the body").expect("more of it");
    }
    let first = begun.elapsed();
    text += &answer.text();
    (first, content_of(&potluck_tests::Answer::events_in(&text)))
}

/// Tokens a second of so many answers at once, of which none was given before.
fn rate(client: &Client, from: usize, streams: usize) -> f64 {
    let ask = |n: usize| {
        let more = json!({"seed": n, "max_tokens": 64, "logit_bias": {"2": -100, "0": -100}});
        let answer = client.post(CHAT, &said(&format!("Tell me about {n}."), more));
        let tokens = answer.json()["usage"]["completion_tokens"].as_u64();
        tokens.expect("a number")
    };
    let begun = Instant::now();
    let tokens: u64 = thread::scope(|scope| {
        let asked = (from..from + streams).map(|n| scope.spawn(move || ask(n)));
        let asked: Vec<_> = asked.collect();
        let answers = asked.into_iter();
        answers.map(|one| one.join().expect("an answer")).sum()
    });
    tokens as f64 / begun.elapsed().as_secs_f64()
}

/// How many tokens of their prompts were kept for the second turns of ten conversations, whose first turns
/// all came before, and how many tokens those prompts have.
fn ten_taking_turns(client: &Client) -> Vec<(u64, u64)> {
    let turn = |n: usize| {
        let long = format!("Tale {n}. ") + &"The sea went on to the road. ".repeat(25);
        said(&long, json!({"temperature": 0, "max_tokens": 8}))
    };
    let answers: Vec<_> = (0..10)
        .map(|n| client.post(CHAT, &turn(n)).json())
        .collect();
    let second = answers.iter().enumerate().map(|(n, answer)| {
        let mut second = turn(n);
        let messages = second["messages"].as_array_mut().expect("messages");
        messages.push(answer["choices"][0]["message"].clone());
        messages.push(json!({"role": "user", "content": "And then?"}));
        let usage = client.post(CHAT, &second).json()["usage"].clone();
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
        (cached, usage["prompt_tokens"].as_u64())
    });
    let second = second.map(|(cached, prompt)| Some((cached?, prompt?)));
    second.collect::<Option<_>>().expect("numbers")
}

/// Tokens a second of 1, 4 and 16 answers at once, and the first words of a second turn after 1,500
/// tokens, over two helpers and on one device:
/// `cargo test --release --workspace --test api -- --ignored --nocapture figures`
#[test]
#[ignore = "for measuring"]
fn figures_of_streams_and_second_turns() {
    let circle = over_two(&[]);
    let alone = open(&["--alone"]);
    let nobody = open(&["--with-peers"]);
    let all: [(_, &Client); 3] = [
        ("two helpers", &circle),
        ("alone", &alone),
        ("with peers that are not there", &nobody),
    ];
    for (what, client) in all {
        let _ = rate(client, 0, 1);
        let rates = [1, 4, 16].map(|streams| rate(client, 10 * streams, streams));
        println!("{what}: tokens/s of 1, 4, 16 streams: {rates:.1?}");
        let mut ratios = Vec::new();
        for n in 0..5 {
            let long = format!("Story {n}. ") + &"The road went on to the sea. ".repeat(185);
            let mut turn = said(
                &long,
                json!({"temperature": 0, "max_tokens": 24, "stream": true}),
            );
            let (cold, words) = first_words(client, &turn);
            let messages = turn["messages"].as_array_mut().expect("messages");
            messages.push(json!({"role": "assistant", "content": words}));
            messages.push(json!({"role": "user", "content": "And then?"}));
            let (next, _) = first_words(client, &turn);
            println!("{what}: first words after {cold:.1?}, of the next turn after {next:.1?}");
            ratios.push(next.as_secs_f64() / cold.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        println!("{what}: next turn by first: {ratios:.3?}");
        let cached = ten_taking_turns(client);
        println!("{what}: tokens of ten second turns that were kept: {cached:?}");
    }
}
