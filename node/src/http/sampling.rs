//! Sampling settings; both dialects use the same names.

use serde_json::Value;

use super::api::new_seed;
use super::fault::Fault;
use super::fields::{Fields, NotDone, is_nothing};
use crate::Private;
use crate::engine::{LogitBias, SamplerError, SamplerSettings, TokenId};

/// Settings of other servers' samplers that this one does not support.
const NOT_DONE: [NotDone; 9] = [
    other("mirostat"),
    other("dry_multiplier"),
    other("xtc_probability"),
    other("dynatemp_range"),
    other("top_n_sigma"),
    NotDone {
        name: "typical_p",
        harmless: is_one,
        why: "this way of choosing tokens is not there: leave it out",
    },
    NotDone {
        name: "tfs_z",
        harmless: is_one,
        why: "this way of choosing tokens is not there: leave it out",
    },
    NotDone {
        name: "use_beam_search",
        harmless: is_nothing,
        why: "there is no beam search here: leave it out",
    },
    NotDone {
        name: "ignore_eos",
        harmless: is_nothing,
        why: "an answer ends where the model ends it: leave it out",
    },
];

const fn other(name: &'static str) -> NotDone {
    NotDone {
        name,
        harmless: is_nothing,
        why: "this way of choosing tokens is not there: leave it out, or set it to 0",
    }
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

/// The sampler settings of a request; absent ones default to those of `potluck run`. Each `choice`
/// of several answers has its own seed, derived from the first one's.
///
/// # Errors
/// A setting is invalid, out of range, or unsupported.
pub(super) fn sampling(fields: &Fields<'_>, choice: usize) -> Result<SamplerSettings, Fault> {
    fields.refuse(&NOT_DONE)?;
    let mut settings = SamplerSettings::default();
    for (name, setting) in SETTINGS {
        if let Some(number) = fields.number(name)? {
            *setting(&mut settings) = number;
            if let Err(SamplerError::Setting { range, .. }) = settings.validate() {
                return Err(fields.wrong(name, &format!("a number {range}")));
            }
        }
    }
    if let Some(top_p) = fields.number("top_p")? {
        // Clients write 0 to allow only the most likely token.
        settings.top_p = top_p.max(f32::MIN_POSITIVE);
        if settings.validate().is_err() || top_p < 0.0 {
            return Err(fields.wrong("top_p", "a number from 0 to 1"));
        }
    }
    if let Some(top_k) = fields.whole("top_k")? {
        // Some clients write a negative number for no limit.
        settings.top_k = usize::try_from(top_k).unwrap_or(0);
    }
    if let Some(window) = fields.whole("repeat_last_n")? {
        // A negative number means the whole context.
        settings.repetition_window = usize::try_from(window).unwrap_or(usize::MAX);
    }
    settings.logit_bias = logit_bias(fields)?;
    // Seeds may be negative.
    let seed = fields.whole("seed")?.map(i64::cast_unsigned);
    settings.seed = seed.unwrap_or_else(new_seed).wrapping_add(choice as u64);
    Ok(settings)
}

/// Accessor of a number in the settings.
type Setting = fn(&mut SamplerSettings) -> &mut f32;

/// Numeric settings by their field names.
const SETTINGS: [(&str, Setting); 6] = [
    ("temperature", |settings| &mut settings.temperature),
    ("min_p", |settings| &mut settings.min_p),
    ("repetition_penalty", |settings| {
        &mut settings.repetition_penalty
    }),
    ("repeat_penalty", |settings| {
        &mut settings.repetition_penalty
    }),
    ("frequency_penalty", |settings| {
        &mut settings.frequency_penalty
    }),
    ("presence_penalty", |settings| {
        &mut settings.presence_penalty
    }),
];

/// The most stop texts, and the most bytes of one.
const MOST_STOPS: (usize, usize) = (32, 1000);

/// The texts at which an answer stops.
///
/// # Errors
/// They are not texts, or are too many or too long.
pub(super) fn stop(fields: &Fields<'_>) -> Result<Vec<Private<String>>, Fault> {
    let texts = fields.texts("stop")?;
    let (most, longest) = MOST_STOPS;
    if texts.len() > most || texts.iter().any(|text| text.len() > longest) {
        let must = format!("at most {most} strings of at most {longest} bytes");
        return Err(fields.wrong("stop", &must));
    }
    let texts = texts.into_iter().filter(|text| !text.is_empty());
    Ok(texts.map(|text| text.to_owned().into()).collect())
}

fn logit_bias(fields: &Fields<'_>) -> Result<LogitBias, Fault> {
    let Some(bias) = fields.object("logit_bias")? else {
        return Ok(LogitBias::none());
    };
    let mut list: Vec<(TokenId, f32)> = Vec::new();
    for name in bias.names() {
        let must = "token ids of this model, each with a number from -100 to 100";
        let token = name.parse().ok();
        let value = bias.get(name).and_then(Value::as_f64);
        let Some((token, value)) = token.zip(value) else {
            return Err(fields.wrong("logit_bias", must));
        };
        list.push((token, value as f32));
    }
    let must = "numbers from -100 to 100";
    LogitBias::new(list).map_err(|_| fields.wrong("logit_bias", must))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: Value) -> Result<SamplerSettings, Fault> {
        sampling(&Fields::of(&body).expect("an object"), 0)
    }

    #[test]
    fn what_is_said_is_done_and_the_rest_is_as_usual() {
        let usual = SamplerSettings::default();
        let nulls = json!({"temperature": null, "top_p": null, "seed": 3, "logit_bias": null});
        let settings = of(nulls).expect("settings");
        assert_eq!(
            settings,
            SamplerSettings {
                seed: 3,
                ..usual.clone()
            }
        );
        let said = of(json!({
            "temperature": 0.5, "top_p": 0, "top_k": -1, "min_p": 0.05, "repeat_penalty": 1.1,
            "repeat_last_n": -1, "frequency_penalty": -0.5, "presence_penalty": 1, "seed": -1,
            "logit_bias": {"5": -100, "7": 3.5},
        }))
        .expect("settings");
        assert_eq!(said.temperature, 0.5);
        assert!(said.top_p > 0.0 && said.top_p < 1e-30);
        assert_eq!(said.top_k, 0);
        assert_eq!(said.repetition_penalty, 1.1);
        assert_eq!(said.repetition_window, usize::MAX);
        assert_eq!((said.frequency_penalty, said.presence_penalty), (-0.5, 1.0));
        assert_eq!(said.logit_bias.as_slice(), [(5, -100.0), (7, 3.5)]);
        assert_eq!(said.seed, u64::MAX);
    }

    #[test]
    fn an_answer_may_end_at_one_text_or_several() {
        let count = |body: Value| stop(&Fields::of(&body).expect("an object")).map(|all| all.len());
        assert_eq!(count(json!({"stop": null})), Ok(0));
        assert_eq!(count(json!({"stop": "X"})), Ok(1));
        assert_eq!(count(json!({"stop": ["X", "Y", ""]})), Ok(2));
        assert!(count(json!({"stop": [1]})).is_err());
        assert!(count(json!({"stop": vec!["x"; 33]})).is_err());
    }

    #[test]
    fn several_choices_have_seeds_of_their_own() {
        let body = json!({"seed": 5});
        let fields = Fields::of(&body).expect("an object");
        let seed = |choice| sampling(&fields, choice).expect("settings").seed;
        assert_eq!([seed(0), seed(1), seed(2)], [5, 6, 7]);
    }

    #[test]
    fn what_is_out_of_range_or_not_done_is_refused_by_its_name() {
        for (body, field) in [
            (json!({"temperature": -1}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": 1.5}), "top_p"),
            (json!({"min_p": -0.1}), "min_p"),
            (json!({"repeat_penalty": 0}), "repeat_penalty"),
            (json!({"repetition_penalty": 1000}), "repetition_penalty"),
            (json!({"frequency_penalty": 3}), "frequency_penalty"),
            (json!({"presence_penalty": -3}), "presence_penalty"),
            (json!({"logit_bias": {"x": 1}}), "logit_bias"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias"),
            (json!({"mirostat": 2}), "mirostat"),
            (json!({"typical_p": 0.5}), "typical_p"),
            (json!({"seed": 1.5}), "seed"),
        ] {
            let fault = of(body.clone()).expect_err(field);
            assert_eq!(fault.param.as_deref(), Some(field), "{body}");
            assert_eq!(fault.status, 400);
        }
        assert!(of(json!({"mirostat": 0, "typical_p": 1.0, "use_beam_search": false})).is_ok());
    }
}
