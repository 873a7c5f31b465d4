//! Options of a request: sampling, format, thinking and unloading.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::Private;
use crate::engine::SamplerSettings;
use crate::http::fault::Fault;
use crate::http::fields::Fields;
use crate::http::sampling::{sampling, stop};
use crate::serve::Format;

/// How an answer is generated.
pub(super) struct Options {
    pub(super) sampling: SamplerSettings,
    pub(super) max_tokens: Option<usize>,
    pub(super) stop: Vec<Private<String>>,
}

/// The `options` of a request.
///
/// # Errors
/// One is invalid, or is unsupported and would change the answer.
pub(super) fn options(fields: &Fields<'_>) -> Result<Options, Fault> {
    let none = Value::Object(Map::new());
    let given = match fields.object("options")? {
        Some(options) => options,
        None => Fields::at("options", &none)?,
    };
    // The node's own context applies: a prompt that is too long is refused, not truncated.
    given.count("num_ctx")?;
    let max_tokens = match given.whole("num_predict")? {
        Some(0) => return Err(given.wrong("num_predict", "1 or more, or below 0 for no limit")),
        // A negative number means no limit.
        most => most.and_then(|most| usize::try_from(most).ok()),
    };
    Ok(Options {
        sampling: sampling(&given, 0)?,
        max_tokens,
        stop: stop(&given)?,
    })
}

/// The format of the answer: none, `"json"`, or a schema.
///
/// # Errors
/// The field has another value.
pub(super) fn format(fields: &Fields<'_>) -> Result<Format, Fault> {
    match fields.get("format") {
        None => Ok(Format::Text),
        Some(Value::String(format)) if format.is_empty() => Ok(Format::Text),
        Some(Value::String(format)) if format == "json" => Ok(Format::JsonObject),
        Some(schema @ Value::Object(_)) => Ok(Format::JsonSchema(schema.clone().into())),
        Some(_) => Err(fields.wrong("format", "\"json\" or a JSON schema")),
    }
}

/// Whether the model thinks first: a boolean, or an effort.
///
/// # Errors
/// The field has another value.
pub(super) fn thinking(fields: &Fields<'_>) -> Result<Option<bool>, Fault> {
    match fields.get("think") {
        None => Ok(None),
        Some(Value::Bool(thinks)) => Ok(Some(*thinks)),
        Some(Value::String(how)) if ["low", "medium", "high"].contains(&how.as_str()) => {
            Ok(Some(true))
        }
        Some(_) => Err(fields.wrong("think", "true, false, \"low\", \"medium\" or \"high\"")),
    }
}

/// Whether to unload the model at once. Any other lifetime is the node's to decide.
///
/// # Errors
/// The field is not a duration.
pub(super) fn lets_go(fields: &Fields<'_>) -> Result<bool, Fault> {
    let must = "a number of seconds, or a time such as \"5m\"";
    match fields.get("keep_alive") {
        None => Ok(false),
        Some(Value::Number(seconds)) => Ok(seconds.as_f64() == Some(0.0)),
        Some(Value::String(text)) => match time(text) {
            Some(time) => Ok(time == Some(Duration::ZERO)),
            None => Err(fields.wrong("keep_alive", must)),
        },
        Some(_) => Err(fields.wrong("keep_alive", must)),
    }
}

/// A duration in Go's notation, `1h30m`, `500ms`; `Some(None)` if it is negative, which means for
/// ever, and `None` if it is malformed.
fn time(text: &str) -> Option<Option<Duration>> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" | "" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        rest = &rest[end..];
        seconds += number * unit;
    }
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    Some((!is_negative).then_some(time))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with<T>(body: Value, read: impl FnOnce(&Fields<'_>) -> T) -> T {
        read(&Fields::of(&body).expect("an object"))
    }

    #[test]
    fn options_full_of_nulls_say_nothing() {
        let nulls = json!({"options": {
            "mirostat": null, "num_ctx": null, "num_thread": null, "repeat_penalty": null,
            "temperature": null, "stop": null, "tfs_z": null, "top_k": null, "top_p": null, "seed": 1,
        }});
        let read = with(nulls, options).expect("options");
        let usual = SamplerSettings {
            seed: 1,
            ..SamplerSettings::default()
        };
        assert_eq!(read.sampling, usual);
        assert_eq!(read.max_tokens, None);
        let said = json!({"options": {
            "temperature": 0.5, "num_ctx": 4096, "num_predict": 7, "stop": ["a", "b"],
        }});
        let read = with(said, options).expect("options");
        assert_eq!((read.max_tokens, read.stop.len()), (Some(7), 2));
        let endless = with(json!({"options": {"num_predict": -2}}), options);
        assert_eq!(endless.expect("options").max_tokens, None);
        let fault = with(json!({"options": {"mirostat": 1}}), options).err();
        let field = fault.and_then(|fault| fault.param);
        assert_eq!(field.as_deref(), Some("options.mirostat"));
    }

    #[test]
    fn formats_thoughts_and_times_are_read_as_ollama_has_them() {
        let schema = json!({"type": "object"});
        let read = with(json!({"format": schema}), format);
        assert!(matches!(read, Ok(Format::JsonSchema(_))));
        assert!(matches!(
            with(json!({"format": ""}), format),
            Ok(Format::Text)
        ));
        assert!(with(json!({"format": "yaml"}), format).is_err());
        assert_eq!(with(json!({"think": "high"}), thinking), Ok(Some(true)));
        assert_eq!(with(json!({"think": false}), thinking), Ok(Some(false)));
        assert!(with(json!({"think": 5}), thinking).is_err());
        for (said, goes) in [
            (json!(0), true),
            (json!("0s"), true),
            (json!("0"), true),
            (json!("5m"), false),
            (json!("-1"), false),
            (json!(-1), false),
            (json!("1h30m"), false),
            (json!(null), false),
        ] {
            let keep = json!({"keep_alive": said});
            assert_eq!(with(keep.clone(), lets_go), Ok(goes), "{keep}");
        }
        for wrong in [json!("soon"), json!(""), json!([]), json!("5 m")] {
            assert!(with(json!({"keep_alive": wrong}), lets_go).is_err());
        }
    }
}
