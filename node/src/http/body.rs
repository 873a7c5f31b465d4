//! Request bodies, bounded in size, memory and time.
//!
//! Every connection could send the largest body at once, and JSON such as `[[],[],…` takes many
//! times its length once it is parsed. So the bodies of one port share a [`Room`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::account::Account;
use super::connection::Phase;
use super::fault::Fault;
use super::room::{Room, Taken};

/// Largest body, in bytes.
pub(super) const LIMIT: usize = 16 << 20;
/// Time within which the whole body must arrive.
const WITHIN: Duration = Duration::from_secs(60);
/// Longer bodies are parsed on another thread, so that other answers are not delayed.
const AT_ONCE: usize = 256 << 10;

/// Memory of a parsed value, and of the object around values, beside their text.
const VALUE: usize = 192;
/// The JSON of a request.
///
/// # Errors
/// The body is too long, too slow or not JSON, or there is no memory for it now.
pub(super) async fn json(request: Request) -> Result<Value, Fault> {
    json_within(LIMIT, request).await
}

/// The JSON of a request whose body has at most `limit` bytes.
///
/// # Errors
/// Those of [`json`].
pub(super) async fn json_within(limit: usize, request: Request) -> Result<Value, Fault> {
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(Fault::too_large(limit));
    }
    let mut taken = Taken::nothing_of(parts.extensions.get::<Room>().cloned());
    let bytes = timeout(WITHIN, whole(body, limit, &mut taken)).await;
    let bytes = bytes.map_err(|_| Fault::too_slow())??;
    if let Some(phase) = parts.extensions.get::<Phase>() {
        phase.answering();
    }
    let parsed = match bytes.len() <= AT_ONCE {
        true => parse_within(bytes, taken),
        false => {
            let parsed = tokio::task::spawn_blocking(move || parse_within(bytes, taken)).await;
            parsed.map_err(|_| Fault::malformed("the body could not be read"))?
        }
    };
    let (value, taken) = parsed?;
    if let Some(account) = parts.extensions.get::<Arc<Account>>() {
        account.keeps(taken);
    }
    Ok(value)
}

async fn whole(body: Body, limit: usize, taken: &mut Taken) -> Result<Vec<u8>, Fault> {
    let mut parts = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Fault::malformed("the body ended too early"))?;
        if bytes.len() + part.len() > limit {
            return Err(Fault::too_large(limit));
        }
        bytes.extend_from_slice(&part);
        taken.resize(bytes.capacity())?;
    }
    Ok(bytes)
}

/// Parses a body within the room that there is for it.
fn parse_within(bytes: Vec<u8>, mut taken: Taken) -> Result<(Value, Taken), Fault> {
    let parsed = bytes.len() + values(&bytes) * VALUE;
    taken.resize(bytes.capacity() + parsed)?;
    let value = parse(&bytes)?;
    drop(bytes);
    taken.resize(parsed)?;
    Ok((value, taken))
}

/// At least the number of values in a JSON text; an object counts for two more.
fn values(bytes: &[u8]) -> usize {
    let (mut values, mut in_text, mut is_escaped) = (1, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' if !in_text => values += 1,
            b'{' if !in_text => values += 3,
            _ => {}
        }
    }
    values
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

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (text, count) in [
            ("1", 1),
            ("[1,2,[]]", 5),
            (r#"{"a,[{": "\",[\\", "b": {}}"#, 8),
        ] {
            assert_eq!(values(text.as_bytes()), count, "{text}");
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn bodies_share_the_room_of_their_port_and_small_ones_need_none() {
        let room = Room::of(4 << 20);
        let read = |bytes: Vec<u8>| parse_within(bytes, Taken::nothing_of(Some(room.clone())));
        let text = |length: usize| {
            let mut text = vec![b'a'; length];
            (text[0], text[length - 1]) = (b'"', b'"');
            text
        };
        let Ok((_, first)) = read(text(1 << 20)) else {
            panic!("there is room");
        };
        // Once parsed, a body is no longer there twice.
        assert!(room.free.available_permits() > 2 << 10);
        let fault = read(text(7 << 18)).err().expect("the first has some of it");
        assert_eq!((fault.status.as_u16(), fault.retry_after), (429, Some(1)));
        assert!(read(text(1000)).is_ok());
        drop(first);
        assert!(read(text(7 << 18)).is_ok());
        // A short text that takes much memory.
        let many = format!("[{}0]", "[],".repeat(100_000)).into_bytes();
        let fault = read(many).err().expect("it takes more than all");
        assert_eq!(fault.status.as_u16(), 413);
        assert_eq!(room.free.available_permits(), room.units);
    }
}
