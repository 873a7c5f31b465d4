//! Request bodies, bounded in size and time.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::connection::Phase;
use super::fault::Fault;

/// Largest body, in bytes.
pub(super) const LIMIT: usize = 16 << 20;
/// Time within which the whole body must arrive.
const WITHIN: Duration = Duration::from_secs(60);
/// Longer bodies are parsed on another thread, so that other answers are not delayed.
const AT_ONCE: usize = 256 << 10;

/// The JSON of a request.
///
/// # Errors
/// The body is too long, too slow or not JSON.
pub(super) async fn json(request: Request) -> Result<Value, Fault> {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > LIMIT as u64) {
        return Err(Fault::too_large(LIMIT));
    }
    let bytes = timeout(WITHIN, whole(body)).await;
    let bytes = bytes.map_err(|_| Fault::too_slow())??;
    if let Some(phase) = parts.extensions.get::<Phase>() {
        phase.answering();
    }
    if bytes.len() <= AT_ONCE {
        return parse(&bytes);
    }
    let parsed = tokio::task::spawn_blocking(move || parse(&bytes)).await;
    parsed.map_err(|_| Fault::malformed("the body could not be read"))?
}

async fn whole(body: Body) -> Result<Vec<u8>, Fault> {
    let mut parts = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Fault::malformed("the body ended too early"))?;
        if bytes.len() + part.len() > LIMIT {
            return Err(Fault::too_large(LIMIT));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Value, Fault> {
    // These error messages name the grammar rule and the position, never the content.
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::malformed(format!("the body is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_json_is_refused_without_its_text() {
        for text in [
            "",
            "{",
            "{\"secret\": }",
            "{'secret': 1}",
            "\u{feff}",
            "secret",
        ] {
            let fault = parse(text.as_bytes()).expect_err("malformed");
            assert_eq!(fault.status, 400, "{text}");
            assert!(!fault.message.contains("secret"), "{}", fault.message);
        }
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
        assert!(parse(b"{\"a\": \"\xff\"}").is_err());
    }
}
