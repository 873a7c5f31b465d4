//! `/api/tags`, `/api/ps` and `/api/show`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::Refusal;
use crate::http::account::Account;
use crate::http::answers::has_thinking_switch;
use crate::http::api::Api;
use crate::http::body;
use crate::http::fault::respond;
use crate::http::fields::Fields;
use crate::log;
use crate::serve::ModelCard;

/// `/api/tags`: all models.
pub(in crate::http) async fn tags(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
) -> Result<Response, Refusal> {
    let models = api.models(account.visitor()).await?;
    let models: Vec<_> = models.iter().map(row).collect();
    Ok(respond(StatusCode::OK, &json!({"models": models})))
}

/// `/api/ps`: the models in memory.
pub(in crate::http) async fn ps(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
) -> Result<Response, Refusal> {
    let mut rows = Vec::new();
    for loaded in api.answers.loaded() {
        let mut row = row(&api.card(account.visitor(), &loaded.name).await?);
        row["size"] = (loaded.weight_bytes + loaded.kv_bytes).into();
        row["size_vram"] = 0.into();
        row["context_length"] = loaded.context.into();
        row["expires_at"] = log::time_of(SystemTime::now() + loaded.unloads_in).into();
        rows.push(row);
    }
    Ok(respond(StatusCode::OK, &json!({"models": rows})))
}

/// `/api/show`: one model. Old clients send `name` instead of `model`.
pub(in crate::http) async fn show(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Refusal> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let name = match fields.text("model")? {
        None => fields.text("name")?,
        said => said,
    };
    let card = match name {
        Some(name) => api.card(account.visitor(), name).await?,
        None => return Err(fields.wrong("model", "given, as a string").into()),
    };
    let row = row(&card);
    let shown = json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": row["details"],
        "model_info": info(&card),
        "capabilities": capabilities(&card),
        "modified_at": row["modified_at"],
    });
    Ok(respond(StatusCode::OK, &shown))
}

fn row(card: &ModelCard) -> Value {
    let modified = card.modified.unwrap_or(SystemTime::UNIX_EPOCH);
    json!({
        "name": card.name,
        "model": card.name,
        "modified_at": log::time_of(modified),
        "size": card.bytes,
        "digest": card.digest.as_deref().unwrap_or_default(),
        "details": details(card),
    })
}

fn details(card: &ModelCard) -> Value {
    let family = family(card);
    let parameters = card.inspection.as_ref().map(|found| found.parameters);
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": parameters.map(size).unwrap_or_default(),
        "quantization_level": card.quantisation.as_deref().unwrap_or_default(),
    })
}

fn family(card: &ModelCard) -> &str {
    let inspection = card.inspection.as_ref();
    let family = inspection.and_then(|found| found.architecture.as_deref());
    family.unwrap_or_default()
}

/// The number of parameters in short form: `135M`, `1.2B`.
fn size(parameters: u64) -> String {
    let millions = parameters as f64 / 1e6;
    match millions {
        ..1000.0 => format!("{millions:.0}M"),
        _ => format!("{:.1}B", millions / 1000.0),
    }
}

/// The GGUF metadata that clients look for.
fn info(card: &ModelCard) -> Value {
    let mut info = Map::new();
    let Some(found) = &card.inspection else {
        return info.into();
    };
    let family = family(card);
    let shape = &found.shape;
    let name = |name: &str| format!("{family}.{name}");
    info.insert("general.architecture".to_owned(), family.into());
    info.insert(
        "general.parameter_count".to_owned(),
        found.parameters.into(),
    );
    for (key, value) in [
        // The context that this node uses, which may be shorter than the model was trained for.
        (name("context_length"), card.context),
        (name("block_count"), shape.layers),
        (name("embedding_length"), shape.d_model),
        (name("feed_forward_length"), shape.d_ff),
        (name("attention.head_count"), shape.heads),
        (name("attention.head_count_kv"), shape.kv_heads),
    ] {
        if let Some(value) = value {
            info.insert(key, value.into());
        }
    }
    info.into()
}

fn capabilities(card: &ModelCard) -> Vec<&'static str> {
    let mut all = vec!["completion", "embedding"];
    if card.has_template() {
        all.push("tools");
    }
    if has_thinking_switch(card) {
        all.push("thinking");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!(size(134_515_008), "135M");
        assert_eq!(size(1_235_814_400), "1.2B");
    }
}
