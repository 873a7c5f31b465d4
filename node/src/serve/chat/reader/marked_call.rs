//! Parses calls with marks between name and arguments: `f[ARGS]{…}`, and
//! `<function=f><parameter=a>…</parameter></function>`.

use serde_json::Value;

use super::calls::{Calls, Out, Parameter};
use super::json_call::Step;
use super::scan::{Place, ValueScan};

/// The mark before the arguments. An id may precede it: `[CALL_ID]…`.
const ARGS: &str = "[ARGS]";
const FUNCTION: &str = "<function=";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";
const FUNCTION_END: &str = "</function>";
/// The longest name and the longest id. Longer text is not a call.
const LONGEST: usize = 256;

/// A call in the form `f[ARGS]{…}`, parsed from after the name.
pub(super) struct ArgsCall {
    name: String,
    /// The marks before the arguments.
    marks: String,
    begun: bool,
    scan: ValueScan,
    arguments: String,
}

impl ArgsCall {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            marks: String::new(),
            begun: false,
            scan: ValueScan::default(),
            arguments: String::new(),
        }
    }

    /// Whether the tool's name has been emitted.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Processes the next character.
    pub(super) fn push(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        if !self.begun {
            self.marks.push(char);
            if self.marks.len() > LONGEST {
                return Step::Failed;
            }
            if self.marks.ends_with(ARGS) {
                calls.begin(&self.name, out);
                self.begun = true;
            }
            return Step::More;
        }
        let is_first = self.arguments.is_empty() && !self.scan.has_begun();
        if is_first && char != '{' {
            return if char.is_whitespace() {
                Step::More
            } else {
                Step::Failed
            };
        }
        match self.scan.push(char) {
            Place::Within => {}
            Place::Last => {
                self.arguments.push(char);
                self.tell(calls, out);
                return Step::End;
            }
            Place::After => return Step::Failed,
        }
        self.arguments.push(char);
        Step::More
    }

    /// Emits the arguments received since the last call.
    pub(super) fn tell(&mut self, calls: &Calls, out: Out<'_>) {
        if self.begun {
            calls.arguments(&self.arguments, out);
            self.arguments.clear();
        }
    }

    /// Ends a call that has been emitted, even if it is incomplete.
    pub(super) fn end(&mut self, calls: &Calls, out: Out<'_>) {
        self.tell(calls, out);
        if !self.scan.has_begun() {
            calls.arguments("{}", out);
        }
    }
}

/// A call in the form `<function=f>`, parsed from after its `<`.
pub(super) struct TaggedCall {
    /// The current tag or value.
    written: String,
    at: At,
    told: usize,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Function,
    /// Before a parameter or the end.
    Between,
    /// In the value of this parameter.
    Value(String),
}

impl TaggedCall {
    pub(super) fn new() -> Self {
        Self {
            written: "<".into(),
            at: At::Function,
            told: 0,
            parameters: Vec::new(),
        }
    }

    /// Whether the tool's name has been emitted.
    pub(super) fn has_begun(&self) -> bool {
        self.at != At::Function
    }

    /// Processes the next character.
    pub(super) fn push(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        let between = self.at == At::Between && self.written.is_empty();
        if between && char.is_whitespace() {
            return Step::More;
        }
        self.written.push(char);
        match self.at.clone() {
            At::Function => self.function(calls, out),
            At::Between => self.between(calls, out),
            At::Value(name) => {
                if let Some(value) = self.written.strip_suffix(PARAMETER_END) {
                    let value = value.strip_prefix('\n').unwrap_or(value);
                    let value = value.strip_suffix('\n').unwrap_or(value);
                    let value = self.value(&name, value);
                    calls.argument(self.told, &name, &value, out);
                    self.told += 1;
                    self.written.clear();
                    self.at = At::Between;
                }
                Step::More
            }
        }
    }

    /// Ends a call that has been emitted, even if it is incomplete.
    pub(super) fn end(&mut self, calls: &Calls, out: Out<'_>) {
        calls.end_arguments(self.told, out);
    }

    /// Emits an incomplete value at the end of the text.
    pub(super) fn abandon(&mut self, calls: &Calls, out: Out<'_>) {
        let rest = std::mem::take(&mut self.written);
        if rest.is_empty() && self.told == 0 {
            calls.end_arguments(0, out);
        }
        calls.arguments(&rest, out);
    }

    fn function(&mut self, calls: &mut Calls, out: Out<'_>) -> Step {
        let Some(name) = tag(&self.written, FUNCTION) else {
            return self.more_of(&[FUNCTION]);
        };
        calls.begin(name, out);
        if let Some(tool) = calls.tool(name) {
            self.parameters = tool.parameters.clone();
        }
        self.written.clear();
        self.at = At::Between;
        Step::More
    }

    fn between(&mut self, calls: &Calls, out: Out<'_>) -> Step {
        if self.written == FUNCTION_END {
            self.end(calls, out);
            return Step::End;
        }
        let Some(name) = tag(&self.written, PARAMETER) else {
            return self.more_of(&[PARAMETER, FUNCTION_END]);
        };
        self.at = At::Value(name.to_owned());
        self.written.clear();
        Step::More
    }

    /// Whether the text so far may become one of these tags.
    fn more_of(&self, tags: &[&str]) -> Step {
        let written = &*self.written;
        let may = |tag: &&str| tag.starts_with(written) || written.starts_with(*tag);
        if written.len() <= LONGEST && tags.iter().any(may) {
            Step::More
        } else {
            Step::Failed
        }
    }

    /// A parameter's value as JSON: a string if its type is string or the value is not JSON.
    fn value(&self, name: &str, written: &str) -> String {
        let parameter = self
            .parameters
            .iter()
            .find(|parameter| parameter.name == name);
        let is_text = parameter.is_some_and(|parameter| parameter.is_text);
        let value = serde_json::from_str::<Value>(written).ok();
        match value.filter(|_| !is_text) {
            Some(value) => value.to_string(),
            None => Value::from(written).to_string(),
        }
    }
}

/// The name in a complete tag with this start.
fn tag<'w>(written: &'w str, begins: &str) -> Option<&'w str> {
    let name = written.strip_prefix(begins)?.strip_suffix('>')?;
    Some(name.trim()).filter(|name| !name.is_empty())
}
