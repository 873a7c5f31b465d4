//! `/v1/embeddings`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response;
use data_encoding::BASE64;
use serde_json::json;

use crate::http::account::Account;
use crate::http::api::Api;
use crate::http::body;
use crate::http::fault::{Fault, respond};
use crate::http::fields::Fields;
use crate::http::inputs::{check_dimensions, inputs};

/// Embeds texts as vectors.
pub(in crate::http) async fn embeddings(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Arc<Account>>,
    request: HttpRequest,
) -> Result<Response, Fault> {
    let body = body::json(request).await?;
    let fields = Fields::of(&body)?;
    let inputs = inputs(&fields, "input")?;
    let in_base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(fields.wrong("encoding_format", "float or base64")),
    };
    let model = fields.text("model")?.unwrap_or_default();
    let card = api.card(account.visitor(), model).await?;
    let embedded = api.embed(&card, inputs, &account).await?;
    check_dimensions(&fields, embedded.vectors.first().map_or(0, Vec::len))?;
    let vectors = embedded.vectors.iter().enumerate();
    let data: Vec<_> = vectors
        .map(|(index, vector)| {
            let vector = match in_base64 {
                true => base64(vector).into(),
                false => json!(vector),
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let tokens = embedded.tokens;
    let answer = json!({
        "object": "list",
        "data": data,
        "model": card.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Ok(respond(StatusCode::OK, &answer))
}

/// Little-endian `f32`s in base64.
fn base64(vector: &[f32]) -> String {
    let bytes: Vec<_> = vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    BASE64.encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_little_endian_floats_in_base64() {
        assert_eq!(base64(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
