//! Access control: which host names, which web origins, which tokens.
//!
//! Any web page that a person has open can send requests to this device. So the `Host` must be one
//! of this device's names (a page can make its own domain resolve to this device), and a page of
//! another origin is refused unless that origin is allowed.
//!
//! | token | by `--http` | by `--share-at` |
//! |---|---|---|
//! | the owner's | everything | everything |
//! | a guest's | none: 401 | [answers](GUEST_ROUTES), within the guest's limits |
//! | none | [`OPEN_PATHS`]; everything with `--open` | [`OPEN_PATHS`], and joining |

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::connection::Door;
use super::fault::Fault;
use super::token::Token;
use crate::guests::{NotAdmitted, Share, Visit};
use crate::serve::{Caller, Tab};

/// Paths that need no token: they reveal nothing about this node's work.
const OPEN_PATHS: [&str; 4] = ["/", "/health", "/openapi.json", "/api/version"];

/// Paths for joining as a guest, open to clients of the shared port that have no token yet.
pub(super) const JOIN_PATHS: [&str; 3] = ["/join", "/guests/join", "/guests/certificate.pem"];
/// Routes for guests, without the optional `/v1` prefix. A new route is the owner's only, until it
/// is listed here.
const GUEST_ROUTES: [&str; 13] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/models",
    "/models/{*id}",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/api/tags",
    // Unknown paths, which are answered with 404.
    "other",
];

/// The sender of a request.
#[derive(Clone, Default)]
pub(super) enum Visitor {
    /// A client without a token, limited to the open paths.
    #[default]
    Nobody,
    Owner,
    Guest(Visit),
}

impl Visitor {
    /// The label used in metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Owner => "owner",
            Self::Guest(_) => "guest",
        }
    }

    /// The guest, if the visitor is one.
    pub(super) fn guest(&self) -> Option<&Visit> {
        match self {
            Self::Guest(visit) => Some(visit),
            Self::Nobody | Self::Owner => None,
        }
    }

    /// The caller to whom the service attributes answers.
    pub(super) fn caller(&self) -> Caller {
        match self {
            // Nothing is computed for them. Were it, a guest's tab would keep it apart from the
            // owner's.
            Self::Nobody => Caller::Guest(Arc::new(Tab::new(0, 0, 0))),
            Self::Owner => Caller::Owner,
            Self::Guest(visit) => visit.caller(),
        }
    }
}

/// The access rules.
pub(super) struct Guard {
    pub(super) token: Option<Token>,
    /// Names of this device besides loopback, in lower case.
    pub(super) hosts: Vec<String>,
    /// Whether other devices can connect, and any IP address is accepted as `Host`.
    pub(super) any_address: bool,
    /// Allowed web origins, as in `https://example.org:8080`.
    pub(super) origins: Vec<String>,
    /// The guests that the shared port admits.
    pub(super) share: Option<Share>,
    /// Names of this device on the shared port, in lower case. Anyone in the local network can make
    /// such a name resolve anywhere, so they are not accepted on the owner's port.
    pub(super) shared_hosts: Vec<String>,
}

/// The port on which a request arrived.
pub(super) fn door(request: &Parts) -> Door {
    let door = request.extensions.get::<Door>();
    door.copied().unwrap_or(Door::Own)
}

impl Guard {
    /// Checks the host and origin of a request. Returns the origin of the web page that sent it, if
    /// it is a foreign one.
    ///
    /// # Errors
    /// The host or the origin is not allowed.
    pub(super) fn check_source(&self, request: &Parts) -> Result<Option<HeaderValue>, Fault> {
        let host = self.check_host(request)?;
        let scheme = match door(request) {
            Door::Own => "http",
            Door::Shared(_) => "https",
        };
        self.check_origin(&request.headers, scheme, &host)
    }

    /// Identifies the sender and checks that its token, or the lack of one, allows this route.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_key(&self, request: &Parts, route: &str) -> Result<Visitor, Fault> {
        let door = door(request);
        let path = request.uri.path();
        let is_shared = matches!(door, Door::Shared(_));
        let is_open = OPEN_PATHS.contains(&path) || (is_shared && JOIN_PATHS.contains(&path));
        // Browsers send preflight requests without a token.
        if is_open || request.method == Method::OPTIONS {
            return Ok(Visitor::Nobody);
        }
        let visitor = self.check_token(&request.headers, is_shared)?;
        let route = route.strip_prefix("/v1").unwrap_or(route);
        match visitor.guest().is_some() && !GUEST_ROUTES.contains(&route) {
            true => Err(Fault::forbidden(
                "not_for_guests",
                "guests of this node may ask models and list them, and this path is the owner's",
            )),
            false => Ok(visitor),
        }
    }

    fn check_host(&self, request: &Parts) -> Result<Authority, Fault> {
        let refused = |words| Fault::forbidden("host_not_allowed", words);
        // A header that is no host is refused like a foreign one.
        let headers = request.headers.get_all(header::HOST).iter();
        let headers: Option<Vec<Authority>> = headers
            .map(|value| value.to_str().ok()?.parse().ok())
            .collect();
        let headers = headers.ok_or_else(|| refused("the request names no host"))?;
        // Clients that use this server as a proxy write the whole URL into the request line.
        let named: Vec<&Authority> = request
            .uri
            .authority()
            .into_iter()
            .chain(&headers)
            .collect();
        let Some(first) = named.first() else {
            return Err(refused("the request names no host"));
        };
        let door = door(request);
        match named.iter().all(|name| self.is_own_name(name, door)) {
            true => Ok((*first).clone()),
            false => Err(refused(
                "this node does not answer under this host name: use 127.0.0.1 or localhost, or start \
                 `potluck serve` with --host NAME",
            )),
        }
    }

    fn is_own_name(&self, authority: &Authority, door: Door) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().trim_start_matches('[');
        let host = host.trim_end_matches([']', '.']).to_ascii_lowercase();
        let is_shared = matches!(door, Door::Shared(_));
        match host.parse::<IpAddr>() {
            // No page can redirect an IP address, unlike a name.
            Ok(address) => {
                let any = self.any_address || is_shared;
                any || address.is_loopback() || self.hosts.contains(&host)
            }
            Err(_) if is_shared && self.shared_hosts.contains(&host) => true,
            Err(_) => host == "localhost" || self.hosts.contains(&host),
        }
    }

    fn check_origin(
        &self,
        headers: &HeaderMap,
        scheme: &str,
        host: &Authority,
    ) -> Result<Option<HeaderValue>, Fault> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(None);
        };
        let text = origin.to_str().unwrap_or_default();
        if text == format!("{scheme}://{host}") {
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

    fn check_token(&self, headers: &HeaderMap, is_shared: bool) -> Result<Visitor, Fault> {
        if self.token.is_none() && !is_shared {
            return Ok(Visitor::Owner);
        }
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, key)) = given else {
            return Err(Fault::unauthorized(false, is_shared));
        };
        let key = key.trim();
        if self.token.as_ref().is_some_and(|token| token.is(key)) {
            return Ok(Visitor::Owner);
        }
        let share = self.share.as_ref().filter(|_| is_shared);
        match share.map(|share| share.admit(key)) {
            Some(Ok(visit)) => Ok(Visitor::Guest(visit)),
            Some(Err(NotAdmitted::Over)) => Err(Fault::over(NotAdmitted::Over.to_string())),
            Some(Err(NotAdmitted::Unknown)) | None => Err(Fault::unauthorized(true, is_shared)),
        }
    }
}

/// The answer to a browser's preflight request.
pub(super) fn preflight(request: &HeaderMap) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, methods.clone());
    if request.contains_key(header::ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        // Every client has its own headers: all are allowed, and none has an effect here.
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

/// Allows a page of this origin to read a response.
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
            share: None,
            shared_hosts: vec!["potluck-ab.local".to_owned()],
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
        for two in [["localhost", "example.org"], ["localhost", "a b"]] {
            let headers = two.map(|host| ("host", host));
            let refused = loopback.check_source(&parts("/", &headers));
            assert!(refused.is_err(), "{two:?}");
        }
        let mut shared = parts("/", &[("host", "potluck-ab.local:11436")]);
        assert!(loopback.check_source(&shared).is_err());
        let door = Door::Shared([192, 168, 1, 7].into());
        shared.extensions.insert(door);
        assert!(loopback.check_source(&shared).is_ok());
        for (host, is_own) in [
            ("192.168.1.5", true),
            ("kitchen.local", true),
            ("x.local", false),
        ] {
            let mut shared = parts("/", &[("host", host)]);
            shared.extensions.insert(door);
            assert_eq!(loopback.check_source(&shared).is_ok(), is_own, "{host}");
        }
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
