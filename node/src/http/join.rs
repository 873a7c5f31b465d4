//! Joining as a guest: a page with a form, the endpoint that it posts to, and the certificate that
//! guests' programs have to trust.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use data_encoding::BASE64;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::api::Api;
use super::body;
use super::connection::Door;
use super::fault::{Fault, respond};
use super::fields::Fields;
use super::guard::door;
use crate::guests::{GuestError, Joined, NotJoined, Proof, Share};

/// Longest name, PIN or key, in bytes.
const LONGEST: usize = 256;
/// Largest body, in bytes: it comes from anyone in the network.
const LIMIT: usize = 8 << 10;

const PAGE: &str = include_str!("join.html");

/// The page's content security policy: its own style and script, and requests to its own origin.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let rest = PAGE.split(&format!("<{tag}>")).nth(1).unwrap_or_default();
        let text = rest.split(&format!("</{tag}>")).next().unwrap_or_default();
        BASE64.encode(&Sha256::digest(text.as_bytes()))
    };
    let policy = format!(
        "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// `GET /join`: a page on which to type the PIN. The QR code puts its key after the `#` of the URL,
/// which browsers do not send; the page's script does.
pub(super) async fn page(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Fault> {
    let (parts, _) = request.into_parts();
    let _ = shared(&api, &parts)?;
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    let no_referrer = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, no_referrer);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST /guests/join` with `{"name": …, "pin": …}` or `{"name": …, "key": …}`; returns a token.
pub(super) async fn join(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    let (share, from) = shared(&api, &parts)?;
    let host = parts.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).map(str::to_owned);
    let body = body::json_within(LIMIT, Request::from_parts(parts, body)).await?;
    let fields = Fields::of(&body)?;
    let text = |name: &str| -> Result<Option<String>, Fault> {
        match fields.text(name)? {
            Some(text) if text.len() > LONGEST => {
                Err(fields.wrong(name, &format!("at most {LONGEST} bytes long")))
            }
            text => Ok(text.map(str::to_owned)),
        }
    };
    let name = text("name")?.unwrap_or_default();
    let (pin, key) = (text("pin")?, text("key")?);
    // Joining writes a file.
    let joined = tokio::task::spawn_blocking(move || {
        let proof = match (&key, &pin) {
            (Some(key), _) => Proof::Key(key),
            (None, Some(pin)) => Proof::Pin(pin),
            (None, None) => return None,
        };
        Some(share.join(from, name.trim(), &proof))
    });
    let joined = joined
        .await
        .map_err(|_| Fault::from(NotJoined::Guest(GuestError::Random)))?;
    let needed = || fields.wrong("pin", "given, as the screen of this device shows it");
    let Joined {
        name,
        token,
        limits,
    } = joined.ok_or_else(needed)??;
    let base = host.map(|host| format!("https://{host}/v1"));
    let answer = json!({"name": name, "token": token, "base_url": base, "limits": limits});
    let mut response = respond(StatusCode::OK, &answer);
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// `GET /guests/certificate.pem`: this device's certificate, for programs that have to trust it.
pub(super) async fn certificate(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, _) = request.into_parts();
    let _ = shared(&api, &parts)?;
    let certificate = api.certificate.as_ref().ok_or_else(Fault::no_such_path)?;
    let kind = (header::CONTENT_TYPE, "application/x-pem-file");
    let file = (
        header::CONTENT_DISPOSITION,
        "attachment; filename=\"potluck.pem\"",
    );
    Ok(([kind, file], certificate.pem()).into_response())
}

/// The share to join and the guest's address; an error on the owner's port.
fn shared(api: &Api, parts: &Parts) -> Result<(Share, IpAddr), Fault> {
    match (&api.guard.share, door(parts)) {
        (Some(share), Door::Shared(from)) => Ok((share.clone(), from)),
        _ => Err(Fault::no_such_path()),
    }
}

impl From<NotJoined> for Fault {
    fn from(error: NotJoined) -> Self {
        let message = error.to_string();
        match error {
            NotJoined::Wrong => Self::forbidden("wrong_pin", message),
            NotJoined::TooMany { retry_after } => Self::too_many_guesses(message, retry_after),
            NotJoined::Guest(GuestError::Name | GuestError::Taken { .. }) => {
                Self::invalid("name", message)
            }
            NotJoined::Guest(GuestError::Full) => Self::forbidden("too_many_guests", message),
            // The guest need not know what is wrong with this device's files.
            NotJoined::Guest(_) => Self::from(crate::serve::RequestError::Failed {
                message: "it cannot take guests now".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_may_use_nothing_else() {
        let page = PAGE.replace("href=\"/guests/certificate.pem\"", "");
        for sign in [
            "http://", "src=", "href=", "url(", "@import", "<script ", "<style ",
        ] {
            assert!(!page.contains(sign), "{sign}");
        }
        let policy = POLICY.to_str().expect("text");
        // The hashes are of the actual contents, not of nothing.
        let nothing = BASE64.encode(&Sha256::digest(b""));
        assert!(
            policy.contains("script-src 'sha256-") && !policy.contains(&nothing),
            "{policy}"
        );
    }
}
