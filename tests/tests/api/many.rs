//! Requests of many at once.

use std::thread;

use potluck_tests::{Client, content_of};
use serde_json::{Value, json};

use super::{CHAT, endless, open, said};

#[test]
fn sixteen_at_once_get_the_words_that_each_gets_alone() {
    let served = open(&[]);
    let client: &Client = &served;
    let ask = |n: usize| {
        let question = format!("Tell me {n} things about the number {n}.");
        let more = json!({"seed": n, "max_tokens": 12, "stream": true});
        let answer = client.post(CHAT, &said(&question, more));
        assert_eq!(answer.status, 200);
        content_of(&answer.events())
    };
    let alone: Vec<_> = (0..16).map(ask).collect();
    let together: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|n| scope.spawn(move || ask(n))).collect();
        asked
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    assert_eq!(together, alone);
    assert!(alone.iter().all(|text| !text.is_empty()));
    let body = said("Count.", json!({"n": 3, "seed": 7, "max_tokens": 8}));
    let answer = served.post(CHAT, &body).json();
    let choices = answer["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), 3);
    // The first has the seed itself.
    let one = served
        .post(CHAT, &said("Count.", json!({"seed": 7, "max_tokens": 8})))
        .json();
    assert_eq!(one["choices"][0], choices[0]);
    let second = said("Count.", json!({"seed": 8, "max_tokens": 8}));
    let second = served.post(CHAT, &second).json();
    assert_eq!(second["choices"][0]["message"], choices[1]["message"]);
}

#[test]
fn more_than_may_wait_are_told_when_to_come_again() {
    let served = open(&["--streams", "1"]);
    let endless = endless();
    let first = served.post(CHAT, &endless);
    assert_eq!(first.status, 200);
    // 64 wait; each has to be sent before the next one is refused.
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut stream = served.connect();
        let body = endless.to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).expect("it listens");
        waiting.push(stream);
    }
    served.await_number("potluck_requests_waiting ", |waiting| waiting == 64);
    let refused = served.post(CHAT, &endless);
    assert_eq!(refused.status, 429);
    let seconds = refused
        .header("retry-after")
        .and_then(|text| text.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    let mut lines = endless.clone();
    lines["model"] = "smollm2:135m".into();
    assert_eq!(served.post("/api/chat", &lines).status, 429);
    drop(waiting);
    // The one that is answered still is.
    served.await_number("potluck_requests_waiting ", |waiting| waiting == 0);
    drop(first);
    served.await_number("potluck_requests_running ", |running| running == 0);
}

#[test]
fn a_client_that_goes_frees_its_place_streaming_or_not() {
    let served = open(&["--streams", "1"]);
    for stream in [true, false] {
        let mut body = endless();
        body["stream"] = stream.into();
        let body = body.to_string();
        let mut client = served.connect();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut client, head.as_bytes()).expect("it listens");
        served.await_number("potluck_requests_running ", |running| running == 1);
        drop(client);
        served.await_number("potluck_requests_running ", |running| running == 0);
        let next = served.post(CHAT, &said("Hi", json!({"max_tokens": 1})));
        assert_eq!(next.status, 200);
        // It may count as running for a moment after its answer, and the next one must not be taken
        // for it.
        served.await_number("potluck_requests_running ", |running| running == 0);
    }
    let text = served.get("/metrics").text();
    let cancelled = "potluck_requests_total{outcome=\"cancelled\"} 2";
    assert!(text.contains(cancelled), "{text}");
}

#[test]
fn a_connection_is_used_again() {
    let served = open(&[]);
    let mut stream = served.connect();
    for _ in 0..3 {
        let body = said("Hi", json!({"max_tokens": 1, "stream": true})).to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).expect("it listens");
        let again = stream.try_clone().expect("a socket");
        let events = potluck_tests::Answer::read(again)
            .expect("an answer")
            .events();
        let last: &Value = events.last().expect("some");
        assert!(last["choices"][0]["finish_reason"].is_string());
        stream = stream.try_clone().expect("a socket");
    }
}
