//! `/api/embed`, and the older `/api/embeddings`.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Refusal;
use super::answer::nanoseconds;
use super::options::lets_go;
use crate::http::account::Account;
use crate::http::api::Api;
use crate::http::body;
use crate::http::fault::respond;
use crate::http::fields::Fields;
use crate::http::inputs::{check_dimensions, inputs};
use crate::serve::Embedded;

/// `/api/embed`.
pub(in crate::http) async fn embed(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Refusal> {
    let begun = Instant::now();
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let embedded = vectors(&api, &account, &fields, "input").await?;
    let answer = json!({
        "model": fields.needed_text("model")?,
        "embeddings": embedded.vectors,
        "total_duration": nanoseconds(begun.elapsed()),
        "load_duration": 0,
        "prompt_eval_count": embedded.tokens,
    });
    Ok(respond(StatusCode::OK, &answer))
}

/// `/api/embeddings`.
pub(in crate::http) async fn embeddings(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Refusal> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let mut embedded = vectors(&api, &account, &fields, "prompt").await?;
    let vector = embedded.vectors.pop().unwrap_or_default();
    Ok(respond(StatusCode::OK, &json!({"embedding": vector})))
}

async fn vectors(
    api: &Api,
    account: &Account,
    fields: &Fields<'_>,
    name: &str,
) -> Result<Embedded, Refusal> {
    lets_go(fields)?;
    let inputs = inputs(fields, name)?;
    let card = api
        .card(account.visitor(), fields.needed_text("model")?)
        .await?;
    let embedded = api.embed(&card, inputs, account).await?;
    check_dimensions(fields, embedded.vectors.first().map_or(0, Vec::len))?;
    Ok(embedded)
}
