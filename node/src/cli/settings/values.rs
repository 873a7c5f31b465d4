//! Converts the file's values for clap.

use std::any::TypeId;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use potluck::config::Value;

use super::super::shown::lasting;

/// Whether an argument takes a value.
fn is_valued(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The values for clap to parse.
pub(super) fn values(arg: &Arg, key: &str, value: &Value) -> Result<Vec<&'static str>, String> {
    let text = |value: &Value| match value {
        Value::Text(text) => Ok(lasting(text)),
        Value::Number(number) if is_number(arg) => Ok(lasting(number)),
        Value::Number(_) | Value::Flag(_) | Value::List(_) => {
            Err(format!("{key} is a text: write it in quotes"))
        }
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, Value::Flag(flag)) => Ok(vec![if *flag { "true" } else { "false" }]),
        (ArgAction::SetTrue, _) => Err(format!("{key} is on or off: write true or false")),
        (ArgAction::Count, Value::Number(number)) if number.parse::<u8>().is_ok() => {
            Ok(vec![lasting(number)])
        }
        (ArgAction::Count, _) => Err(format!("{key} is a small number")),
        (ArgAction::Append, Value::List(values)) => values.iter().map(text).collect(),
        (ArgAction::Append | ArgAction::Set, value) => match value {
            Value::List(_) => Err(format!("{key} is one value, not a list")),
            value if is_number(arg) && matches!(value, Value::Flag(_)) => {
                Err(format!("{key} is a number, or a text in quotes"))
            }
            value => Ok(vec![text(value)?]),
        },
        _ => Err(format!("{key} cannot be set in this file")),
    }
}

/// Whether an argument's value is a number.
fn is_number(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
        TypeId::of::<NonZeroU32>(),
        TypeId::of::<NonZeroU64>(),
        TypeId::of::<NonZeroUsize>(),
    ]
    .iter()
    .any(|number| parsed == *number)
}

/// Why an argument does not accept a value.
pub(super) fn refused(arg: &Arg, value: &str) -> Option<String> {
    if !is_valued(arg) {
        return None;
    }
    // Parse with this argument alone, so that other arguments and the environment have no
    // influence.
    let parser: ValueParser = arg.get_value_parser().clone();
    let one = Arg::new("value")
        .long("value")
        .value_parser(parser)
        .allow_hyphen_values(true);
    let command = Command::new("value").no_binary_name(true).arg(one);
    let error = command
        .try_get_matches_from([format!("--value={value}")])
        .err()?;
    if let Some(source) = std::error::Error::source(&error) {
        return Some(source.to_string());
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if error.kind() == ErrorKind::InvalidValue => {
            Some(format!("write one of {}", valid.join(", ")))
        }
        _ => Some("write a value".to_owned()),
    }
}
