//! Converts Python literals to JSON.

use serde_json::Value;

/// The deepest nesting to parse.
const DEEPEST: usize = 64;

/// The literal as JSON. Other text becomes a JSON string, so that nothing is lost.
pub(super) fn to_json(written: &str) -> String {
    let written = written.trim();
    let mut literal = Literal { rest: written };
    let mut json = String::new();
    if literal.value(&mut json, DEEPEST).is_some() && literal.rest.trim().is_empty() {
        return json;
    }
    Value::from(written).to_string()
}

/// A parser of literals.
struct Literal<'t> {
    rest: &'t str,
}

impl<'t> Literal<'t> {
    /// Parses a value and appends it as JSON; `None` if there is no value.
    fn value(&mut self, json: &mut String, deepest: usize) -> Option<()> {
        let deepest = deepest.checked_sub(1)?;
        self.skip_space();
        match self.rest.chars().next()? {
            '"' | '\'' => {
                let text = self.string()?;
                json.push_str(&Value::from(text).to_string());
            }
            '[' => self.list(']', json, deepest)?,
            '(' => self.list(')', json, deepest)?,
            '{' => self.map(json, deepest)?,
            _ => self.word(json)?,
        }
        Some(())
    }

    fn list(&mut self, close: char, json: &mut String, deepest: usize) -> Option<()> {
        self.take(1);
        json.push('[');
        let mut is_first = true;
        while !self.eat(close) {
            if !is_first {
                json.push_str(", ");
            }
            is_first = false;
            self.value(json, deepest)?;
            if !self.eat(',') {
                self.eat(close).then_some(())?;
                break;
            }
        }
        json.push(']');
        Some(())
    }

    fn map(&mut self, json: &mut String, deepest: usize) -> Option<()> {
        self.take(1);
        json.push('{');
        let mut is_first = true;
        while !self.eat('}') {
            if !is_first {
                json.push_str(", ");
            }
            is_first = false;
            self.skip_space();
            if self.rest.starts_with(['"', '\'']) {
                self.value(json, deepest)?;
            } else {
                // Keys of JSON objects are strings.
                let mut key = String::new();
                self.value(&mut key, deepest)?;
                json.push_str(&Value::from(key).to_string());
            }
            self.eat(':').then_some(())?;
            json.push_str(": ");
            self.value(json, deepest)?;
            if !self.eat(',') {
                self.eat('}').then_some(())?;
                break;
            }
        }
        json.push('}');
        Some(())
    }

    /// A number or a constant such as `True`.
    fn word(&mut self, json: &mut String) -> Option<()> {
        let is_part = |char: char| char.is_ascii_alphanumeric() || "+-._".contains(char);
        let end = self.rest.find(|char| !is_part(char));
        let word = self.take(end.unwrap_or(self.rest.len()));
        let name = match word {
            "True" | "true" => "true",
            "False" | "false" => "false",
            "None" | "null" => "null",
            _ => {
                json.push_str(&number(word)?);
                return Some(());
            }
        };
        json.push_str(name);
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.take(1);
        // Triple-quoted strings may contain quotes and newlines.
        let tripled = quote.repeat(3);
        let close = if self.rest.starts_with(&tripled[1..]) && self.rest[2..].contains(&tripled) {
            self.take(2);
            &*tripled
        } else {
            quote
        };
        let mut text = String::new();
        while !self.rest.starts_with(close) {
            let char = self.rest.chars().next()?;
            self.take(char.len_utf8());
            if char == '\\' {
                self.escape(&mut text)?;
            } else {
                text.push(char);
            }
        }
        self.take(close.len());
        Some(text)
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let char = self.rest.chars().next()?;
        self.take(char.len_utf8());
        let plain = match char {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '0' => '\0',
            '\\' | '\'' | '"' | '/' => char,
            '\n' => return Some(()),
            'x' => return self.character(2, text),
            'u' => return self.character(4, text),
            'U' => return self.character(8, text),
            _ => {
                // As in Python, an unknown escape keeps its backslash.
                text.push('\\');
                char
            }
        };
        text.push(plain);
        Some(())
    }

    /// A character given by this many hexadecimal digits.
    fn character(&mut self, digits: usize, text: &mut String) -> Option<()> {
        let mut code = self.code(digits)?;
        // A surrogate pair, as in JSON.
        if (0xd800..0xdc00).contains(&code) && self.rest.starts_with("\\u") {
            self.take(2);
            let low = self.code(4)?;
            code = 0x1_0000 + ((code - 0xd800) << 10) + low.checked_sub(0xdc00)?;
        }
        text.push(char::from_u32(code)?);
        Some(())
    }

    fn code(&mut self, digits: usize) -> Option<u32> {
        let written = self.rest.get(..digits)?;
        self.take(digits);
        u32::from_str_radix(written, 16).ok()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Consumes this character if it is next, after optional whitespace.
    fn eat(&mut self, char: char) -> bool {
        self.skip_space();
        let is_next = self.rest.starts_with(char);
        if is_next {
            self.take(char.len_utf8());
        }
        is_next
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

/// A number in JSON syntax.
fn number(word: &str) -> Option<String> {
    let word = word.replace('_', "");
    let is_number = |text: &str| serde_json::from_str::<serde_json::Number>(text).is_ok();
    if is_number(&word) {
        return Some(word);
    }
    // `.5`, `1.`, `+2`, `007`
    let digits = word.trim_start_matches(['+', '-']);
    let starts = digits.starts_with(|char: char| char.is_ascii_digit() || char == '.');
    let value: f64 = word.parse().ok().filter(|_| starts)?;
    let written = serde_json::Number::from_f64(value)?.to_string();
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_python_become_json() {
        for (python, json) in [
            ("1", "1"),
            (" -2.5e3 ", "-2.5e3"),
            ("1_000", "1000"),
            (".5", "0.5"),
            ("True", "true"),
            ("null", "null"),
            ("None", "null"),
            ("'it\\'s'", "\"it's\""),
            ("\"a\\n\\u00fc\\x41\"", "\"a\\nüA\""),
            ("'\\ud83d\\ude00'", "\"😀\""),
            ("\"\"", "\"\""),
            (
                "\"\"\"two \"lines\"\nhere\"\"\"",
                "\"two \\\"lines\\\"\\nhere\"",
            ),
            ("[1, 'b', (True,), []]", "[1, \"b\", [true], []]"),
            (
                "{'a': {'b': [None]}, 1: 2}",
                "{\"a\": {\"b\": [null]}, \"1\": 2}",
            ),
            // None of these are literals.
            ("Paris", "\"Paris\""),
            ("'open", "\"'open\""),
            ("1 + 2", "\"1 + 2\""),
            ("f(x)", "\"f(x)\""),
            ("inf", "\"inf\""),
        ] {
            assert_eq!(to_json(python), json, "{python}");
        }
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(to_json(&deep), Value::from(deep).to_string());
    }
}
