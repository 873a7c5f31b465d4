//! Who is let in: which names of this device, which web pages, which token.
//!
//! A web page that a person has open can send requests to this device. So the `Host` has to be a name of
//! this device that was meant (a page can make its own name lead here), and a page of another origin is
//! refused unless it is named.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::fault::Fault;
use super::token::Token;

/// Paths that tell nothing of what this node does: no token is needed.
const OPEN_PATHS: [&str; 4] = ["/", "/health", "/openapi.json", "/api/version"];

/// Who is let in.
pub(super) struct Guard {
    pub(super) token: Option<Token>,
    /// Names of this device beside those of loopback, in lower case.
    pub(super) hosts: Vec<String>,
    /// Whether other devices reach it, by whichever address it has there.
    pub(super) any_address: bool,
    /// Web pages that may ask, as in `https://example.org:8080`.
    pub(super) origins: Vec<String>,
}

impl Guard {
    /// Whether a request comes from where it may; the origin of the web page that it comes from, if that
    /// is another's.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_source(&self, request: &Parts) -> Result<Option<HeaderValue>, Fault> {
        let host = self.check_host(request)?;
        self.check_origin(&request.headers, &host)
    }

    /// Whether a request has the token, if it needs it.
    ///
    /// # Errors
    /// It has not.
    pub(super) fn check_key(&self, request: &Parts) -> Result<(), Fault> {
        let is_open = OPEN_PATHS.contains(&request.uri.path());
        // A browser's question has none.
        match is_open || request.method == Method::OPTIONS {
            true => Ok(()),
            false => self.check_token(&request.headers),
        }
    }

    fn check_host(&self, request: &Parts) -> Result<Authority, Fault> {
        let header = request.headers.get(header::HOST);
        let header = header.and_then(|value| value.to_str().ok()?.parse().ok());
        // Clients that take this for a proxy write the whole address into the first line.
        let named: Vec<&Authority> = request.uri.authority().into_iter().chain(&header).collect();
        let refused = |words| Fault::forbidden("host_not_allowed", words);
        let Some(first) = named.first() else {
            return Err(refused("the request names no host"));
        };
        match named.iter().all(|authority| self.is_own_name(authority)) {
            true => Ok((*first).clone()),
            false => Err(refused(
                "this node does not answer under this host name: use 127.0.0.1 or localhost, or start \
                 `potluck serve` with --host NAME",
            )),
        }
    }

    fn is_own_name(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().trim_start_matches('[');
        let host = host.trim_end_matches([']', '.']).to_ascii_lowercase();
        match host.parse::<IpAddr>() {
            // No page can have an address lead elsewhere.
            Ok(address) => address.is_loopback() || self.any_address || self.hosts.contains(&host),
            Err(_) => host == "localhost" || self.hosts.contains(&host),
        }
    }

    fn check_origin(
        &self,
        headers: &HeaderMap,
        host: &Authority,
    ) -> Result<Option<HeaderValue>, Fault> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(None);
        };
        let text = origin.to_str().unwrap_or_default();
        if text == format!("http://{host}") {
            return Ok(None);
        }
        match self.origins.iter().any(|allowed| allowed == text) {
            true => Ok(Some(origin.clone())),
            false => Err(Fault::forbidden(
                "origin_not_allowed",
                "this web page may not ask this node: start `potluck serve` with --origin and the page's \
                 origin",
            )),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match given {
            Some((_, key)) if token.is(key.trim()) => Ok(()),
            given => Err(Fault::unauthorized(given.is_some())),
        }
    }
}

/// The answer to a browser that asks what a page may do.
pub(super) fn preflight(request: &HeaderMap) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, methods.clone());
    if request.contains_key(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        // Every client has some of its own: all are taken, none means anything here.
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        let seconds = HeaderValue::from_static("600");
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, seconds);
        if request.contains_key("access-control-request-private-network") {
            let yes = HeaderValue::from_static("true");
            headers.insert("access-control-allow-private-network", yes);
        }
    }
    response
}

/// Lets a page of this origin read an answer.
pub(super) fn show_to(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let seen = HeaderValue::from_static("retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, seen);
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn guard() -> Guard {
        Guard {
            token: None,
            hosts: vec!["kitchen.local".to_owned()],
            any_address: false,
            origins: vec!["https://example.org".to_owned()],
        }
    }

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_names_of_this_device_are_answered() {
        let is_let_in = |guard: &Guard, uri: &str, host: &str| {
            guard.check_source(&parts(uri, &[("host", host)])).is_ok()
        };
        let loopback = guard();
        for host in [
            "127.0.0.1",
            "127.0.0.1:11435",
            "localhost:1",
            "LOCALHOST",
            "localhost.",
            "[::1]:8080",
            "kitchen.local:80",
        ] {
            assert!(is_let_in(&loopback, "/v1/models", host), "{host}");
        }
        for host in [
            "example.org",
            "192.168.1.5",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "localhost@example.org",
            "",
            "a b",
        ] {
            assert!(!is_let_in(&loopback, "/v1/models", host), "{host}");
        }
        assert!(guard().check_source(&parts("/", &[])).is_err());
        let whole = "http://127.0.0.1:11435/v1/models";
        assert!(is_let_in(&loopback, whole, "127.0.0.1:11435"));
        let foreign = "http://example.org/v1/models";
        assert!(!is_let_in(&loopback, foreign, "127.0.0.1"));
        let open = Guard {
            any_address: true,
            ..guard()
        };
        assert!(is_let_in(&open, "/", "192.168.1.5:11435"));
        assert!(!is_let_in(&open, "/", "example.org"));
    }

    #[test]
    fn web_pages_are_refused_unless_they_are_named() {
        let check = |origin: &str| {
            guard().check_source(&parts("/", &[("host", "localhost:1"), ("origin", origin)]))
        };
        assert_eq!(check("http://localhost:1"), Ok(None));
        let named = check("https://example.org").expect("named");
        assert_eq!(named.expect("another's"), "https://example.org");
        for origin in [
            "http://localhost:2",
            "https://localhost:1",
            "null",
            "http://example.org",
            "https://example.org.evil",
        ] {
            let refused = check(origin).expect_err(origin);
            assert_eq!(refused.code, Some("origin_not_allowed"));
        }
    }

    #[test]
    fn a_preflight_lets_every_header_pass_that_it_asks_for() {
        let asked = "authorization,content-type,x-stainless-os";
        let parts = parts(
            "/",
            &[
                ("origin", "https://example.org"),
                ("access-control-request-headers", asked),
            ],
        );
        let response = preflight(&parts.headers);
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers()["access-control-allow-headers"], asked);
    }
}
