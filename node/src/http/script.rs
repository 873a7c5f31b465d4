//! Scripted answers for tests, and helpers to send requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request as HttpRequest, StatusCode};
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::Access;
use super::answers::{Answers, Updates};
use super::api::Api;
use super::connection::Connections;
use super::guard::Guard;
use super::room::Room;
use super::routes::router;
use crate::serve::{
    Caller, Embedded, Finish, Input, LoadedModel, ModelCard, Numbers, Request, RequestError,
    Summary, TokenInfo, Update,
};

/// An `Answers` that answers every request in the same way.
pub(super) struct Script {
    /// Builds the updates of an answer.
    pub(super) updates: Box<dyn Fn() -> Vec<Update> + Send + Sync>,
    /// Whether the stream stays open after these updates.
    pub(super) endless: bool,
    /// The requests received.
    pub(super) asked: Arc<Mutex<Vec<Request>>>,
    /// Cloned into each open answer, so that its strong count shows how many there are.
    pub(super) open: Arc<()>,
    pub(super) refuses: Option<RequestError>,
}

impl Script {
    pub(super) fn new(updates: impl Fn() -> Vec<Update> + Send + Sync + 'static) -> Self {
        Self {
            updates: Box::new(updates),
            endless: false,
            asked: Arc::default(),
            open: Arc::new(()),
            refuses: None,
        }
    }
}

pub(super) fn content(text: &str) -> Update {
    Update::Content {
        text: text.to_owned().into(),
        tokens: vec![TokenInfo {
            id: 1,
            bytes: text.as_bytes().to_vec().into(),
            logprob: -0.5,
            top: vec![(1, text.as_bytes().to_vec().into(), -0.5)],
        }],
    }
}

pub(super) fn call(index: usize, name: &str) -> Update {
    Update::ToolCall {
        index,
        id: format!("call_{index}"),
        name: name.to_owned(),
    }
}

pub(super) fn done(finish: Finish) -> Update {
    Update::Done(Summary {
        finish,
        prompt_tokens: 10,
        cached_tokens: 4,
        completion_tokens: 3,
        reasoning_tokens: 1,
        waited: Duration::from_millis(1),
        loading: Duration::ZERO,
        prefill: Duration::from_millis(2),
        decode: Duration::from_millis(3),
    })
}

pub(super) fn started() -> Update {
    Update::Started {
        prompt_tokens: 10,
        cached_tokens: 4,
    }
}

/// "Hello" in two parts.
pub(super) fn hello() -> Vec<Update> {
    let end = done(Finish::EndOfTurn);
    let before = Update::Waiting { before: 1 };
    vec![before, started(), content("Hel"), content("lo"), end]
}

impl Answers for Script {
    fn models(&self) -> Vec<ModelCard> {
        self.card("").into_iter().collect()
    }

    fn card(&self, name: &str) -> Result<ModelCard, RequestError> {
        if name == "none" {
            let model = name.to_owned();
            return Err(RequestError::UnknownModel { model });
        }
        let name = match name {
            "" => "stub",
            name => name,
        };
        Ok(ModelCard {
            name: name.to_owned(),
            title: None,
            path: "stub.gguf".into(),
            is_here: true,
            is_default: true,
            bytes: 1000,
            modified: None,
            digest: None,
            context: Some(2048),
            quantisation: Some("Q4_1".to_owned()),
            inspection: None,
        })
    }

    fn loaded(&self) -> Vec<LoadedModel> {
        Vec::new()
    }

    fn unload(&self, _: &str) -> Result<(), RequestError> {
        Ok(())
    }

    fn submit(&self, request: Request) -> Result<Updates, RequestError> {
        self.asked.lock().expect("no panic").push(request);
        if let Some(error) = &self.refuses {
            return Err(error.clone());
        }
        let under_way = Arc::clone(&self.open);
        let updates = stream::iter((self.updates)());
        Ok(match self.endless {
            true => {
                let forever = Forever(Box::pin(updates), under_way);
                Box::pin(forever)
            }
            false => Box::pin(updates),
        })
    }

    fn embed(
        &self,
        _: &str,
        inputs: Vec<Input>,
        _: Caller,
    ) -> Result<BoxFuture<'static, Result<Embedded, RequestError>>, RequestError> {
        let embedded = Embedded {
            vectors: vec![vec![0.6, -0.8]; inputs.len()],
            tokens: 7,
        };
        Ok(Box::pin(std::future::ready(Ok(embedded))))
    }

    fn numbers(&self) -> Numbers {
        Numbers::default()
    }
}

/// Updates, and then a stream that stays pending.
struct Forever(Updates, #[allow(dead_code)] Arc<()>);

impl Stream for Forever {
    type Item = Update;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Update>> {
        match self.0.as_mut().poll_next(context) {
            std::task::Poll::Ready(None) => std::task::Poll::Pending,
            other => other,
        }
    }
}

/// A response.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) text: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The JSON of all events, without the final `[DONE]`.
    pub(super) fn events(&self) -> Vec<Value> {
        assert_eq!(self.content_type, "text/event-stream; charset=utf-8");
        let frames = self.text.split("\n\n").filter(|frame| !frame.is_empty());
        let data = frames.filter(|frame| !frame.starts_with(':')).map(|frame| {
            let line = frame.lines().find_map(|line| line.strip_prefix("data: "));
            line.unwrap_or_else(|| panic!("a frame without data: {frame:?}"))
        });
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    /// The JSON of all lines.
    pub(super) fn lines(&self) -> Vec<Value> {
        assert_eq!(self.content_type, "application/x-ndjson");
        assert!(self.text.ends_with('\n'), "the last line ends, too");
        let lines = self.text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// The API of a script, without a token.
pub(super) fn api(script: Script) -> Arc<Api> {
    let access = Access::default();
    Arc::new(Api {
        answers: Arc::new(script),
        guard: Guard {
            token: access.token,
            hosts: access.hosts,
            any_address: false,
            share: None,
            shared_hosts: Vec::new(),
            origins: vec!["https://example.org".to_owned()],
        },
        certificate: None,
        counters: Arc::default(),
        connections: vec![Connections::new(1, Room::of(0))],
    })
}

/// Sends a request to a script and collects the whole response.
pub(super) fn ask(script: Script, method: &str, path: &str, body: &Value) -> Answered {
    let request = HttpRequest::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:11435")
        .body(Body::from(match body {
            Value::Null => String::new(),
            body => body.to_string(),
        }))
        .expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let service = TowerToHyperService::new(router(api(script)));
        let response = service.call(request).await.expect("an answer");
        let status = response.status();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map(|value| value.to_str().expect("text").to_owned());
        let bytes = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        Answered {
            status,
            content_type: content_type.unwrap_or_default(),
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    })
}

/// Like [`ask`], with the method POST.
pub(super) fn post(script: Script, path: &str, body: &Value) -> Answered {
    ask(script, "POST", path, body)
}
