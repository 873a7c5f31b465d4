//! Functions, filters and tests that templates expect in addition to Jinja's own.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};

use super::error::Raised;
use super::python::{self, ExponentFloat};
use super::{Date, json};

/// Maximum number of values in one written value.
const WRITTEN_VALUES: usize = 100_000;
/// Maximum nesting of lists and maps in a written value.
const WRITTEN_DEPTH: usize = 64;

/// An environment like the Transformers library's, which templates are written for: block tags
/// remove their line break, Python's methods, `raise_exception`, and `tojson` as `json.dumps`.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the usual delimiters are valid");
    environment.set_syntax(syntax);
    environment.set_unknown_method_callback(python::call_method);
    environment.set_formatter(write_bounded);
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", to_text);
    environment.add_filter("trim", trim);
    // The engine can iterate over none; Python cannot.
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    // In Python, strings and mappings also have a length and items.
    environment.add_test("sequence", |value: &Value| {
        let kind = value.kind();
        value.is_undefined() || matches!(kind, ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    // In Python, booleans are numbers.
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool) || ExponentFloat::is(value)
    });
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            let error = Error::new(ErrorKind::InvalidOperation, "raised by the template");
            Err(error.with_source(Raised(message)))
        },
    );
    environment
}

/// Adds `strftime_now`.
pub(super) fn add_date(environment: &mut Environment<'static>, today: Date) {
    environment.add_function("strftime_now", move |format: String| {
        today.format(&format).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidOperation,
                "strftime_now: only the date is known, not the time of day",
            )
        })
    });
}

/// Writes a value as usual, unless it is too large. Lists may contain the same list several times,
/// and so on, so a small value can become exponentially large when written.
fn write_bounded(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    check_size(value)?;
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
            out.write_str(&python::text(value)).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

fn to_json(
    state: &State,
    value: &Value,
    positional: Rest<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    check_size(value)?;
    json::filter(state, value, &positional, &options)
}

fn to_text(state: &State, value: &Value) -> Result<Value, Error> {
    if value.kind() == ValueKind::String {
        return Ok(value.clone());
    }
    check_size(value)?;
    let text = python::text(value);
    python::pay(state, text.len().saturating_mul(16))?;
    Ok(text.into())
}

fn trim(value: &Value, chars: Option<String>) -> String {
    let text = python::text(value);
    let dropped = |char| match &chars {
        Some(chars) => chars.contains(char),
        None => python::is_space(char),
    };
    text.trim_matches(dropped).to_owned()
}

fn check_size(value: &Value) -> Result<(), Error> {
    let mut left = WRITTEN_VALUES;
    check_within(value, WRITTEN_DEPTH, &mut left)
}

fn check_within(value: &Value, depth: usize, left: &mut usize) -> Result<(), Error> {
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    if depth == 0 {
        return Err(ErrorKind::OutOfFuel.into());
    }
    for item in value.try_iter()? {
        *left = left.checked_sub(1).ok_or(ErrorKind::OutOfFuel)?;
        let held = if is_map { value.get_item(&item)? } else { item };
        check_within(&held, depth - 1, left)?;
    }
    Ok(())
}
