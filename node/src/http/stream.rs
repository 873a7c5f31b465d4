//! Streamed answers.

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

/// The latest time at which the head is sent. Before it, a failure still gets its own status; after
/// it, the client knows that the server is working.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Longest time without sending anything.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Formats the updates of a request as a stream in one dialect.
pub(super) trait Writer: Send + 'static {
    /// The content type; events by default.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
    /// Sent with the head.
    fn open(&mut self, out: &mut Vec<u8>) {
        comment(out);
    }
    /// Sent to keep an idle connection alive.
    fn keep_alive(&mut self, out: &mut Vec<u8>) {
        comment(out);
    }
    /// Writes an update of a choice; never [`Update::Failed`].
    fn write(&mut self, choice: usize, update: Update, out: &mut Vec<u8>);
    /// Writes that the answer failed before its end.
    fn fail(&mut self, error: &RequestError, out: &mut Vec<u8>);
    /// Writes the end, once all choices are done.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// The streamed response, once its first update has arrived or [`HEAD_WITHIN`] has passed.
///
/// # Errors
/// The answer failed before that.
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
    // Buffering proxies would hold the answer back until its end.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// An answer being streamed.
struct Answer<W> {
    choices: Choices,
    writer: W,
    first: Option<(usize, Update)>,
    /// Number of choices that are not done.
    open: usize,
    is_opened: bool,
    _account: Arc<Account>,
}

impl<W: Writer> Answer<W> {
    /// The next bytes, and the rest of the answer if there is any.
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
        // Batch the updates that are already available.
        while let Some(next) = self.choices.next().now_or_never() {
            if self.is_over(next, &mut out) {
                return (out, None);
            }
        }
        (out, Some(self))
    }

    /// Writes the next update. Returns whether the answer has ended.
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
