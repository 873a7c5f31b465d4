//! Parses a call written in Python: `get_weather(city="Paris")`.

use super::calls::{Calls, Out, Parameter};
use super::json_call::Step;
use super::literal;

/// The longest tool name. Longer text is not a name.
const LONGEST_NAME: usize = 256;

/// One call, parsed from its name. Each argument is emitted when it is complete.
#[derive(Default)]
pub(super) struct PythonCall {
    /// The name, and later the current argument, as written.
    written: String,
    begun: bool,
    /// Whether the call is wrapped in `print(…)`.
    is_printed: bool,
    /// The call has ended, but `print(…)` around it has not.
    closing: bool,
    told: usize,
    /// The tool's parameters, for positional arguments.
    parameters: Vec<Parameter>,
    depth: usize,
    quote: Option<char>,
    escaped: bool,
}

impl PythonCall {
    /// A call whose name starts with this character.
    pub(super) fn beginning_with(first: char) -> Self {
        Self {
            written: first.into(),
            ..Self::default()
        }
    }

    /// Whether the tool's name has been emitted.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The name so far; empty once it has been emitted.
    pub(super) fn name(&self) -> &str {
        if self.begun { "" } else { &self.written }
    }

    /// Processes the next character.
    pub(super) fn push(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        if self.closing {
            return match char {
                ')' => Step::End,
                _ if char.is_whitespace() => Step::More,
                _ => Step::Failed,
            };
        }
        if !self.begun {
            return self.in_name(char, calls, out);
        }
        if self.quote.is_some() {
            self.in_string(char);
            return Step::More;
        }
        match char {
            '"' | '\'' => self.quote = Some(char),
            '(' | '[' | '{' => self.depth += 1,
            ')' if self.depth == 0 => return self.close(calls, out),
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            ',' if self.depth == 0 => {
                self.tell(calls, out);
                return Step::More;
            }
            _ => {}
        }
        self.written.push(char);
        Step::More
    }

    /// Emits an incomplete argument at the end of the text.
    pub(super) fn abandon(&mut self, calls: &Calls, out: Out<'_>) {
        let rest = std::mem::take(&mut self.written);
        match rest.trim_start() {
            _ if !self.begun || self.closing => {}
            "" if self.told == 0 => calls.end_arguments(0, out),
            rest => calls.arguments(rest, out),
        }
    }

    fn in_name(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> Step {
        let is_part = char.is_alphanumeric() || "_.-".contains(char);
        if is_part && self.written.len() < LONGEST_NAME {
            self.written.push(char);
            return Step::More;
        }
        if char == ' ' && self.written.is_empty() {
            return Step::More;
        }
        let is_name = self
            .written
            .starts_with(|first: char| first.is_alphabetic() || first == '_');
        if char != '(' || !is_name {
            return Step::Failed;
        }
        let written = std::mem::take(&mut self.written);
        if written == "print" && !self.is_printed && calls.tool("print").is_none() {
            self.is_printed = true;
            return Step::More;
        }
        let name = tool_named(&written, calls);
        calls.begin(name, out);
        self.begun = true;
        if let Some(tool) = calls.tool(name) {
            self.parameters = tool.parameters.clone();
        }
        Step::More
    }

    fn in_string(&mut self, char: char) {
        let escaped = std::mem::replace(&mut self.escaped, false);
        if !escaped && Some(char) == self.quote {
            self.quote = None;
        }
        self.escaped = char == '\\' && !escaped;
        self.written.push(char);
    }

    fn close(&mut self, calls: &mut Calls, out: Out<'_>) -> Step {
        self.tell(calls, out);
        calls.end_arguments(self.told, out);
        if self.is_printed {
            self.closing = true;
            return Step::More;
        }
        Step::End
    }

    /// Emits the current argument.
    fn tell(&mut self, calls: &Calls, out: Out<'_>) {
        let written = std::mem::take(&mut self.written);
        if written.trim().is_empty() {
            return;
        }
        let nth = self.parameters.get(self.told);
        let (name, value) = match name_and_value(&written) {
            Some((name, value)) => (name.to_owned(), value),
            None => match nth {
                Some(parameter) => (parameter.name.clone(), &*written),
                None => (format!("argument_{}", self.told + 1), &*written),
            },
        };
        calls.argument(self.told, &name, &literal::to_json(value), out);
        self.told += 1;
    }
}

/// The tool that is meant: models may add a module name in front and `.call` behind.
fn tool_named<'w>(written: &'w str, calls: &Calls) -> &'w str {
    let without_call = written.strip_suffix(".call").unwrap_or(written);
    let last = without_call.rsplit('.').next().unwrap_or(without_call);
    let known = [written, without_call, last];
    let known = known.into_iter().find(|name| calls.tool(name).is_some());
    known.unwrap_or(without_call)
}

/// Splits `name=value`.
fn name_and_value(written: &str) -> Option<(&str, &str)> {
    let (name, value) = written.split_once('=')?;
    let name = name.trim();
    let is_part = |char: char| char.is_alphanumeric() || "_-$".contains(char);
    let is_name = !name.is_empty() && name.chars().all(is_part) && !value.starts_with('=');
    is_name.then_some((name, value))
}
