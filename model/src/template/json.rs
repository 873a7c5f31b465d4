//! `tojson` as in the Transformers library: Python's `json.dumps`, without escaping non-ASCII
//! characters by default.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::marks::may_be_mark;
use super::python::{self, ExponentFloat};

/// JSON formatting options.
struct Style {
    ascii: bool,
    /// Indentation per level; `None` for one line.
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sorted: bool,
}

/// The filter. Its arguments, in this order, may also be named: `ensure_ascii`, `indent`,
/// `separators`, `sort_keys`.
pub(super) fn filter(
    state: &State,
    value: &Value,
    positional: &[Value],
    options: &Kwargs,
) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if positional.len() > names.len() {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let argument = |index: usize| match positional.get(index) {
        Some(given) => Ok(Some(given.clone())),
        None => options.get::<Option<Value>>(names[index]),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let ascii = is_true(argument(0)?);
    let indent = argument(1)?.filter(|indent| !indent.is_none());
    let separators = argument(2)?.filter(|pair| !pair.is_none());
    let sorted = is_true(argument(3)?);
    options.assert_all_used()?;

    let indent = indent.map(|indent| indentation(&indent)).transpose()?;
    let (between_items, after_key) = match separators {
        Some(pair) => {
            let part = |index| {
                let part = pair.get_item_by_index(index)?;
                let text = part.as_str().map(str::to_owned);
                text.ok_or_else(|| invalid("tojson: separators are two texts"))
            };
            (part(0)?, part(1)?)
        }
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let style = Style {
        ascii,
        indent,
        between_items,
        after_key,
        sorted,
    };
    let mut json = String::new();
    style.write(value, 0, &mut json)?;
    // Writing takes longer than copying.
    python::pay(state, json.len().saturating_mul(16))?;
    Ok(json.into())
}

/// Writes a value as JSON on one line.
///
/// # Errors
/// JSON cannot represent the value.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    let style = Style {
        ascii: false,
        indent: None,
        between_items: ", ".into(),
        after_key: ": ".into(),
        sorted: false,
    };
    let mut json = String::new();
    style.write(value, 0, &mut json)?;
    Ok(json)
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn indentation(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.chars().take(64).collect());
    }
    // Negative values count as 0, and true counts as 1.
    let spaces = match indent.kind() {
        ValueKind::Bool => usize::from(indent.is_true()),
        _ => indent.as_usize().unwrap_or(0),
    };
    if spaces > 64 {
        return Err(invalid("tojson: an indent of at most 64 is accepted"));
    }
    Ok(" ".repeat(spaces))
}

impl Style {
    fn write(&self, value: &Value, depth: usize, json: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => json.push_str("null"),
            ValueKind::Bool => json.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => json.push_str(&number(value)),
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default(), json),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<_> = value.try_iter()?.collect();
                self.write_all(['[', ']'], &items, depth, json, |item, json| {
                    self.write(item, depth + 1, json)
                })?;
            }
            ValueKind::Map => self.write_map(value, depth, json)?,
            _ if ExponentFloat::is(value) => json.push_str(&python::text(value)),
            _ => return Err(invalid("tojson: the value cannot be written as JSON")),
        }
        Ok(())
    }

    fn write_map(&self, map: &Value, depth: usize, json: &mut String) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for key in map.try_iter()? {
            let held = map.get_item(&key)?;
            pairs.push((key_text(&key)?, held));
        }
        if self.sorted {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.write_all(['{', '}'], &pairs, depth, json, |(key, held), json| {
            self.write_text(key, json);
            json.push_str(&self.after_key);
            self.write(held, depth + 1, json)
        })
    }

    fn write_all<T>(
        &self,
        [open, close]: [char; 2],
        items: &[T],
        depth: usize,
        json: &mut String,
        write: impl Fn(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        json.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                json.push_str(&self.between_items);
            }
            self.start_line(depth + 1, json);
            write(item, json)?;
        }
        if !items.is_empty() {
            self.start_line(depth, json);
        }
        json.push(close);
        Ok(())
    }

    fn start_line(&self, depth: usize, json: &mut String) {
        if let Some(indent) = &self.indent {
            json.push('\n');
            json.extend(std::iter::repeat_n(&**indent, depth));
        }
    }

    fn write_text(&self, text: &str, json: &mut String) {
        json.push('"');
        for char in text.chars() {
            match char {
                '"' => json.push_str("\\\""),
                '\\' => json.push_str("\\\\"),
                '\n' => json.push_str("\\n"),
                '\r' => json.push_str("\\r"),
                '\t' => json.push_str("\\t"),
                '\x08' => json.push_str("\\b"),
                '\x0c' => json.push_str("\\f"),
                char if char < ' ' || self.ascii && !char.is_ascii() && !may_be_mark(char) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(json, "\\u{unit:04x}");
                    }
                }
                char if self.ascii && char == '\x7f' => json.push_str("\\u007f"),
                char => json.push(char),
            }
        }
        json.push('"');
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(f64::INFINITY) => "Infinity".into(),
        Ok(f64::NEG_INFINITY) => "-Infinity".into(),
        Ok(number) if !number.is_nan() => python::float(number),
        _ => "NaN".into(),
    }
}

/// Converts a key for JSON, where keys are always strings.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().into()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key)),
        _ => Err(invalid("tojson: a key cannot be written as JSON")),
    }
}
