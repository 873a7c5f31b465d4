//! Ollama's dialect: JSON, streamed as one object per line.

mod answer;
mod chat;
mod embed;
mod models;
mod options;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::fault::{Dialect, Fault, respond};

pub(super) use chat::{chat, generate};
pub(super) use embed::{embed, embeddings};
pub(super) use models::{ps, show, tags};

/// The Ollama version whose API this implements: clients check it for available features.
const API_VERSION: &str = "0.12.6";

/// A fault in this dialect.
pub(super) struct Refusal(Fault);

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.respond(Dialect::Ollama)
    }
}

/// `/api/version`.
pub(super) async fn version() -> Response {
    let ours = env!("CARGO_PKG_VERSION");
    let versions = json!({"version": API_VERSION, "potluck": ours});
    respond(StatusCode::OK, &versions)
}
