//! The routes, and the checks that every request passes first.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::account::Account;
use super::api::Api;
use super::connection::{Phase, Remote};
use super::fault::{Dialect, Fault, respond};
use super::{guard, join, metrics, ollama, openai, openapi};

/// Paths by which Ollama's clients change which models a device has. Only the owner's commands do that here.
const OLLAMA_MANAGES: [&str; 5] = [
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
];

/// All routes.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/", get(greeting))
        .route("/health", get(health))
        .route("/metrics", get(measure))
        .route("/openapi.json", get(document))
        .route("/join", get(join::page))
        .route("/guests/join", post(join::join))
        .route("/guests/certificate.pem", get(join::certificate))
        .merge(openai_routes(""))
        .merge(openai_routes("/v1"))
        .merge(ollama_routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(Arc::clone(&api), pass))
        .with_state(api)
}

/// Some users leave `/v1` out of the base URL.
fn openai_routes(prefix: &str) -> Router<Arc<Api>> {
    let path = |path: &str| format!("{prefix}{path}");
    Router::new()
        .route(&path("/chat/completions"), post(openai::chat))
        .route(&path("/completions"), post(openai::completions))
        .route(&path("/responses"), post(openai::responses))
        .route(&path("/embeddings"), post(openai::embeddings))
        .route(&path("/models"), get(openai::models))
        // A name may contain a `/`, percent-encoded as `%2F` or not.
        .route(&path("/models/{*id}"), get(openai::model))
}

fn ollama_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/embed", post(ollama::embed))
        .route("/api/embeddings", post(ollama::embeddings))
        .route("/api/show", post(ollama::show))
        .route("/api/tags", get(ollama::tags))
        .route("/api/ps", get(ollama::ps))
        .route("/api/version", get(ollama::version))
}

/// Middleware of every request: access control, logging and counting.
async fn pass(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let route = parts.extensions.get::<MatchedPath>();
    // An unknown path could contain anything, so it is not logged.
    let route = route.map_or("other", MatchedPath::as_str).to_owned();
    let phase = parts.extensions.get::<Phase>().cloned();
    let counters = Arc::clone(&api.counters);
    let method = match parts.method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let client = parts.extensions.get::<Remote>().map(|remote| remote.0);
    let account = Account::new(method, &route, counters, client, phase);
    let dialect = Dialect::of(parts.uri.path());
    let (mut response, origin) = match api.guard.check_source(&parts) {
        Err(fault) => (fault.respond(dialect), None),
        Ok(origin) => {
            let response = match api.guard.check_key(&parts, &route) {
                Err(fault) => fault.respond(dialect),
                Ok(_) if parts.method == Method::OPTIONS => guard::preflight(&parts.headers),
                Ok(visitor) => {
                    account.is_sent_by(visitor);
                    let mut request = Request::from_parts(parts, body);
                    request.extensions_mut().insert(Arc::clone(&account));
                    next.run(request).await
                }
            };
            (response, origin)
        }
    };
    account.answered(response.status().as_u16());
    if let Some(origin) = origin {
        guard::show_to(&mut response, origin);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

async fn no_such_path(request: Request) -> Response {
    let path = request.uri().path();
    let fault = match OLLAMA_MANAGES.contains(&path) {
        true => Fault::not_managed_here(),
        false => Fault::no_such_path(),
    };
    fault.respond(Dialect::of(path))
}

async fn no_such_method(request: Request) -> Response {
    Fault::no_such_method().respond(Dialect::of(request.uri().path()))
}

/// Some Ollama clients look for the last three words.
async fn greeting() -> &'static str {
    "Potluck answers here, as if Ollama is running"
}

async fn health() -> Response {
    respond(StatusCode::OK, &json!({"status": "ok"}))
}

async fn measure(State(api): State<Arc<Api>>) -> Response {
    let numbers = api.answers.numbers();
    let open = api.connections.iter().map(|all| all.count()).sum();
    let text = metrics::text(&api.counters, open, &numbers);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn document() -> Response {
    respond(StatusCode::OK, &openapi::document())
}
