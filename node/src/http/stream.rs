//! Answers that are written while they come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{FutureExt as _, stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::account::Account;
use super::answers::{Choices, lost};
use super::api::comment;
use super::fault::Fault;
use crate::serve::{RequestError, Update};

/// The head of an answer is sent after this time at the latest: until then a failure has a status of its
/// own, and from then on the client knows that somebody is there.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long nothing may be sent.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Writes what happens to a request as a stream of one dialect.
pub(super) trait Writer: Send + 'static {
    /// The content's type: events, unless a dialect has another.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
    /// What is sent with the head.
    fn open(&mut self, out: &mut Vec<u8>) {
        comment(out);
    }
    /// What is sent so that nobody takes the connection for dead.
    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        comment(out);
    }
    /// What happened to a choice; not [`Update::Failed`].
    fn write(&mut self, choice: usize, update: Update, out: &mut Vec<u8>);
    /// The answer is not whole and will not be.
    fn fail(&mut self, error: &RequestError, out: &mut Vec<u8>);
    /// All choices are done.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// The answer, from when something of it is known.
///
/// # Errors
/// It failed before.
pub(super) async fn respond(
    mut choices: Choices,
    writer: impl Writer,
    account: Arc<Account>,
) -> Result<Response, Fault> {
    let until = Instant::now() + HEAD_WITHIN;
    let first = loop {
        match timeout_at(until, choices.next()).await {
            Err(_) => break None,
            Ok(None) => return Err(lost().into()),
            Ok(Some((_, Update::Failed(error)))) => return Err(error.into()),
            Ok(Some((_, Update::Waiting { .. } | Update::Loading { .. }))) => {}
            Ok(Some(first)) => break Some(first),
        }
    };
    let content_type = HeaderValue::from_static(writer.content_type());
    let open = choices.len();
    let answer = Answer {
        choices,
        writer,
        first,
        open,
        is_opened: false,
        _account: account,
    };
    let body = stream::unfold(Some(answer), |answer| async move {
        let (bytes, rest) = answer?.next().await;
        Some((Ok::<_, Infallible>(bytes), rest))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect answers would keep them until their end.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// An answer that is being written.
struct Answer<W> {
    choices: Choices,
    writer: W,
    first: Option<(usize, Update)>,
    /// Choices that are not done.
    open: usize,
    is_opened: bool,
    _account: Arc<Account>,
}

impl<W: Writer> Answer<W> {
    /// The next bytes, and what is to come after them.
    async fn next(mut self) -> (Vec<u8>, Option<Self>) {
        let mut out = Vec::new();
        if !self.is_opened {
            self.is_opened = true;
            self.writer.open(&mut out);
            let first = self.first.take();
            if first.is_some() && self.is_over(first, &mut out) {
                return (out, None);
            }
        }
        while out.is_empty() {
            match timeout(KEEP_ALIVE, self.choices.next()).await {
                Err(_) => self.writer.keep_alive(&mut out),
                Ok(next) => {
                    if self.is_over(next, &mut out) {
                        return (out, None);
                    }
                }
            }
        }
        // What is there already goes along.
        while let Some(next) = self.choices.next().now_or_never() {
            if self.is_over(next, &mut out) {
                return (out, None);
            }
        }
        (out, Some(self))
    }

    /// Writes what happened next; whether that is the end of the answer.
    fn is_over(&mut self, next: Option<(usize, Update)>, out: &mut Vec<u8>) -> bool {
        match next {
            Some((_, Update::Failed(error))) => {
                self.writer.fail(&error, out);
                return true;
            }
            Some((choice, update)) => self.take(choice, update, out),
            None => {
                self.writer.fail(&lost(), out);
                return true;
            }
        }
        if self.open == 0 {
            self.writer.end(out);
        }
        self.open == 0
    }

    fn take(&mut self, choice: usize, update: Update, out: &mut Vec<u8>) {
        if matches!(update, Update::Done(_)) {
            self.open = self.open.saturating_sub(1);
        }
        self.writer.write(choice, update, out);
    }
}
