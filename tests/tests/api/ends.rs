//! How `serve` ends, and what it tells meanwhile.

use potluck_tests::signals;
use serde_json::json;

use super::{CHAT, endless, open, said};

#[test]
fn a_signal_lets_a_short_answer_end_and_tells_a_long_one() {
    for (name, code) in signals::heard([("TERM", 143), ("INT", 130)]) {
        let served = open(&[]);
        let mut answer = served.post(CHAT, &endless());
        assert!(answer.part().expect("an answer").is_some());
        served.signal(name);
        let events = answer.events();
        let last = events.last().expect("some");
        // It is told, rather than cut off.
        assert_eq!(last["error"]["code"], "stopping", "{last}");
        let output = served.end();
        assert_eq!(output.code, Some(code), "{output:?}");
    }
}

#[test]
fn the_log_tells_of_each_request_and_has_none_of_its_words() {
    let mut served = open(&["-vvv"]);
    let secret = "xylophone zeppelin";
    let body = said(
        secret,
        json!({"max_tokens": 2, "user": secret, "stop": [secret]}),
    );
    assert_eq!(served.post(CHAT, &body).status, 200);
    let _ = served
        .send("POST", CHAT, &[], format!("{{\"{secret}\": ").as_bytes())
        .text();
    let wrong = said(secret, json!({"temperature": secret}));
    assert_eq!(served.post(CHAT, &wrong).status, 400);
    let unknown = said(secret, json!({"model": "nonesuch"}));
    assert_eq!(served.post(CHAT, &unknown).status, 404);
    let told = served.told("how=done");
    let answered = told.lines().rev().find(|line| line.contains("how=done"));
    let answered = answered.expect("a line");
    for field in [
        "client=127.0.0.1",
        "model=smollm2:135m",
        "status=200",
        "prompt_tokens=",
        "cached_tokens=",
        "tokens=2",
        "waited_ms=",
        "first_token_ms=",
        "tokens_per_s=",
        "POST",
        CHAT,
    ] {
        assert!(answered.contains(field), "{field}: {answered}");
    }
    for words in [
        "request{",
        "path=/v1/chat/completions",
        "model=smollm2:135m",
        "status=200",
        "prompt_tokens=",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    served.signal("TERM");
    let output = served.end();
    for word in secret.split(' ') {
        assert!(!output.stderr.contains(word), "{}", output.stderr);
    }
}

#[test]
fn one_line_says_when_it_is_ready_and_the_node_of_the_home_is_this_one() {
    let served = open(&[]);
    let ready = &served.ready;
    assert_eq!(ready["schema"], 1);
    assert!(ready["token_file"].is_null(), "everybody is let in");
    assert!(
        ready["peer_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("12D3"))
    );
    let listening = ready["listening"].as_array().expect("a list");
    assert!(
        listening[0]
            .as_str()
            .is_some_and(|at| at.starts_with("/ip4/127.0.0.1/tcp/"))
    );
    let members = served
        .device()
        .potluck(["peers", "--json"])
        .success()
        .json();
    assert_eq!(
        members["members"].as_array().map(Vec::len),
        Some(1),
        "{members}"
    );
    let metrics = served.get("/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(served.get("/health").json()["status"], "ok");
}
