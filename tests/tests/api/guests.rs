//! Guests: people who use a shared API by HTTPS, each with a token and limits of their own.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use potluck_tests::{Answer, Client, Device, Served, content_of};
use serde_json::{Value, json};

use super::{CHAT, endless, said};

/// A device that shares its API with guests, and whose owner needs a token.
fn sharing(options: &[&str]) -> Served {
    shared_by(Device::with_model("smollm2:135m"), options)
}

fn shared_by(device: Device, options: &[&str]) -> Served {
    let always = ["--threads", "1", "--share", "--share-at", "127.0.0.1:0"];
    let options: Vec<_> = always.iter().chain(options).copied().collect();
    Served::start(device, &options)
}

fn code(answer: Answer) -> (u16, Value) {
    let status = answer.status;
    (status, answer.json()["error"]["code"].clone())
}

fn join(guest: &Client, name: &str, proof: (&str, &str)) -> Answer {
    guest.post("/guests/join", &json!({"name": name, proof.0: proof.1}))
}

/// A guest of this name, with limits.
fn added(served: &Served, name: &str, limits: &[&str]) -> Client {
    let arguments = [&["guests", "add", name, "--json"], limits].concat();
    let added = served.device().potluck(arguments).success().json();
    let token = added["guest"]["token"].as_str().expect("a token");
    served.guest().with_token(token)
}

/// The guest as `potluck guests` lists it.
fn listed(device: &Device, name: &str) -> Value {
    let listed = device.potluck(["guests", "--json"]).success().json();
    let all = listed["guests"].as_array().expect("a list");
    let found = all.iter().find(|guest| guest["name"] == name);
    found.unwrap_or_else(|| panic!("{listed}")).clone()
}

#[test]
fn people_join_by_what_the_screen_shows_once_and_ask_with_a_token_of_their_own() {
    let mut served = sharing(&[]);
    let guest = served.guest();
    assert_eq!(
        code(guest.get("/v1/models")),
        (401, json!("invalid_api_key"))
    );
    let page = guest.get("/join");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("one");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(page.text().contains("PIN"));
    let shown = served.ready["share"].clone();
    let pin = shown["pin"].as_str().expect("a PIN");
    let wrong = match pin {
        "00000000" => "00000001",
        _ => "00000000",
    };
    let refused = join(&guest, "Anna", ("pin", wrong));
    assert_eq!(code(refused), (403, json!("wrong_pin")));
    for body in [
        json!({"name": "Anna"}),
        json!({"name": "", "pin": pin}),
        json!({"pin": 5}),
    ] {
        assert_eq!(guest.post("/guests/join", &body).status, 400, "{body}");
    }
    let joined = join(&guest, "Anna", ("pin", pin)).json();
    assert_eq!(joined["name"], "Anna");
    assert_eq!(
        joined["base_url"],
        format!("https://{}/v1", guest.address())
    );
    assert_eq!(served.event("guest_joined")["name"], "Anna");
    let next = served.event("guest_invitation");
    // It was for one guest.
    assert_eq!(join(&guest, "Ben", ("pin", pin)).status, 403);
    let link = next["join"].as_str().expect("an address");
    let (address, key) = link.split_once("#key=").expect("a key that is not sent");
    assert_eq!(address, format!("https://{}/join", guest.address()));
    let joined_by_key = join(&guest, "Ben", ("key", key)).json();
    assert_eq!(served.event("guest_joined")["name"], "Ben");
    for token in [&joined["token"], &joined_by_key["token"]] {
        let guest = guest.with_token(token.as_str().expect("a token"));
        let answer = guest.post(CHAT, &said("Hi", json!({"max_tokens": 3, "stream": true})));
        assert_eq!(answer.status, 200);
        assert!(!content_of(&answer.events()).is_empty());
    }
    assert_ne!(joined["token"], joined_by_key["token"]);
    // Whom the owner adds gets a code that leads to the same page.
    let cleo = served
        .device()
        .potluck(["guests", "add", "Cleo B", "--json"]);
    let cleo = cleo.success().json()["guest"].clone();
    let token = cleo["token"].as_str().expect("a token");
    let link = format!("{address}#token={token}&name=Cleo%20B");
    assert_eq!(cleo["join"], link);
    let anna = listed(served.device(), "Anna");
    assert!(
        anna["last_seen"].is_string() || anna["tokens_today"] == 0,
        "{anna}"
    );
}

#[test]
fn guests_may_ask_models_and_nothing_of_the_owners() {
    let served = sharing(&[]);
    let guest = added(&served, "anna", &[]);
    let models = guest.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "smollm2:135m");
    for path in [
        "/models/smollm2:135m",
        "/api/tags",
        "/api/version",
        "/health",
    ] {
        assert_eq!(guest.get(path).status, 200, "{path}");
    }
    let model = json!({"model": "smollm2:135m", "input": "Hi", "max_output_tokens": 16});
    assert_eq!(guest.post("/v1/responses", &model).status, 200);
    assert_eq!(guest.post("/v1/embeddings", &model).status, 200);
    assert_eq!(guest.post("/api/show", &model).status, 200);
    let lines = said(
        "Hi",
        json!({"model": "smollm2:135m", "options": {"num_predict": 2}}),
    );
    assert_eq!(guest.post("/api/chat", &lines).status, 200);
    for path in ["/metrics", "/api/ps"] {
        let refused = guest.get(path);
        assert_eq!(refused.status, 403, "{path}");
    }
    assert_eq!(code(guest.get("/metrics")), (403, json!("not_for_guests")));
    let unload = json!({"model": "smollm2:135m", "messages": [], "keep_alive": 0});
    assert_eq!(guest.post("/api/chat", &unload).status, 403);
    assert_eq!(guest.get("/v1/nonesuch").status, 404);
    // By the owner's door a guest's token is none, and nobody joins there.
    let by_owners_door = served.with_token(guest.token().expect("one"));
    assert_eq!(by_owners_door.get("/v1/models").status, 401);
    assert_eq!(served.get("/join").status, 404);
    let joining = json!({"name": "x", "pin": "1"});
    assert_eq!(served.post("/guests/join", &joining).status, 404);
    // By the guests' door the owner is the owner.
    let owner = served.guest().with_token(served.token().expect("one"));
    let text = owner.get("/metrics").text();
    for line in [
        "potluck_http_callers_total{caller=\"guest\"} ",
        "{caller=\"owner\"} ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn limits_hold_with_a_true_time_to_try_again() {
    let served = sharing(&[]);
    let guest = added(&served, "anna", &["--requests", "2"]);
    let short = said("Hi", json!({"max_tokens": 2}));
    assert_eq!([0, 1].map(|_| guest.post(CHAT, &short).status), [200, 200]);
    let refused = guest.post(CHAT, &short);
    let seconds = refused
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    assert!(seconds.is_some_and(|seconds: u64| (1..=60).contains(&seconds)));
    assert_eq!(code(refused), (429, json!("rate_limit_exceeded")));
    let lines = said("Hi", json!({"model": "smollm2:135m"}));
    let refused = guest.post("/api/chat", &lines);
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some() && refused.json()["error"].is_string());
    // Listing is no request for an answer.
    assert_eq!(guest.get("/v1/models").status, 200);
    let set = |changes: &[&str]| {
        let arguments = [&["guests", "set", "anna", "--json"], changes].concat();
        let _ = served.device().potluck(arguments).success();
    };
    set(&["--requests", "1000", "--at-once", "1"]);
    let mut running = guest.post(CHAT, &endless());
    assert!(running.part().expect("an answer").is_some());
    assert_eq!(
        code(guest.post(CHAT, &short)),
        (429, json!("rate_limit_exceeded"))
    );
    let two = said("Hi", json!({"n": 2}));
    assert_eq!(code(guest.post(CHAT, &two)), (400, json!("invalid_value")));
    drop(running);
    served.await_number("potluck_requests_running ", |running| running == 0);
    set(&["--model", "gemma3:270m"]);
    // Whether the owner has a model is not told to those who may not use it.
    let answers = ["smollm2:135m", "qwen3:0.6b", "nonesuch"].map(|model| {
        let refused = guest.post(CHAT, &said("Hi", json!({"model": model})));
        assert_eq!(refused.status, 404, "{model}");
        refused.json()["error"].clone()
    });
    assert_eq!(answers[0]["code"], "model_not_found");
    let is_one = answers.iter().all(|answer| *answer == answers[0]);
    assert!(is_one, "{answers:?}");
    assert_eq!(guest.get("/v1/models").json()["data"], json!([]));
    set(&["--model", "default", "--until", "1970-01-02"]);
    assert_eq!(
        code(guest.post(CHAT, &short)),
        (401, json!("invalid_api_key"))
    );
    set(&["--until", "never"]);
    assert_eq!(guest.post(CHAT, &short).status, 200);
}

#[test]
fn the_days_tokens_end_an_answer_and_a_restart_gives_none_back() {
    let served = sharing(&[]);
    let guest = added(&served, "anna", &["--tokens-a-day", "200"]);
    let mut long = endless();
    long["stream"] = false.into();
    let cut = guest.post(CHAT, &long).json();
    assert_eq!(cut["choices"][0]["finish_reason"], "length", "{cut}");
    assert_eq!(cut["usage"]["total_tokens"], 200, "{cut}");
    let short = said("Hi", json!({"max_tokens": 2}));
    let spent = |guest: &Client| {
        let refused = guest.post(CHAT, &short);
        let seconds = refused
            .header("retry-after")
            .and_then(|text| text.parse().ok());
        assert!(seconds.is_some_and(|seconds: u64| (1..=86_400).contains(&seconds)));
        assert_eq!(code(refused), (429, json!("insufficient_quota")));
    };
    spent(&guest);
    let token = guest.token().expect("one").to_owned();
    served.signal("TERM");
    let (output, device) = served.end_and_keep();
    assert_eq!(output.code, Some(143), "{output:?}");
    assert_eq!(listed(&device, "anna")["tokens_today"], 200);
    let again = shared_by(device, &[]);
    spent(&again.guest().with_token(&token));
}

#[test]
fn a_guest_who_is_removed_loses_the_running_answer_and_the_token() {
    let mut served = sharing(&[]);
    let (guest, other) = (added(&served, "anna", &[]), added(&served, "ben", &[]));
    let mut answer = guest.post(CHAT, &endless());
    assert!(answer.part().expect("an answer").is_some());
    let removed = served
        .device()
        .potluck(["guests", "remove", "Anna", "--json"]);
    assert_eq!(removed.success().json()["removed"], "anna");
    assert_eq!(
        code(guest.get("/v1/models")),
        (401, json!("invalid_api_key"))
    );
    let events = answer.events();
    let last = events.last().expect("some");
    assert_eq!(last["error"]["code"], "invalid_api_key", "{last}");
    assert_eq!(served.event("guest_removed")["name"], "anna");
    assert_eq!(other.get("/v1/models").status, 200);
    let unknown = served.device().potluck(["guests", "remove", "anna"]);
    let _ = unknown.failure(1, &["no guest is called \"anna\""]);
    let twice = served.device().potluck(["guests", "add", "BEN"]);
    let _ = twice.failure(1, &["already"]);
}

#[test]
fn the_owner_is_answered_while_guests_have_every_place() {
    let served = sharing(&["--streams", "1"]);
    let guest = added(&served, "anna", &[]);
    let mut running = guest.post(CHAT, &endless());
    assert!(running.part().expect("an answer").is_some());
    let body = said("Hi", json!({"max_tokens": 4, "seed": 3}));
    let beside = served.post(CHAT, &body).json();
    drop(running);
    served.await_number("potluck_requests_running ", |running| running == 0);
    let alone = served.post(CHAT, &body).json();
    assert_eq!(beside["choices"], alone["choices"]);
    assert_eq!(beside["usage"]["completion_tokens"], 4);
}

#[test]
fn wrong_guesses_change_the_pin_and_then_have_to_wait() {
    let mut served = sharing(&[]);
    let guest = served.guest();
    let pin = served.ready["share"]["pin"]
        .as_str()
        .expect("a PIN")
        .to_owned();
    let wrong = match &pin[..] {
        "00000000" => "00000001",
        _ => "00000000",
    };
    for _ in 0..5 {
        let refused = join(&guest, "Anna", ("pin", wrong));
        assert_eq!(code(refused), (403, json!("wrong_pin")));
    }
    let next = served.event("guest_invitation");
    assert_ne!(next["pin"], pin);
    let right = next["pin"].as_str().expect("a PIN");
    let refused = join(&guest, "Anna", ("pin", right));
    let seconds = refused
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    assert!(seconds.is_some_and(|seconds: u64| (300..=601).contains(&seconds)));
    assert_eq!(code(refused), (429, json!("too_many_guesses")));
}

#[test]
fn programs_trust_the_certificate_that_the_page_offers_as_a_file() {
    let served = sharing(&[]);
    let page = served.guest().get("/join").text();
    assert!(page.contains("/guests/certificate.pem"), "{page}");
    // Before there is a token.
    let file = served.guest().get("/guests/certificate.pem");
    assert_eq!(file.status, 200);
    assert_eq!(file.header("content-type"), Some("application/x-pem-file"));
    let trusting = served.guest_trusting(&file.text());
    assert_eq!(trusting.get("/health").status, 200);
    // The owner's port has no certificate.
    assert_eq!(served.get("/guests/certificate.pem").status, 404);
}

#[test]
fn guests_are_listed_and_limited_with_words_for_mistakes() {
    let device = Device::with_tiny_model();
    let at = ["--at", "https://192.168.1.5:11436/"];
    let added = device.potluck([&["guests", "add", "anna"][..], &at].concat());
    let words = "its programs use https://192.168.1.5:11436/v1,";
    assert!(added.success().stderr.contains(words));
    let listed = device.potluck(["guests", "list"]).success();
    assert_eq!(listed.stdout, device.potluck(["guests"]).success().stdout);
    assert!(listed.stdout.contains(" UTC"), "{}", listed.stdout);
    let json = device.potluck(["guests", "list", "--json"]).success();
    assert_eq!(json.json()["guests"][0]["name"], "anna");
    let nothing = ["there is nothing to change: give a limit"];
    let _ = device
        .potluck(["guests", "set", "anna"])
        .failure(2, &nothing);
    for (model, is_warned_of) in [
        ("nonesuch", true),
        ("default", false),
        ("all", false),
        ("smollm2:135m", false),
    ] {
        let set = ["guests", "set", "anna", "--model", model];
        let set = device.potluck(set).success();
        assert_eq!(
            set.stderr.contains("no model on this device is called"),
            is_warned_of,
            "{set:?}"
        );
    }
    let one = device.potluck(["guests", "set", "anna", "--requests", "1"]);
    assert!(one.success().stdout.contains("1 request a minute"));
    let removed = device.potluck(["guests", "revoke", "anna"]).success();
    assert!(removed.stdout.contains("no guest any more"));
}

#[test]
fn foreign_hosts_and_pages_are_refused_and_http_is_told_that_it_is_https() {
    let served = sharing(&["--host", "kitchen.example"]);
    let guest = added(&served, "anna", &[]);
    let port = guest.address().port();
    for host in ["example.org", "evil.local", "127.0.0.1.example.org"] {
        let refused = guest.send("GET", "/v1/models", &[("host", host)], b"");
        assert_eq!(code(refused), (403, json!("host_not_allowed")), "{host}");
    }
    for host in ["localhost", "kitchen.example", "192.168.1.5:11436"] {
        let answer = guest.send("GET", "/v1/models", &[("host", host)], b"");
        assert_eq!(answer.status, 200, "{host}");
    }
    let page = [("origin", "https://example.org")];
    let refused = guest.send("POST", "/guests/join", &page, b"{}");
    assert_eq!(code(refused), (403, json!("origin_not_allowed")));
    // The page's own.
    let own = format!("https://127.0.0.1:{port}");
    let answer = guest.send("GET", "/v1/models", &[("origin", &own)], b"");
    assert_eq!(answer.status, 200);
    let mut plain = guest.connect();
    let head = format!("GET /join HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    plain.write_all(head.as_bytes()).expect("it listens");
    let told = Answer::read(plain).expect("an answer");
    assert_eq!(told.status, 400);
    assert!(told.text().contains("https://"));
}

#[test]
fn slow_handshakes_take_no_place_from_guests_or_the_owner() {
    let served = sharing(&[]);
    let guest = added(&served, "anna", &[]);
    let mut slow = Vec::new();
    // More than are let in at once: silent ones, and ones that begin TLS.
    for n in 0..300 {
        let mut stream = guest.connect();
        if n % 2 == 1 {
            let _ = stream.write_all(&[22, 3, 1, 2, 0]);
        }
        slow.push(stream);
    }
    let body = said("Hi", json!({"max_tokens": 2}));
    assert_eq!(guest.post(CHAT, &body).status, 200);
    assert_eq!(served.post(CHAT, &body).status, 200);
    served.await_number("potluck_http_connections ", |open| open <= 130);
    // All of them end, the last ones when their time is over.
    let begun = Instant::now();
    for mut stream in slow {
        let left = Duration::from_secs(120).saturating_sub(begun.elapsed());
        let patience = left.max(Duration::from_millis(1));
        stream.set_read_timeout(Some(patience)).expect("a socket");
        let end = stream.read(&mut [0; 100]);
        let is_closed = match &end {
            Ok(0) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            Ok(_) => false,
        };
        assert!(is_closed, "{end:?}");
    }
}

#[test]
fn neither_strangers_nor_guests_can_fill_the_memory_with_bodies() {
    let served = sharing(&[]);
    let long = json!({"name": "x".repeat(9000), "pin": "00000000"});
    let refused = served.guest().post("/guests/join", &long);
    assert_eq!(code(refused), (413, json!("request_too_large")));
    let guest = added(&served, "anna", &[]);
    // A mebibyte that would take more than a hundred.
    let many = format!("[{}0]", "[],".repeat(400_000));
    for path in [CHAT, "/v1/embeddings", "/v1/responses"] {
        let refused = guest.send("POST", path, &[], many.as_bytes());
        assert_eq!(code(refused), (413, json!("request_too_large")), "{path}");
    }
    let refused = guest.send("POST", "/api/chat", &[], many.as_bytes());
    assert_eq!(refused.status, 413);
    let body = said("Hi", json!({"max_tokens": 2}));
    assert_eq!(guest.post(CHAT, &body).status, 200);
}

#[test]
fn pins_keys_and_tokens_are_in_no_log() {
    let mut served = sharing(&["-vvv"]);
    let guest = served.guest();
    let share = served.ready["share"].clone();
    let pin = share["pin"].as_str().expect("a PIN").to_owned();
    let (_, key) = share["join"]
        .as_str()
        .and_then(|link| link.split_once('='))
        .expect("a key");
    let guess = "31415926";
    assert_eq!(join(&guest, "Xaver", ("pin", guess)).status, 403);
    let token = join(&guest, "Xaver", ("pin", &pin)).json()["token"].clone();
    let token = token.as_str().expect("a token");
    let asked = guest
        .with_token(token)
        .post(CHAT, &said("Hi", json!({"max_tokens": 1})));
    assert_eq!(asked.status, 200);
    let _ = served.told("how=done");
    let key = key.to_owned();
    served.signal("TERM");
    let output = served.end();
    for secret in [&pin[..], &key, guess, &token[3..]] {
        assert!(!output.stderr.contains(secret), "{}", output.stderr);
    }
}

#[test]
fn what_cannot_be_shared_is_refused_in_words() {
    let device = Device::new();
    let cases: [(&[&str], &str); 4] = [
        (&["serve", "--share-at", "127.0.0.1:0"], "--share"),
        (&["serve", "--share", "--share-at", "x"], "write an address"),
        (&["guests", "add", "anna", "--until", "soon"], "2027-01-31"),
        (&["guests", "add", "anna", "--at", "http://x"], "https://"),
    ];
    for (arguments, words) in cases {
        let _ = device.potluck(arguments).failure(2, &[words]);
    }
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("an address").to_string();
    let shared = ["serve", "--http", "127.0.0.1:0", "--share", "--share-at"];
    let arguments: Vec<_> = shared.iter().copied().chain([&address[..]]).collect();
    let words = [&address[..], "another program uses this port", "--share-at"];
    let _ = device.potluck(arguments).failure(1, &words);
    let nobody = device.potluck(["guests"]).success();
    assert!(nobody.stderr.contains("there are no guests"), "{nobody:?}");
    for name in ["", " x", "a\u{7}"] {
        let _ = device
            .potluck(["guests", "add", name])
            .failure(1, &["a guest's name"]);
    }
}
