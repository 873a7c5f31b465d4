//! Parses a call written as a JSON object: `{"name": …, "arguments": {…}}`.

use super::calls::{Calls, Out};
use super::scan::{Place, ValueScan};

/// The longest tool name. Longer text is not a name.
const LONGEST_NAME: usize = 256;

/// The effect of a character on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is part of the call and does not end it.
    More,
    /// It ends the call.
    End,
    /// The text is not a call.
    Failed,
}

/// One call, parsed from after its `{`. The name is emitted as soon as it is known, arguments as
/// they arrive after that.
#[derive(Default)]
pub(super) struct JsonCall {
    at: At,
    key: String,
    /// The current string, still escaped.
    written: String,
    escaped: bool,
    scan: ValueScan,
    /// Arguments not emitted yet.
    arguments: String,
    has_arguments: bool,
    has_told: bool,
    begun: bool,
    /// Whether name and arguments are in a nested object.
    is_nested: bool,
    /// Whether only a known tool makes this a call.
    must_be_known: bool,
    keys: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Key,
    InKey,
    Colon,
    Value,
    InName,
    InArguments,
    InArgumentsText,
    InOther,
    AfterValue,
}

impl JsonCall {
    pub(super) fn new(must_be_known: bool) -> Self {
        Self {
            must_be_known,
            ..Self::default()
        }
    }

    /// Whether the tool's name has been emitted.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Processes the next character.
    pub(super) fn push(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        match self.at {
            At::InKey => self.in_key(char),
            At::InName => self.in_name(char, calls, out),
            At::InArguments => self.in_arguments(char),
            At::InArgumentsText => self.in_arguments_text(char),
            At::InOther => match self.scan.push(char) {
                Place::Within => Step::More,
                Place::Last => self.go(At::AfterValue),
                Place::After => self.after_value(char, calls, out),
            },
            _ if char.is_ascii_whitespace() => Step::More,
            At::Key => match char {
                '"' => self.go(At::InKey),
                '}' => self.close(calls, out),
                _ => Step::Failed,
            },
            At::Colon if char == ':' => self.go(At::Value),
            At::Colon => Step::Failed,
            At::Value => self.value(char),
            At::AfterValue => self.after_value(char, calls, out),
        }
    }

    /// Emits the arguments received since the last call.
    pub(super) fn tell(&mut self, calls: &Calls, out: Out<'_>) {
        if self.begun && !self.arguments.is_empty() {
            calls.arguments(&self.arguments, out);
            self.arguments.clear();
            self.has_told = true;
        }
    }

    /// Ends a call that has been emitted, even if it is incomplete.
    pub(super) fn end(&mut self, calls: &Calls, out: Out<'_>) {
        self.tell(calls, out);
        if !self.has_told {
            calls.arguments("{}", out);
        }
    }

    fn go(&mut self, at: At) -> Step {
        self.at = at;
        Step::More
    }

    fn in_key(&mut self, char: char) -> Step {
        let Some(key) = self.string(char) else {
            return Step::More;
        };
        let Ok(key) = key else { return Step::Failed };
        self.keys += 1;
        // Usual first keys of a call. Other objects are rejected early instead of at their end.
        let usual = ["name", "function", "type", "arguments", "parameters"];
        if self.must_be_known && self.keys == 1 && !usual.contains(&&*key) {
            return Step::Failed;
        }
        self.key = key;
        self.go(At::Colon)
    }

    fn value(&mut self, char: char) -> Step {
        match (&*self.key, char) {
            ("name" | "function", '"') if !self.begun => self.go(At::InName),
            ("function", '{') if !self.is_nested => {
                self.is_nested = true;
                self.go(At::Key)
            }
            ("arguments" | "parameters", '{' | '[') if !self.has_arguments => {
                self.has_arguments = true;
                self.scan = ValueScan::default();
                self.scan.push(char);
                self.arguments.push(char);
                self.go(At::InArguments)
            }
            ("arguments" | "parameters", '"') if !self.has_arguments => {
                self.has_arguments = true;
                self.go(At::InArgumentsText)
            }
            ("name", _) => Step::Failed,
            _ => {
                self.scan = ValueScan::default();
                self.at = At::InOther;
                match self.scan.push(char) {
                    Place::After => Step::Failed,
                    Place::Within | Place::Last => Step::More,
                }
            }
        }
    }

    fn in_name(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        if self.written.len() > LONGEST_NAME {
            return Step::Failed;
        }
        let Some(name) = self.string(char) else {
            return Step::More;
        };
        let name = name.ok().filter(|name| !name.is_empty());
        let known = |name: &String| !self.must_be_known || calls.tool(name).is_some();
        let Some(name) = name.filter(known) else {
            return Step::Failed;
        };
        calls.begin(&name, out);
        self.begun = true;
        self.at = At::AfterValue;
        self.tell(calls, out);
        Step::More
    }

    fn in_arguments(&mut self, char: char) -> Step {
        match self.scan.push(char) {
            Place::Within => {}
            Place::Last => self.at = At::AfterValue,
            // An object ends with its own brace.
            Place::After => return Step::Failed,
        }
        self.arguments.push(char);
        Step::More
    }

    /// Arguments given as a string that contains an object.
    fn in_arguments_text(&mut self, char: char) -> Step {
        let Some(text) = self.string(char) else {
            return Step::More;
        };
        // An invalid string is emitted as written.
        self.arguments
            .push_str(&text.unwrap_or_else(|written| written));
        self.go(At::AfterValue)
    }

    fn after_value(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        match char {
            _ if char.is_ascii_whitespace() => self.go(At::AfterValue),
            ',' => self.go(At::Key),
            '}' => self.close(calls, out),
            _ => Step::Failed,
        }
    }

    fn close(&mut self, calls: &mut Calls, out: Out<'_>) -> Step {
        if std::mem::take(&mut self.is_nested) {
            return self.go(At::AfterValue);
        }
        if !self.begun {
            return Step::Failed;
        }
        self.end(calls, out);
        Step::End
    }

    /// Processes a character of a string. At its end returns the unescaped string, or the text as
    /// written if it is invalid.
    fn string(&mut self, char: char) -> Option<Result<String, String>> {
        if char == '"' && !self.escaped {
            let written = std::mem::take(&mut self.written);
            let said = serde_json::from_str(&format!("\"{written}\""));
            return Some(said.map_err(|_| written));
        }
        self.escaped = char == '\\' && !self.escaped;
        self.written.push(char);
        None
    }
}
