//! Spans at a collector. They need a binary with the feature `otlp`, which is not the usual one:
//!
//! ```sh
//! cargo build --release --workspace --bin potluck --features potluck/otlp
//! POTLUCK_TEST_OTLP=required cargo test --release --workspace --features potluck/otlp --test otlp
//! ```
//!
//! With another binary there is nothing to try; `POTLUCK_TEST_OTLP=required` makes that a failure.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use potluck_tests::{Device, Served};
use serde_json::json;

/// The heads and bodies of requests.
type Requests = Vec<(String, Vec<u8>)>;

/// A collector, and what it was sent.
struct Collector {
    address: String,
    sent: Arc<Mutex<Requests>>,
}

impl Collector {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || while take(&stream, &kept).is_some() {});
            }
        });
        Self {
            address: format!("http://{address}"),
            sent,
        }
    }

    /// The bodies of all requests, once one of them says this.
    fn wait_for(&self, words: &str) -> Vec<u8> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let all = self.all();
            if has(&all, words) {
                return all;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("no span says {words}");
    }

    fn all(&self) -> Vec<u8> {
        let sent = self.sent.lock().expect("unharmed");
        sent.iter().flat_map(|(_, body)| body.clone()).collect()
    }
}

/// Takes one request.
fn take(mut stream: &TcpStream, kept: &Mutex<Requests>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    kept.lock().ok()?.push((head, body));
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .ok()
}

/// Strings lie in protobuf as they are.
fn has(bytes: &[u8], words: &str) -> bool {
    bytes
        .windows(words.len())
        .any(|window| window == words.as_bytes())
}

/// Whether the binary has the feature.
///
/// # Panics
/// It has not, and `POTLUCK_TEST_OTLP=required` says that it must.
fn has_feature(device: &Device) -> bool {
    let help = device.potluck(["serve", "--help"]).success().stdout;
    let has = help.contains("--otlp");
    if !has {
        let wanted = std::env::var_os("POTLUCK_TEST_OTLP").is_some();
        assert!(!wanted, "this binary has no feature `otlp`");
        println!("not tried: this binary has no feature `otlp`");
    }
    has
}

#[test]
fn a_collector_gets_requests_with_their_numbers_and_without_their_text() {
    let device = Device::with_tiny_model();
    if !has_feature(&device) {
        return;
    }
    let collector = Collector::new();
    let options = [
        "--open",
        "--model",
        "tiny.gguf",
        "--otlp",
        &collector.address,
    ];
    let served = Served::start(device, &options);
    let body = json!({
        "messages": [{"role": "user", "content": "Xylophones quibble zealously"}],
        "max_tokens": 5, "temperature": 0,
    });
    let answer = served.post("/v1/chat/completions", &body).json();
    let said = answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default();
    let model = answer["model"].as_str().expect("a name");
    // What a program that ends still has is sent.
    served.signal("TERM");
    let _ = served.end();
    let all = collector.wait_for("first_token_ms");
    for words in [
        "potluck",
        "request",
        "/v1/chat/completions",
        "POST",
        model,
        "127.0.0.1",
        "status",
        "done",
        "prompt_tokens",
        "cached_tokens",
        "waited_ms",
    ] {
        assert!(has(&all, words), "{words}");
    }
    for word in ["Xylophones", "quibble", "zealously"] {
        assert!(!has(&all, word), "{word}");
    }
    assert!(said.len() < 12 || !has(&all, said), "{said}");
    let sent = collector.sent.lock().expect("unharmed");
    assert!(
        sent.iter()
            .all(|(head, _)| head.starts_with("post /v1/traces http/1.1"))
    );
}

#[test]
fn an_address_that_is_none_is_refused_and_a_collector_that_is_gone_harms_nobody() {
    let device = Device::with_tiny_model();
    if !has_feature(&device) {
        return;
    }
    let wrong = ["id", "--otlp", "localhost"];
    let _ = device
        .potluck(wrong)
        .failure(2, &["write an address like http://127.0.0.1:4318"]);
    let gone = [
        "run",
        "-m",
        "tiny.gguf",
        "-n",
        "2",
        "--otlp",
        "http://127.0.0.1:1",
        "Hi",
    ];
    let _ = device.potluck(gone).success();
}
