//! What is refused, in words and codes that clients act on, while others are served on.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use potluck_tests::{Answer, Device, Served};
use serde_json::{Value, json};

use super::{CHAT, open, said};

fn code(answer: Answer) -> (u16, Value) {
    let status = answer.status;
    (status, answer.json()["error"]["code"].clone())
}

#[test]
fn only_who_has_the_token_is_let_in() {
    let served = Served::start(Device::with_model("smollm2:135m"), &[]);
    assert!(served.token().is_some_and(|token| token.len() > 40));
    assert_eq!(served.get("/v1/models").status, 200);
    for key in [
        "",
        "Bearer",
        "Bearer x",
        "Basic x",
        "Bearer pl-",
        "bearer  ",
    ] {
        let refused = served.send("GET", "/v1/models", &[("authorization", key)], b"");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        assert_eq!(code(refused), (401, json!("invalid_api_key")), "{key:?}");
    }
    for path in ["/metrics", "/v1/nonesuch", "/api/tags"] {
        let refused = served.send("GET", path, &[("authorization", "")], b"");
        assert_eq!(refused.status, 401, "{path}");
    }
    let refused = served.send("GET", "/api/tags", &[("authorization", "")], b"");
    assert!(refused.json()["error"].is_string());
    for path in ["/", "/health", "/openapi.json", "/api/version"] {
        let open = served.send("GET", path, &[("authorization", "")], b"");
        assert_eq!(open.status, 200, "{path}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let file = served.ready["token_file"].as_str().expect("a path");
        let mode = std::fs::metadata(file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn foreign_hosts_and_pages_are_refused_and_named_ones_are_not() {
    let page = "http://localhost:3000";
    let served = open(&["--origin", page, "--host", "kitchen.local"]);
    for host in ["example.org", "192.168.1.9:11435", "127.0.0.1.example.org"] {
        let refused = served.send("GET", "/v1/models", &[("host", host)], b"");
        assert_eq!(code(refused), (403, json!("host_not_allowed")), "{host}");
    }
    for host in ["kitchen.local:80", "localhost:1", "[::1]:1"] {
        let answer = served.send("GET", "/v1/models", &[("host", host)], b"");
        assert_eq!(answer.status, 200, "{host}");
    }
    let whole = format!("http://{}/v1/models", served.address());
    assert_eq!(served.get(&whole).status, 200, "as through a proxy");
    assert_eq!(served.get("http://example.org/v1/models").status, 403);

    let body = said("Hi", json!({"max_tokens": 1})).to_string();
    for origin in ["http://example.org", "null", "http://localhost:3001"] {
        let headers = [("origin", origin), ("content-type", "text/plain")];
        let refused = served.send("POST", CHAT, &headers, body.as_bytes());
        assert_eq!(refused.header("access-control-allow-origin"), None);
        assert_eq!(
            code(refused),
            (403, json!("origin_not_allowed")),
            "{origin}"
        );
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        assert_eq!(served.send("OPTIONS", CHAT, &asked, b"").status, 403);
    }
    let asked = "authorization,content-type,x-stainless-arch,x-stainless-os";
    let headers = [
        ("origin", page),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
    ];
    let allowed = served.send("OPTIONS", CHAT, &headers, b"");
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-headers"), Some(asked));
    assert_eq!(allowed.header("access-control-allow-origin"), Some(page));
    let answer = served.send("POST", CHAT, &[("origin", page)], body.as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
}

#[test]
fn each_failure_has_the_code_that_clients_act_on() {
    let served = open(&["--context", "256"]);
    let unknown = served.post(CHAT, &said("Hi", json!({"model": "gpt-9"})));
    assert_eq!(code(unknown), (404, json!("model_not_found")));
    let absent = served.post(CHAT, &said("Hi", json!({"model": "gemma3:270m"})));
    assert_eq!(code(absent), (404, json!("model_not_found")));
    let long = said(&"word ".repeat(1000), json!({}));
    for stream in [false, true] {
        let mut long = long.clone();
        long["stream"] = stream.into();
        let refused = served.post(CHAT, &long);
        assert_eq!(refused.status, 400);
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], "context_length_exceeded");
        let message = error["message"].as_str().expect("text");
        let words = "context_length_exceeded: This model's maximum context length is 256 tokens. \
                     However, your messages resulted in ";
        assert!(message.starts_with(words), "{message}");
        assert!(message.ends_with(" tokens. Please reduce the length of the messages."));
    }
    let lines = said(&"word ".repeat(1000), json!({"model": "smollm2:135m"}));
    let refused = served.post("/api/chat", &lines);
    assert_eq!(refused.status, 400);
    assert!(refused.json()["error"].is_string());
    let refused = served.send("POST", CHAT, &[], b"{\"secret words\": ");
    assert_eq!(code(refused), (400, json!("invalid_json")));
    let deep = "[".repeat(200_000);
    assert_eq!(served.send("POST", CHAT, &[], deep.as_bytes()).status, 400);
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let image = json!({"messages": [{"role": "user", "content": image}]});
    let refused = served.post(CHAT, &image);
    assert_eq!(refused.status, 400);
    let error = refused.json()["error"].clone();
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|words| words.contains("image"))
    );
    assert_eq!(error["param"], "messages[0].content[0].type");
    assert_eq!(served.post("/v1/nonesuch", &json!({})).status, 404);
    assert_eq!(served.send("PUT", CHAT, &[], b"{}").status, 405);
    assert_eq!(served.get("/health").status, 200);
}

/// Requests are prepared one after the other, so each of these would hold up all others for many
/// seconds.
#[test]
fn grammars_that_would_take_long_to_prepare_are_refused() {
    let served = open(&[]);
    let slow = json!({"type": "integer", "multipleOf": 1_000_003});
    for format in [
        json!({"type": "json_schema", "json_schema": {"name": "n", "schema": slow}}),
        // A schema that the library would read by itself.
        json!({"type": "lark", "grammar": format!("start: %json {slow}")}),
    ] {
        let body = said("Hi", json!({"max_tokens": 2, "response_format": format}));
        let refused = served.post(CHAT, &body);
        assert_eq!(code(refused), (400, json!("invalid_value")), "{format}");
    }
    let usual = json!({"type": "number", "multipleOf": 0.01});
    let usual = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": usual}});
    let body = said("Hi", json!({"max_tokens": 2, "response_format": usual}));
    assert_eq!(served.post(CHAT, &body).status, 200);
}

#[test]
fn bodies_and_heads_that_are_too_long_are_refused() {
    let served = open(&[]);
    let said_length = [("content-length", "99999999999")];
    let refused = served.send("POST", CHAT, &said_length, b"");
    assert_eq!(code(refused), (413, json!("request_too_large")));
    // Without a length that is said.
    let mut stream = served.connect();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        served.address()
    );
    stream.write_all(head.as_bytes()).expect("it listens");
    let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..17 {
        // It may close before it has read all.
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    if let Ok(refused) = Answer::read(stream) {
        assert_eq!(refused.status, 413);
    }
    let mut stream = served.connect();
    let line = "x".repeat(100_000);
    let head = format!("GET /health HTTP/1.1\r\nhost: localhost\r\nx-long: {line}\r\n\r\n");
    // Likewise.
    let _ = stream.write_all(head.as_bytes());
    if let Ok(refused) = Answer::read(stream) {
        assert_eq!(refused.status, 431);
    }
    let lines: Vec<_> = (0..200).map(|n| format!("x-{n}")).collect();
    let lines: Vec<_> = lines.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(served.send("GET", "/health", &lines, b"").status, 431);
    assert_eq!(served.get("/health").status, 200);
}

/// More than are let in at once, ten times over; `tests/compare/connections.py` holds 10,000.
#[test]
fn slow_connections_take_no_place_from_those_that_ask() {
    let served = open(&[]);
    let begun = [
        "",
        "POST ",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: ",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{",
    ];
    // Those at hand are fewer than a process may have files.
    let mut slow = std::collections::VecDeque::new();
    for n in 0..3000 {
        let mut stream = served.connect();
        let _ = stream.write_all(begun[n % begun.len()].as_bytes());
        slow.push_back(stream);
        if slow.len() > 600 {
            slow.pop_front();
        }
        if n % 1000 == 999 {
            // A byte now and then keeps no place either.
            for stream in &mut slow {
                let _ = stream.write_all(b"x");
            }
            let answer = served.post(CHAT, &said("Hi", json!({"max_tokens": 2})));
            assert_eq!(answer.status, 200);
        }
    }
    served.await_number("potluck_http_connections ", |open| open <= 256);
    // The first of them are gone.
    slow[0]
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket");
    let end = slow[0].read(&mut [0; 100]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[test]
fn what_would_open_more_than_was_said_is_refused() {
    let device = Device::new();
    let cases: [(&[&str], &str); 7] = [
        (&["serve", "--http", "0.0.0.0:0"], "--insecure-http"),
        (&["serve", "--http", "localhost"], "127.0.0.1:11435"),
        (&["serve", "--insecure-http"], "has no effect"),
        (
            &["serve", "--http", "0.0.0.0:0", "--insecure-http", "--open"],
            "--open is for",
        ),
        (&["serve", "--origin", "*"], "write an origin"),
        (&["serve", "--streams", "0"], "give a number from 1"),
        (&["serve", "--alone", "--with-peers"], "--with-peers"),
    ];
    for (arguments, words) in cases {
        let _ = device.potluck(arguments).failure(2, &[words]);
    }
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("an address").to_string();
    let _ = device
        .potluck(["serve", "--http", &address])
        .failure(1, &[&address, "another program uses this port"]);
}
