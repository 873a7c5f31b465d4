//! Inputs of embedding requests, for both dialects.

use serde_json::Value;

use super::fault::Fault;
use super::fields::Fields;
use crate::serve::Input;

/// Most texts in one request.
const MOST_INPUTS: usize = 2048;

/// The texts of a request, one or several.
///
/// # Errors
/// There are none or too many, or they are not texts.
pub(super) fn inputs(fields: &Fields<'_>, name: &str) -> Result<Vec<Input>, Fault> {
    let text = |text: &str| Input::Text(text.to_owned().into());
    let is_empty = |value: &Value| value.as_str() == Some("");
    let inputs = match fields.get(name) {
        Some(value)
            if is_empty(value)
                || value
                    .as_array()
                    .is_some_and(|list| list.iter().any(is_empty)) =>
        {
            return Err(fields.wrong(name, "text, and not empty"));
        }
        Some(Value::String(one)) => vec![text(one)],
        Some(Value::Array(list)) if list.iter().any(|one| one.is_number() || one.is_array()) => {
            // Another model's ids would be read as different words.
            let why = "token ids are those of another model: send text (in LangChain, \
                       check_embedding_ctx_length=False)";
            return Err(fields.not_done(name, why));
        }
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|one| one.as_str().map(text));
            let texts: Option<Vec<_>> = texts.collect();
            texts.ok_or_else(|| fields.wrong(name, "a string or a list of strings"))?
        }
        _ => return Err(fields.wrong(name, "a string or a list of strings")),
    };
    match (1..=MOST_INPUTS).contains(&inputs.len()) {
        true => Ok(inputs),
        false => Err(fields.wrong(name, &format!("from 1 to {MOST_INPUTS} texts"))),
    }
}

/// Checks a requested vector length against the model's.
///
/// # Errors
/// They differ.
pub(super) fn check_dimensions(fields: &Fields<'_>, there: usize) -> Result<(), Fault> {
    match fields.count("dimensions")? {
        Some(asked) if asked != there => {
            let why = format!("this model's vectors have {there} numbers: leave it out");
            Err(fields.not_done("dimensions", &why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn token_ids_of_another_model_are_refused_in_words() {
        for ids in [json!([[104, 101], [98]]), json!([1, 2])] {
            let body = json!({"input": ids});
            let fields = Fields::of(&body).expect("an object");
            let fault = inputs(&fields, "input").err().expect("refused");
            assert_eq!(fault.status, 400);
            assert!(fault.message.contains("token ids"), "{}", fault.message);
        }
        for wrong in [
            json!([]),
            json!(null),
            json!([null]),
            json!(["a", {}]),
            json!(""),
            json!(["a", ""]),
        ] {
            let body = json!({"input": wrong});
            let fields = Fields::of(&body).expect("an object");
            assert!(inputs(&fields, "input").is_err());
        }
    }
}
