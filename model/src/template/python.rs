//! Python semantics of values and strings, where the template engine differs.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Maximum width for padding a string.
const PADDED_WIDTH: usize = 10_000;

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    }
}

/// `repr(value)`.
fn repr(value: &Value) -> String {
    let items = || value.try_iter().into_iter().flatten();
    let joined = |items: Vec<String>| items.join(", ");
    match value.kind() {
        ValueKind::Number if !value.is_integer() => {
            float(f64::try_from(value.clone()).unwrap_or(f64::NAN))
        }
        ValueKind::Seq if value.is_tuple() => {
            let list: Vec<_> = items().map(|item| repr(&item)).collect();
            let comma = if list.len() == 1 { "," } else { "" };
            format!("({}{comma})", joined(list))
        }
        ValueKind::Seq => format!("[{}]", joined(items().map(|item| repr(&item)).collect())),
        ValueKind::Map if !value.is_kwargs() => {
            let pair = |key: Value| {
                let held = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key), repr(&held))
            };
            format!("{{{}}}", joined(items().map(pair).collect()))
        }
        ValueKind::Undefined => "Undefined".into(),
        // Otherwise the engine's format is the same as Python's.
        _ => format!("{value:?}"),
    }
}

/// A float that Python writes with an exponent, but the engine does not.
#[derive(Debug)]
pub(super) struct ExponentFloat(f64);

impl ExponentFloat {
    /// Wraps the value if it is such a float.
    pub(super) fn wrap(value: &Value) -> Value {
        let number = f64::try_from(value.clone()).ok();
        match number.filter(|&number| !value.is_integer() && float(number).contains('e')) {
            Some(number) => Value::from_object(Self(number)),
            None => value.clone(),
        }
    }

    pub(super) fn is(value: &Value) -> bool {
        value.downcast_object_ref::<Self>().is_some()
    }
}

impl Object for ExponentFloat {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&float(self.0))
    }
}

/// `repr` of a float: the shortest digits that round-trip, with an exponent from 1e16 on and below
/// 1e-4.
pub(super) fn float(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string().to_ascii_lowercase();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if number == 0.0 || (-4..16).contains(&power) {
        return format!("{number:?}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

/// Whether Python counts the character as white space.
pub(super) fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\x1c'..='\x1f').contains(&char)
}

/// Calls a method of a Python value.
pub(super) fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let called = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => string_method(state, text, method, args)?,
        (ValueKind::Seq, _) => list_method(value, method, args)?,
        (ValueKind::Map, _) if method == "copy" => {
            let () = from_args(args)?;
            Some(value.clone())
        }
        _ => None,
    };
    match called {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn list_method(value: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "copy" => {
            let () = from_args(args)?;
            Ok(Some(value.clone()))
        }
        "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let place = value.try_iter()?.position(|item| item == *wanted);
            let place = place.ok_or_else(|| invalid("the value is not in the list"))?;
            Ok(Some(place.into()))
        }
        _ => Ok(None),
    }
}

/// String methods that the engine lacks or implements differently; `None` for others.
fn string_method(
    state: &State,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" => trimmed(text, args, true, true)?,
        "lstrip" => trimmed(text, args, true, false)?,
        "rstrip" => trimmed(text, args, false, true)?,
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            not_empty(separator)?;
            partition(text, separator, method == "rpartition")
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "find" | "index" | "rfind" | "rindex" => find(text, method, args)?,
        "ljust" | "rjust" | "center" => padded(text, method, args)?,
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let digits = text.trim_start_matches(['+', '-']);
            let sign = &text[..text.len() - digits.len()];
            let zeros = missing(text, width)?;
            format!("{sign}{}{digits}", "0".repeat(zeros)).into()
        }
        "casefold" | "swapcase" | "isdecimal" | "istitle" => {
            let () = from_args(args)?;
            with_case(text, method)
        }
        "splitlines" => split_lines(text, args)?,
        // These can create a long string from two short ones, so they pay first.
        "replace" => replace(state, text, args)?,
        "join" => join(state, text, args)?,
        _ => return Ok(None),
    }))
}

/// Methods about letter case and digits.
fn with_case(text: &str, method: &str) -> Value {
    match method {
        "casefold" => text.to_lowercase().replace('ß', "ss").into(),
        "swapcase" => text.chars().map(swapped).collect::<String>().into(),
        "istitle" => is_title(text).into(),
        _ => (!text.is_empty() && text.chars().all(|char| char.is_ascii_digit())).into(),
    }
}

fn replace(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (old, new, count, options): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
    let count = count.or(options.get("count")?).unwrap_or(-1);
    options.assert_all_used()?;
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let replaced = text.matches(old).count().min(most);
    pay(state, replaced.saturating_mul(new.len()))?;
    Ok(text.replacen(old, new, most).into())
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn not_empty(separator: &str) -> Result<(), Error> {
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    Ok(())
}

/// Pays for bytes before they are allocated.
pub(super) fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

fn trimmed(text: &str, args: &[Value], left: bool, right: bool) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    let dropped = |char| chars.map_or_else(|| is_space(char), |chars| chars.contains(char));
    let text = if left {
        text.trim_start_matches(dropped)
    } else {
        text
    };
    let text = if right {
        text.trim_end_matches(dropped)
    } else {
        text
    };
    Ok(text.into())
}

fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, most, options): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        None => options.get::<Option<&str>>("sep")?,
        given => given,
    };
    let most = most.or(options.get("maxsplit")?).unwrap_or(-1);
    options.assert_all_used()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    let Some(separator) = separator else {
        return Ok(split_at_space(text, most, from_right).into());
    };
    not_empty(separator)?;
    let parts: Vec<Value> = if from_right {
        let mut parts: Vec<_> = text.rsplitn(most + 1, separator).map(Value::from).collect();
        parts.reverse();
        parts
    } else {
        text.splitn(most + 1, separator).map(Value::from).collect()
    };
    Ok(parts.into())
}

/// Splits a string into words. After `most` splits the rest stays unchanged, except for the white
/// space next to the last split and at the outer end.
fn split_at_space(text: &str, most: usize, from_right: bool) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        rest = if from_right {
            rest.trim_end_matches(is_space)
        } else {
            rest.trim_start_matches(is_space)
        };
        if rest.is_empty() {
            break;
        }
        let space = if from_right {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(space) = space.filter(|_| parts.len() < most) else {
            parts.push(Value::from(rest));
            break;
        };
        let after = space + rest[space..].chars().next().map_or(0, char::len_utf8);
        let (word, others) = if from_right {
            (&rest[after..], &rest[..space])
        } else {
            (&rest[..space], &rest[after..])
        };
        parts.push(Value::from(word));
        rest = others;
    }
    if from_right {
        parts.reverse();
    }
    parts
}

fn partition(text: &str, separator: &str, from_right: bool) -> Value {
    let parts = if from_right {
        text.rsplit_once(separator)
            .map_or(["", "", text], |(a, b)| [a, separator, b])
    } else {
        text.split_once(separator)
            .map_or([text, "", ""], |(a, b)| [a, separator, b])
    };
    parts.into_iter().map(Value::from).collect()
}

/// The position of one string in another, in characters, searched from a given position on.
fn find(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted, from): (&str, Option<i64>) = from_args(args)?;
    let skipped = match usize::try_from(from.unwrap_or(0)) {
        Ok(from) => from,
        Err(_) => text
            .chars()
            .count()
            .saturating_sub(from.unwrap_or(0).unsigned_abs() as usize),
    };
    let start = text
        .char_indices()
        .nth(skipped)
        .map_or(text.len(), |(at, _)| at);
    let within = &text[start..];
    let found = if method.starts_with('r') {
        within.rfind(wanted)
    } else {
        within.find(wanted)
    };
    match found {
        Some(at) => Ok((text[..start + at].chars().count() as i64).into()),
        None if method.ends_with("index") => Err(invalid("the text does not occur")),
        None => Ok((-1).into()),
    }
}

/// Number of characters missing to this width.
fn missing(text: &str, width: usize) -> Result<usize, Error> {
    if width > PADDED_WIDTH {
        return Err(ErrorKind::OutOfFuel.into());
    }
    Ok(width.saturating_sub(text.chars().count()))
}

fn padded(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (usize, Option<char>) = from_args(args)?;
    let fill = String::from(fill.unwrap_or(' '));
    let missing = missing(text, width)?;
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // For odd widths, Python puts the odd character on the left.
        _ => missing / 2 + (missing & width & 1),
    };
    Ok(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)).into())
}

fn swapped(char: char) -> char {
    if char.is_uppercase() {
        char.to_lowercase().next().unwrap_or(char)
    } else {
        char.to_uppercase().next().unwrap_or(char)
    }
}

/// Whether all words start with a capital and continue in lower case, and there is at least one
/// word.
fn is_title(text: &str) -> bool {
    let mut within_word = false;
    let mut any = false;
    for char in text.chars() {
        let (upper, lower) = (char.is_uppercase(), char.is_lowercase());
        if upper && within_word || lower && !within_word {
            return false;
        }
        any |= upper;
        within_word = upper || lower;
    }
    any
}

fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
    let keep = keep.or(options.get("keepends")?).unwrap_or(false);
    options.assert_all_used()?;
    let mut lines: Vec<Value> = Vec::new();
    let mut rest = text;
    let is_end =
        |char| matches!(char, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    while let Some(at) = rest.find(is_end) {
        let end = &rest[at..];
        let length = if end.starts_with("\r\n") {
            2
        } else {
            end.chars().next().map_or(1, char::len_utf8)
        };
        lines.push(rest[..if keep { at + length } else { at }].into());
        rest = &end[length..];
    }
    if !rest.is_empty() {
        lines.push(rest.into());
    }
    Ok(lines.into())
}

fn join(state: &State, separator: &str, args: &[Value]) -> Result<Value, Error> {
    let (values,): (&Value,) = from_args(args)?;
    let mut joined = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        let text = text(&value);
        let separator = if index > 0 { separator } else { "" };
        pay(state, 64 + separator.len() + text.len())?;
        joined.push_str(separator);
        joined.push_str(&text);
    }
    Ok(joined.into())
}
