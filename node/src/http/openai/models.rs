//! `/v1/models`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::http::api::{Api, unix_seconds};
use crate::http::fault::{Fault, respond};
use crate::serve::ModelCard;

/// All models.
pub(in crate::http) async fn models(State(api): State<Arc<Api>>) -> Response {
    let models: Vec<_> = api.answers.models().iter().map(object).collect();
    let list = json!({"object": "list", "data": models});
    respond(StatusCode::OK, &list)
}

/// One of them.
pub(in crate::http) async fn model(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let card = api.answers.card(&id)?;
    Ok(respond(StatusCode::OK, &object(&card)))
}

fn object(card: &ModelCard) -> Value {
    json!({
        "id": card.name,
        "object": "model",
        "created": unix_seconds(card.modified),
        "owned_by": "potluck",
        "context_length": card.context,
        "max_model_len": card.context,
    })
}
