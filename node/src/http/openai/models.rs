//! `/v1/models`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::http::account::Account;
use crate::http::api::{Api, unix_seconds};
use crate::http::fault::{Fault, respond};
use crate::serve::ModelCard;

/// All models.
pub(in crate::http) async fn models(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
) -> Result<Response, Fault> {
    let models = api.models(account.visitor()).await?;
    let models: Vec<_> = models.iter().map(object).collect();
    let list = json!({"object": "list", "data": models});
    Ok(respond(StatusCode::OK, &list))
}

/// One model.
pub(in crate::http) async fn model(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Fault> {
    let Path(id) = id.map_err(|_| Fault::invalid("model", "the name is not UTF-8"))?;
    let card = api.card(account.visitor(), &id).await?;
    Ok(respond(StatusCode::OK, &object(&card)))
}

fn object(card: &ModelCard) -> Value {
    json!({
        "id": card.name,
        "object": "model",
        // A model that is not downloaded yet has no date.
        "created": card.modified.map_or(0, unix_seconds),
        "owned_by": "potluck",
        "context_length": card.context,
        "max_model_len": card.context,
    })
}
