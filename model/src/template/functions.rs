//! What templates expect to find beside Jinja itself.

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};

use super::Date;

/// Values that one value may consist of when it is written out.
const WRITTEN_VALUES: usize = 100_000;
/// Lists and maps inside each other when they are written out.
const WRITTEN_DEPTH: usize = 64;

/// What a template said when it called `raise_exception`.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// An environment like that of the Transformers library, which templates are written for: blocks
/// take their line with them, Python's methods, `raise_exception`, and `tojson` without escapes for
/// HTML.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the usual delimiters are valid");
    environment.set_syntax(syntax);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(write_bounded);
    environment.add_filter("tojson", to_json);
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

/// Writes a value as usual, unless it is one that grows without bound when written: lists may
/// contain the same list twice, and so on, at no cost until then.
fn write_bounded(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    check_size(value)?;
    minijinja::escape_formatter(out, state, value)
}

fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    check_size(value)?;
    // `json.dumps` has options that change nothing for the values met here.
    for option in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(option)?;
    }
    let json = minijinja::filters::tojson(value, indent, options)?;
    Ok(without_html_escapes(json.as_str().unwrap_or_default()).into())
}

/// Undoes `\u003c`, `\u003e`, `\u0026` and `\u0027`, which stand for `<`, `>`, `&` and `'`.
fn without_html_escapes(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (replaced, len) = match escape.as_bytes() {
            [_, b'u', b'0', b'0', b'3', b'c', ..] => ("<", 6),
            [_, b'u', b'0', b'0', b'3', b'e', ..] => (">", 6),
            [_, b'u', b'0', b'0', b'2', b'6', ..] => ("&", 6),
            [_, b'u', b'0', b'0', b'2', b'7', ..] => ("'", 6),
            // Also `\\`, whose second half starts no escape.
            _ => (&escape[..2], 2),
        };
        plain.push_str(replaced);
        rest = &escape[len..];
    }
    plain.push_str(rest);
    plain
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
