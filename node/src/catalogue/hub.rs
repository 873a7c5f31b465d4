//! Fetching a file from the model hub over HTTPS.
//!
//! One plain download needs a small HTTP client, not the hub's own library: that one brings an
//! asynchronous runtime, a content-addressed storage client and a C cryptography library (some
//! 290 crates against about 20).

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::{Agent, Body, http::Response};

use super::fetch::{SourceError, Stop};
use super::partial::Partial;
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
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        partial.truncate(0).map_err(Stop::Local)?;
        response = request(&agent, &address, 0)?;
    }
    match response.status() {
        StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(partial.len()) => {}
        // No ranges here, or not the one asked for: from the beginning.
        StatusCode::PARTIAL_CONTENT => {
            partial.truncate(0).map_err(Stop::Local)?;
            response = request(&agent, &address, 0)?;
            refuse_unless_ok(response.status())?;
        }
        status => {
            refuse_unless_ok(status)?;
            partial.truncate(0).map_err(Stop::Local)?;
        }
    }
    copy(response.into_body(), partial, cancel, on_progress)
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
    if endpoint.starts_with("https:") {
        if !tls_is_supported() {
            return Err(SourceError::NoTls);
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider);
        config = config.tls_config(tls.build());
    }
    Ok(config.build().new_agent())
}

/// Whether this processor has the instructions that Graviola's code is written in; it has no
/// fallback and stops the program without them.
fn tls_is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("avx")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
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
    }
    let header = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let offered = header("x-linked-etag").and_then(|etag| Sha256::parse(etag.trim_matches('"')));
    let bytes = header("x-linked-size").and_then(|size| size.parse::<u64>().ok());
    let other_hash = offered.is_some_and(|offered| offered != expected.sha256);
    if other_hash || bytes.is_some_and(|bytes| bytes != expected.bytes) {
        return Err(SourceError::OtherBytes);
    }
    Ok(())
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
    let range = headers.get("content-range")?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

fn copy(
    body: Body,
    partial: &mut Partial,
    cancel: &Cancel,
    on_progress: &mut dyn FnMut(u64),
) -> Result<(), Stop> {
    // One byte more than is missing shows a file that is too long without reading all of it.
    let limit = partial.missing().saturating_add(1);
    let mut body = body.into_with_config().limit(u64::MAX).reader().take(limit);
    let mut buffer = vec![0; 1 << 18];
    loop {
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let read = body
            .read(&mut buffer)
            .map_err(|error| SourceError::Broken {
                bytes: partial.len(),
                reason: error.to_string(),
            })?;
        if read == 0 {
            break;
        }
        if read as u64 > partial.missing() {
            return Err(SourceError::OtherBytes.into());
        }
        partial.append(&buffer[..read]).map_err(Stop::Local)?;
        on_progress(partial.len());
    }
    if partial.missing() > 0 {
        let reason = "the answer ended early".to_owned();
        return Err(SourceError::Broken {
            bytes: partial.len(),
            reason,
        }
        .into());
    }
    Ok(())
}
