//! Fetching a file from the model hub over HTTPS.
//!
//! One plain download needs a small HTTP client, not the hub's own library: that one brings an
//! asynchronous runtime, a content-addressed storage client and a C cryptography library (some
//! 290 crates against about 20).

use std::io::Read as _;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::{Agent, Body, http::Response};

use super::partial::Partial;
use super::source_error::{SourceError, Stop};
use super::{HubFile, Sha256};
use crate::Cancel;

/// The hub's address; the environment variable of the hub's own tools overrides it.
pub(super) const ENDPOINT: &str = "https://huggingface.co";

/// A device without internet should fall through to the next source at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that delivers nothing for this long is taken as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_REDIRECTS: u32 = 5;

/// Appends what `partial` misses of the file, which must have this length and hash. `on_progress`
/// is told how many bytes are there.
pub(super) fn fetch(
    file: &HubFile,
    endpoint: &str,
    expected: &Expected,
    partial: &mut Partial,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(u64),
) -> Result<(), Stop> {
    let HubFile {
        repository,
        revision,
        path,
    } = file;
    let address = format!(
        "{}/{repository}/resolve/{revision}/{path}",
        endpoint.trim_end_matches('/')
    );
    let agent = agent(endpoint)?;
    check_offer(&agent, &address, expected)?;
    if partial.missing() == 0 {
        return Ok(());
    }
    let mut response = request(&agent, &address, partial.len())?;
    let mut start = partial.len();
    match response.status() {
        StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(start) => {}
        // No ranges here, or not the one asked for: from the beginning. What is here stays until the
        // answer is known to be the file.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            response = request(&agent, &address, 0)?;
            refuse_unless_ok(response.status())?;
            start = 0;
        }
        status => {
            refuse_unless_ok(status)?;
            start = 0;
        }
    }
    let says_length = check_answer(response.headers(), expected, start)?;
    copy(
        response.into_body(),
        start,
        says_length,
        partial,
        cancel,
        on_progress,
    )
}

/// The file that is wanted.
pub(super) struct Expected {
    pub(super) bytes: u64,
    pub(super) sha256: Sha256,
}

fn agent(endpoint: &str) -> Result<Agent, SourceError> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("potluck/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(STALL_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT));
    if let Some(tls) = tls_for(endpoint)? {
        config = config.tls_config(tls);
    }
    Ok(config.build().new_agent())
}

/// How to encrypt what goes to this address, if it is to be encrypted.
///
/// # Errors
/// [`SourceError::NoTls`]: this processor cannot.
pub(crate) fn tls_for(endpoint: &str) -> Result<Option<TlsConfig>, SourceError> {
    if !endpoint.starts_with("https:") {
        return Ok(None);
    }
    let provider = crate::tls::provider().ok_or(SourceError::NoTls)?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider);
    Ok(Some(tls.build()))
}

/// Asks what the hub has at `address`, and refuses other bytes before downloading them: for large
/// files the hub says their hash and length in headers of its first answer.
fn check_offer(agent: &Agent, address: &str, expected: &Expected) -> Result<(), SourceError> {
    let response = agent
        .head(address)
        .config()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .call()
        .map_err(unreachable)?;
    if !response.status().is_redirection() {
        refuse_unless_ok(response.status())?;
        refuse_page(response.headers())?;
    }
    let headers = response.headers();
    refuse_other_hash(headers, "x-linked-etag", expected)?;
    refuse_other_length(number(headers, "x-linked-size"), expected.bytes)
}

/// Refuses an answer that is not the bytes of the file from `start` on, by all that its headers say,
/// before anything of it is read: a network that wants a login answers with a page, and status 200.
/// Whether they say how long the file is.
fn check_answer(headers: &HeaderMap, expected: &Expected, start: u64) -> Result<bool, SourceError> {
    refuse_page(headers)?;
    refuse_other_hash(headers, "etag", expected)?;
    refuse_other_hash(headers, "x-linked-etag", expected)?;
    let rest = number(headers, "content-length");
    let length = rest.map(|rest| start.saturating_add(rest));
    refuse_other_length(length, expected.bytes)?;
    refuse_other_length(range_total(headers), expected.bytes)?;
    Ok(length.is_some())
}

fn refuse_page(headers: &HeaderMap) -> Result<(), SourceError> {
    let content_type = text(headers, "content-type").unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let pages = ["text/html", "application/xhtml+xml"];
    match pages.iter().any(|page| kind.eq_ignore_ascii_case(page)) {
        true => Err(SourceError::WebPage),
        false => Ok(()),
    }
}

/// Refuses if this header is a SHA-256, and another file's.
fn refuse_other_hash(
    headers: &HeaderMap,
    name: &str,
    expected: &Expected,
) -> Result<(), SourceError> {
    let tag = text(headers, name).unwrap_or_default();
    let hash = Sha256::parse(tag.trim_start_matches("W/").trim_matches('"'));
    match hash.is_some_and(|hash| hash != expected.sha256) {
        true => Err(SourceError::OtherBytes),
        false => Ok(()),
    }
}

fn refuse_other_length(offered: Option<u64>, expected: u64) -> Result<(), SourceError> {
    match offered.filter(|offered| *offered != expected) {
        Some(offered) => Err(SourceError::OtherLength { offered, expected }),
        None => Ok(()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

fn request(agent: &Agent, address: &str, from: u64) -> Result<Response<Body>, SourceError> {
    let mut request = agent.get(address).header("accept-encoding", "identity");
    if from > 0 {
        request = request.header("range", format!("bytes={from}-"));
    }
    request
        .config()
        .max_redirects(MAX_REDIRECTS)
        .build()
        .call()
        .map_err(unreachable)
}

fn refuse_unless_ok(status: StatusCode) -> Result<(), SourceError> {
    match status {
        StatusCode::OK => Ok(()),
        other => Err(SourceError::Refused {
            status: other.as_u16(),
        }),
    }
}

fn unreachable(error: ureq::Error) -> SourceError {
    SourceError::Unreachable {
        reason: error.to_string(),
    }
}

/// The first byte's position in a partial answer: `Content-Range: bytes 5-9/10` gives 5.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, "content-range")?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

/// The whole file's length in a partial answer, if it says so: 10 in the example above.
fn range_total(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?
        .split_once('/')?
        .1
        .parse()
        .ok()
}

/// Takes the bytes of an answer, which are those from `start` on. What is here already and the same
/// stays. Where it differs, the answer counts only if it says the right length.
fn copy(
    body: Body,
    start: u64,
    says_length: bool,
    partial: &mut Partial,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(u64),
) -> Result<(), Stop> {
    let mut at = start;
    let limit = partial.limit();
    // One byte more than is missing shows a file that is too long without reading all of it.
    let most = (limit - start).saturating_add(1);
    let mut body = body.into_with_config().limit(u64::MAX).reader().take(most);
    let mut buffer = vec![0; 1 << 18];
    let broken = |bytes, reason| Stop::from(SourceError::Broken { bytes, reason });
    loop {
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let read = body
            .read(&mut buffer)
            .map_err(|error| broken(partial.len(), error.to_string()))?;
        if read == 0 {
            break;
        }
        let bytes = &buffer[..read];
        if bytes.len() as u64 > limit - at {
            return Err(SourceError::OtherBytes.into());
        }
        if !says_length && !partial.agrees(at, bytes).map_err(Stop::Local)? {
            return Err(SourceError::OtherBytes.into());
        }
        partial.put(at, bytes).map_err(Stop::Local)?;
        at += read as u64;
        on_progress(partial.len());
    }
    if at < limit {
        return Err(broken(partial.len(), "the answer ended early".to_owned()));
    }
    Ok(())
}
