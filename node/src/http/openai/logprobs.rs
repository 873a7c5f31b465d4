//! Log probabilities of tokens.

use serde_json::{Value, json};

use crate::serve::TokenInfo;

/// A chat completion's `logprobs`.
pub(super) fn of_chat(tokens: &[TokenInfo]) -> Value {
    let content: Vec<_> = tokens.iter().map(token).collect();
    json!({"content": content, "refusal": null})
}

fn token(token: &TokenInfo) -> Value {
    let top = token.top.iter();
    let top: Vec<_> = top
        .map(|(_, bytes, logprob)| one(bytes, *logprob))
        .collect();
    let mut object = one(&token.bytes, token.logprob);
    object["top_logprobs"] = top.into();
    object
}

fn one(bytes: &[u8], logprob: f32) -> Value {
    json!({"token": text(bytes), "logprob": finite(logprob), "bytes": bytes})
}

/// A token's text. Incomplete characters are replaced; `bytes` reports them exactly.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// JSON has no −∞, the log probability of an impossible token.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// A text completion's `logprobs`; `offset` is the offset of its text, in characters.
pub(super) fn of_text(tokens: &[TokenInfo], mut offset: usize) -> Value {
    let mut offsets = Vec::new();
    let mut texts = Vec::new();
    let mut top = Vec::new();
    for token in tokens {
        let text_of_it = text(&token.bytes);
        offsets.push(offset);
        offset += text_of_it.chars().count();
        texts.push(text_of_it);
        let likely = token.top.iter();
        let likely = likely.map(|(_, bytes, logprob)| (text(bytes), finite(*logprob).into()));
        top.push(Value::Object(likely.collect()));
    }
    let logprobs: Vec<_> = tokens.iter().map(|token| finite(token.logprob)).collect();
    json!({
        "tokens": texts, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets,
    })
}
