//! Requests in the shapes that clients were seen to send, each answered as its client needs.
//!
//! `tests/data/api_requests.jsonl` has them: what is recorded is the shape, the words are ours.

use std::fs;
use std::thread;

use potluck_tests::{Answer, Client, workspace};
use serde::Deserialize;
use serde_json::{Value, json};

use super::open;

#[derive(Deserialize)]
struct Recorded {
    what: String,
    /// What kind of answer the client needs.
    answer: String,
    method: String,
    path: String,
    headers: serde_json::Map<String, Value>,
    body: Value,
}

impl Recorded {
    fn all() -> Vec<Self> {
        let path = workspace().join("tests/data/api_requests.jsonl");
        let text = fs::read_to_string(path).expect("readable");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("a request"))
            .collect()
    }

    /// The body, with fewer tokens than the model would write.
    fn body(&self) -> String {
        let mut body = self.body.clone();
        // Objects and calls have to end.
        let most = match self.answer.as_str() {
            "call" | "schema" => 150,
            _ => 8,
        };
        if let Some(fields) = body.as_object_mut() {
            match self.path.as_str() {
                "/api/chat" | "/api/generate" => {
                    let options = fields.entry("options").or_insert(json!({}));
                    options["num_predict"] = most.into();
                    options["seed"] = 1.into();
                }
                "/v1/responses" => {
                    fields.insert("max_output_tokens".to_owned(), most.into());
                }
                "/v1/chat/completions" | "/chat/completions" | "/v1/completions" => {
                    fields.insert("max_tokens".to_owned(), most.into());
                    fields.insert("seed".to_owned(), 1.into());
                }
                _ => {}
            }
            return body.to_string();
        }
        String::new()
    }

    fn ask(&self, served: &Client) -> Answer {
        let headers = self.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_str().expect("text")))
            .collect();
        headers.push(("authorization", "Bearer TEST-KEY"));
        served.send(&self.method, &self.path, &headers, self.body().as_bytes())
    }

    fn check(&self, served: &Client) {
        let answer = self.ask(served);
        let status = answer.status;
        match self.answer.as_str() {
            "stream" => {
                let kind = answer.header("content-type").expect("a type").to_owned();
                assert!(kind.starts_with("text/event-stream"));
                check_stream(&answer.events(), &self.body);
            }
            "lines" => check_lines(&answer.lines()),
            "response stream" => check_response(&answer.events().pop().expect("some")["response"]),
            "preflight" => {
                let asked = self.headers["access-control-request-headers"].as_str();
                assert_eq!(answer.header("access-control-allow-headers"), asked);
                assert_eq!(status, 204);
            }
            "refused" => {
                assert_eq!(status, 400);
                assert!(answer.json()["error"]["param"].is_string());
            }
            kind => {
                let answer = answer.json();
                assert_eq!(status, 200, "{answer}");
                check_whole(kind, &answer);
            }
        }
    }
}

fn check_stream(events: &[Value], body: &Value) {
    for event in events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert!(event["id"].is_string() && event["created"].is_u64());
        assert!(event["model"].is_string());
    }
    let with_usage = body["stream_options"]["include_usage"] == true;
    let (usage, chunks) = match with_usage {
        true => events.split_last().expect("some"),
        false => (&Value::Null, events),
    };
    assert_eq!(with_usage, usage["usage"]["total_tokens"].is_u64());
    let choice = |event: &Value| event["choices"][0].clone();
    let first = choice(&chunks[0]);
    assert_eq!(first["delta"], json!({"role": "assistant", "content": ""}));
    let (last, middle) = chunks.split_last().expect("some");
    assert!(choice(last)["finish_reason"].is_string());
    assert!(
        middle
            .iter()
            .all(|event| choice(event)["finish_reason"].is_null())
    );
    assert!(
        chunks
            .iter()
            .all(|event| choice(event)["index"] == 0 && event["usage"].is_null())
    );
}

fn check_lines(lines: &[Value]) {
    let (last, others) = lines.split_last().expect("some");
    assert!(last["done"] == true && last["eval_count"].is_u64());
    for line in others {
        assert_eq!(line["done"], false);
        assert_eq!(line["message"]["role"], "assistant");
        assert!(line["created_at"].is_string());
    }
}

fn check_response(response: &Value) {
    assert_eq!(response["object"], "response");
    let status = response["status"].as_str().expect("a status");
    assert!(["completed", "incomplete"].contains(&status));
    for item in response["output"].as_array().expect("items") {
        assert!(item["id"].is_string());
        match item["type"].as_str() {
            Some("message") => {
                assert!(item["content"][0]["text"].is_string());
                assert!(item["content"][0]["annotations"].is_array());
            }
            _ => assert!(item["call_id"].is_string() && item["arguments"].is_string()),
        }
    }
    assert!(response["usage"]["total_tokens"].is_u64());
}

fn check_whole(kind: &str, answer: &Value) {
    let choice = &answer["choices"][0];
    let message = &choice["message"];
    match kind {
        "chat" | "schema" | "logprobs" | "call" => {
            assert_eq!(answer["object"], "chat.completion");
            assert_eq!(
                (&choice["index"], &message["role"]),
                (&json!(0), &json!("assistant"))
            );
            assert!(answer["usage"]["total_tokens"].is_u64());
            assert!(choice["finish_reason"].is_string());
        }
        _ => {}
    }
    match kind {
        "chat" => assert!(message["content"].is_string()),
        "schema" => {
            let text = message["content"].as_str().expect("text");
            // The model may not come to the end of a text.
            let is_whole = choice["finish_reason"] == "stop";
            assert!(
                !is_whole || serde_json::from_str::<Value>(text).is_ok(),
                "{text}"
            );
            assert!(text.trim_start().starts_with('{'), "{text}");
        }
        "logprobs" => {
            let token = &choice["logprobs"]["content"][0];
            assert!(token["logprob"].is_f64() && token["bytes"].is_array());
            assert_eq!(token["top_logprobs"].as_array().map(Vec::len), Some(2));
        }
        "call" => {
            let call = &message["tool_calls"][0];
            assert!(call["id"].is_string() && call["type"] == "function");
            let arguments = call["function"]["arguments"].as_str().expect("text");
            // The model may not come to the end of its calls.
            if choice["finish_reason"] == "length" {
                return;
            }
            assert!(
                serde_json::from_str::<Value>(arguments).is_ok(),
                "{arguments}"
            );
            assert_eq!(choice["finish_reason"], "tool_calls");
        }
        "base64" => {
            let vector = answer["data"][1]["embedding"].as_str().expect("text");
            assert_eq!(vector.len(), 3072);
        }
        "vectors" => {
            let vectors = answer["embeddings"].as_array().expect("vectors");
            assert_eq!(vectors.len(), 2);
        }
        "response" => check_response(answer),
        "completion" => assert!(choice["text"].is_string()),
        "model" => assert_eq!(
            (&answer["id"], &answer["object"]),
            (&json!("org/name:tag"), &json!("model"))
        ),
        "object" => {
            assert!(answer["done"] == true);
            assert!(answer["message"]["content"].is_string() || answer["response"].is_string());
        }
        "shown" => assert!(answer["model_info"]["llama.context_length"].is_u64()),
        kind => panic!("no kind of answer is called {kind}"),
    }
}

#[test]
fn every_recorded_request_is_answered_as_its_client_needs() {
    let aliases = ["stub", "s", "o3-mini", "org/name:tag"];
    let aliases = aliases.map(|name| format!("{name}=smollm2:135m"));
    let aliases = aliases.iter().flat_map(|alias| ["--alias", alias.as_str()]);
    let options: Vec<_> = ["--origin", "http://127.0.0.1:3000"]
        .into_iter()
        .chain(aliases)
        .collect();
    let served = open(&options);
    let client: &Client = &served;
    let all = Recorded::all();
    assert!(all.len() >= 39, "{}", all.len());
    thread::scope(|scope| {
        let asked: Vec<_> = all
            .iter()
            .map(|one| (one, scope.spawn(|| one.check(client))))
            .collect();
        let failed = asked
            .into_iter()
            .filter_map(|(one, asked)| asked.join().is_err().then_some(one.what.as_str()));
        let failed: Vec<_> = failed.collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}
