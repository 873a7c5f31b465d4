//! A field and the values that it takes in a sweep.

use std::str::FromStr;

use super::{Field, SweepError};

/// A field and the values that it takes, as `network.delay=1ms,5ms,20ms`.
///
/// A value with a comma in it stands in double quotes:
/// `request.choice=best,alone,"self:0..6,tablet:6..30"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The field.
    pub field: Field,
    /// Its values as they were written, at least one.
    pub values: Vec<String>,
}

impl FromStr for Axis {
    type Err = SweepError;

    fn from_str(text: &str) -> Result<Self, SweepError> {
        let wrong = || SweepError::NotAnAxis(text.to_owned());
        let (field, values) = text.split_once('=').ok_or_else(wrong)?;
        let values = split(values).ok_or_else(wrong)?;
        if values.iter().any(String::is_empty) {
            return Err(wrong());
        }
        if field.trim() == "seed" {
            return Err(SweepError::SeedVaried);
        }
        let field = field.trim().parse()?;
        Ok(Self { field, values })
    }
}

/// Splits at commas that are not in quotes; `None` if a quote does not end.
fn split(text: &str) -> Option<Vec<String>> {
    let mut values = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => values.push(String::new()),
            _ => values.last_mut()?.push(character),
        }
    }
    let trimmed = values.iter().map(|value| value.trim().to_owned());
    (!quoted).then(|| trimmed.collect())
}

/// A value as the scenario's file would have it: a number or a truth value if it is one, else a text.
pub(super) fn value(text: &str) -> toml::Value {
    if let Ok(number) = text.parse::<i64>() {
        return toml::Value::Integer(number);
    }
    match (text, text.parse::<f64>()) {
        ("true", _) => toml::Value::Boolean(true),
        ("false", _) => toml::Value::Boolean(false),
        (_, Ok(number)) if number.is_finite() => toml::Value::Float(number),
        _ => toml::Value::String(text.to_owned()),
    }
}
