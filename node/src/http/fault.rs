//! Errors of the API, before a dialect formats them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::guests::OverLimit;
use crate::serve::RequestError;

/// Range of `Retry-After`, in seconds: some clients ignore more than a minute.
const RETRY_AFTER: std::ops::RangeInclusive<u64> = 1..=60;

/// Why a request is refused. The message contains no text of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// OpenAI's `type`.
    pub(super) kind: &'static str,
    /// OpenAI's `code`, which clients act on.
    pub(super) code: Option<&'static str>,
    /// A message for people.
    pub(super) message: String,
    /// The field that caused the error.
    pub(super) param: Option<String>,
    /// Seconds after which a retry makes sense.
    pub(super) retry_after: Option<u64>,
}

impl Fault {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let kind = match status.is_server_error() {
            true => "server_error",
            false => "invalid_request_error",
        };
        Self {
            status,
            kind,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// An invalid field.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut fault = Self::new(StatusCode::BAD_REQUEST, Some("invalid_value"), message);
        fault.param = Some(param.into());
        fault
    }

    /// A field that would change the answer and that this node does not support.
    pub(super) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut fault = Self::invalid(param, message);
        fault.code = Some("unsupported_parameter");
        fault
    }

    /// A body that is not a valid request.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Some("invalid_json"), message)
    }

    /// A body that is too long.
    pub(super) fn too_large(limit: usize) -> Self {
        let words = match limit >> 20 {
            0 => format!("the body is longer than {} KiB", limit >> 10),
            mib => format!("the body is longer than {mib} MiB"),
        };
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Some("request_too_large"),
            words,
        )
    }

    /// A body with more values than there is memory for.
    pub(super) fn too_many_values() -> Self {
        let words = "the body takes more memory than this node has for one: send fewer values";
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Some("request_too_large"),
            words,
        )
    }

    /// Other requests have taken the memory for long bodies.
    pub(super) fn no_room() -> Self {
        let words = "other long requests are being answered: try again in a moment";
        let mut fault = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            Some("rate_limit_exceeded"),
            words,
        );
        fault.kind = "rate_limit_error";
        fault.retry_after = Some(1);
        fault
    }

    /// A body that did not arrive in time.
    pub(super) fn too_slow() -> Self {
        let words = "the body did not come in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, Some("request_timeout"), words)
    }

    /// A missing or wrong token; `is_shared` for the guests' port.
    pub(super) fn unauthorized(given: bool, is_shared: bool) -> Self {
        let words = match given {
            _ if is_shared => {
                "this node needs a guest's token as the API key, `Authorization: Bearer …`: /join gives \
                 one to whoever sees this device's screen"
            }
            true => {
                "the API key is not this node's: give the text of its token file as the API key, \
                 `Authorization: Bearer …`"
            }
            false => {
                "this node needs its token as the API key, `Authorization: Bearer …`: `potluck serve` \
                 says which file has it, and with --open it needs none"
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), words)
    }

    /// An expired token.
    pub(super) fn over(message: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message)
    }

    /// Too many wrong guesses of a token or PIN.
    pub(super) fn too_many_guesses(message: String, retry_after: Duration) -> Self {
        let whole = Duration::from_secs(retry_after.as_secs() + 1);
        Self::over_limit("too_many_guesses", message, whole)
    }

    /// A guest has exceeded one of its limits.
    fn over_limit(code: &'static str, message: String, retry_after: Duration) -> Self {
        let mut fault = Self::new(StatusCode::TOO_MANY_REQUESTS, Some(code), message);
        fault.kind = "rate_limit_error";
        // The true delay, even if it is hours.
        fault.retry_after = Some(retry_after.as_secs().max(1));
        fault
    }

    /// The request cannot be answered now, but perhaps after this time.
    fn unavailable(code: &'static str, message: String, retry_after: Duration) -> Self {
        let mut fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, Some(code), message);
        fault.retry_after = Some(retry_after.as_secs());
        fault
    }

    /// A web origin or a host name that is not allowed.
    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Some(code), message)
    }

    /// A model that a guest may not use, whether or not there is one of this name.
    pub(super) fn not_for_this_guest() -> Self {
        let words =
            "this guest may use no model of this name: GET /v1/models lists those that it may";
        let mut fault = Self::new(StatusCode::NOT_FOUND, Some("model_not_found"), words);
        fault.param = Some("model".to_owned());
        fault
    }

    /// An unknown path.
    pub(super) fn no_such_path() -> Self {
        let words = "there is nothing at this path: GET /openapi.json says what there is";
        Self::new(StatusCode::NOT_FOUND, Some("not_found"), words)
    }

    /// A path by which Ollama's clients fetch or change models.
    pub(super) fn not_managed_here() -> Self {
        let words = "the API does not fetch or change models: use `potluck pull NAME` on the device, or put \
                     GGUF files into its models folder";
        Self::new(StatusCode::NOT_FOUND, Some("not_found"), words)
    }

    /// The path does not support this method.
    pub(super) fn no_such_method() -> Self {
        let words = "this path is for another method: GET /openapi.json says which";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Some("method_not_allowed"),
            words,
        )
    }

    /// OpenAI's error object.
    pub(super) fn object(&self) -> Value {
        json!({
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        })
    }

    /// The response in a dialect.
    pub(super) fn respond(&self, dialect: Dialect) -> Response {
        let body = match dialect {
            Dialect::OpenAi => json!({"error": self.object()}),
            // Ollama's clients expect a string; an object would fail to parse.
            Dialect::Ollama => json!({"error": self.message}),
        };
        let mut response = respond(self.status, &body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::UnknownModel { .. } | RequestError::NotFetched { .. } => {
                let mut fault = Self::new(StatusCode::NOT_FOUND, Some("model_not_found"), message);
                fault.param = Some("model".to_owned());
                fault
            }
            RequestError::TooLong { tokens, context } => {
                // Clients match on this exact wording.
                let words = format!(
                    "context_length_exceeded: This model's maximum context length is {context} tokens. \
                     However, your messages resulted in {tokens} tokens. Please reduce the length of the \
                     messages."
                );
                let code = Some("context_length_exceeded");
                let mut fault = Self::new(StatusCode::BAD_REQUEST, code, words);
                fault.param = Some("messages".to_owned());
                fault
            }
            RequestError::Busy { retry_after, .. } => {
                let code = Some("rate_limit_exceeded");
                let mut fault = Self::new(StatusCode::TOO_MANY_REQUESTS, code, message);
                fault.kind = "rate_limit_error";
                let seconds = retry_after.as_secs_f64().ceil() as u64;
                fault.retry_after = Some(seconds.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end()));
                fault
            }
            RequestError::Spent { retry_after } => {
                Self::over_limit(OUT_OF_TOKENS, message, retry_after)
            }
            RequestError::Withdrawn => Self::over(message),
            RequestError::Invalid { field, .. } => {
                let code = Some("invalid_value");
                let mut fault = Self::new(StatusCode::BAD_REQUEST, code, message);
                fault.param = field.map(str::to_owned);
                fault
            }
            RequestError::NoMemory { .. } => {
                Self::unavailable("insufficient_memory", message, MEMORY_RETURNS)
            }
            RequestError::NoDevices { .. } => {
                Self::unavailable("devices_unavailable", message, DEVICES_RETURN)
            }
            RequestError::Failed { .. } => {
                let code = Some("failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
            }
            RequestError::Stopping => Self::unavailable("stopping", message, RESTARTED),
        }
    }
}

/// When to try again after a 503: devices that come back are connected by then, other models may have
/// freed memory, and a node that stops may have been started again.
const DEVICES_RETURN: Duration = Duration::from_secs(10);
const MEMORY_RETURNS: Duration = Duration::from_secs(60);
const RESTARTED: Duration = Duration::from_secs(5);

/// Clients do not retry on this code.
const OUT_OF_TOKENS: &str = "insufficient_quota";

impl From<OverLimit> for Fault {
    fn from(over: OverLimit) -> Self {
        let message = over.to_string();
        match over {
            OverLimit::TooOften { retry_after, .. }
            | OverLimit::TooManyAtOnce { retry_after, .. } => {
                Self::over_limit("rate_limit_exceeded", message, retry_after)
            }
            OverLimit::Spent { retry_after, .. } => {
                Self::over_limit(OUT_OF_TOKENS, message, retry_after)
            }
            OverLimit::TooManyAnswers { .. } => Self::invalid("n", message),
        }
    }
}

/// The dialect that formats a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Ollama,
}

impl Dialect {
    /// The dialect of a path.
    pub(super) fn of(path: &str) -> Self {
        match path == "/api" || path.starts_with("/api/") {
            true => Self::Ollama,
            false => Self::OpenAi,
        }
    }
}

impl IntoResponse for Fault {
    /// The response in OpenAI's format.
    fn into_response(self) -> Response {
        self.respond(Dialect::OpenAi)
    }
}

/// A response with one JSON value.
pub(super) fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_codes_and_words_that_clients_act_on() {
        let too_long = Fault::from(RequestError::TooLong {
            tokens: 9000,
            context: 2048,
        });
        assert_eq!(too_long.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            too_long.object(),
            json!({
                "message": "context_length_exceeded: This model's maximum context length is 2048 tokens. \
                    However, your messages resulted in 9000 tokens. Please reduce the length of the messages.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            })
        );
        let unknown = Fault::from(RequestError::UnknownModel {
            model: "x".to_owned(),
        });
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        assert_eq!(unknown.code, Some("model_not_found"));
        for (wait, told) in [(0.2, 1), (7.1, 8), (400.0, 60)] {
            let busy = Fault::from(RequestError::Busy {
                waiting: 3,
                retry_after: Duration::from_secs_f64(wait),
            });
            assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(busy.retry_after, Some(told));
            let response = busy.respond(Dialect::OpenAi);
            assert_eq!(response.headers()[header::RETRY_AFTER], told.to_string());
        }
    }

    #[test]
    fn paths_have_the_dialect_of_their_clients() {
        assert_eq!(Dialect::of("/api/chat"), Dialect::Ollama);
        assert_eq!(Dialect::of("/api"), Dialect::Ollama);
        for path in ["/v1/chat/completions", "/apis", "/", "/v1/api/chat"] {
            assert_eq!(Dialect::of(path), Dialect::OpenAi);
        }
    }
}
