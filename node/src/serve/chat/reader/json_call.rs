//! A call that a model writes as a JSON object: `{"name": …, "arguments": {…}}`.

use super::calls::{Calls, Out};
use super::scan::{Place, ValueScan};

/// The longest name of a tool. A longer one is none.
const LONGEST_NAME: usize = 256;

/// What a character did to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is part of the call, and not the last one.
    More,
    /// It ends the call.
    End,
    /// This is no call.
    Failed,
}

/// One call, from behind its `{` on. The name is told as soon as it is known, and arguments as they
/// come after it.
#[derive(Default)]
pub(super) struct JsonCall {
    at: At,
    key: String,
    /// The string at hand, as it is written.
    written: String,
    escaped: bool,
    scan: ValueScan,
    /// Arguments that are not told yet.
    arguments: String,
    has_arguments: bool,
    has_told: bool,
    begun: bool,
    /// Whether name and arguments are in an object of their own.
    is_nested: bool,
    /// Whether only a tool that there is makes this a call.
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

    /// Whether the tool's name was told.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes the next character.
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

    /// Tells the arguments that came since it was asked last.
    pub(super) fn tell(&mut self, calls: &Calls, out: Out<'_>) {
        if self.begun && !self.arguments.is_empty() {
            calls.arguments(&self.arguments, out);
            self.arguments.clear();
            self.has_told = true;
        }
    }

    /// Ends a call that was told, whatever is missing of it.
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
        // What a call begins with; so that other objects need not wait for their end.
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

    /// Arguments that are a text with an object in it.
    fn in_arguments_text(&mut self, char: char) -> Step {
        let Some(text) = self.string(char) else {
            return Step::More;
        };
        // What is not right is told as it is written.
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

    /// Takes a character of a string: what the string says when it ends, or how it is written if
    /// that is not right.
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
