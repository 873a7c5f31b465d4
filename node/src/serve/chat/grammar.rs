//! Grammars of answers: the required content and the syntax of tool calls.
//!
//! Rules are written in the grammar language of the model crate. JSON schemas from the request are
//! parts that the rules refer to by name.

use std::fmt::Write as _;

use potluck_model::grammar::{Grammar, GrammarError};
use potluck_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::format::{Call, Syntax};
use super::messages::parameters_of;
use super::thinking::{ThinkMarks, special_token};
use crate::serve::{Format, Tool};

/// Members of a schema that its parts need.
const DEFINITIONS: [&str; 3] = ["$defs", "definitions", "$schema"];
/// Most bytes of definitions that are copied into the schemas of a request's parameters.
const MOST_COPIED: usize = 4 << 20;

/// What an answer may contain.
#[derive(Clone, Copy)]
pub(super) struct Allowed<'a> {
    /// The format of its content; `None` if it may have no content.
    pub(super) content: Option<&'a Format>,
    /// The tools that may be called instead, and the call syntax.
    pub(super) calls: Option<(&'a [Tool], &'static Syntax)>,
    /// Whether there may be several calls.
    pub(super) several: bool,
    /// Whether arguments are constrained to their schemas for strict tools only.
    pub(super) is_lenient: bool,
    /// Whether content and calls are in channels.
    pub(super) in_channels: bool,
    /// The reasoning that may come first.
    pub(super) thoughts: Thoughts,
}

/// The reasoning that may precede an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thoughts {
    None,
    /// The answer may open it.
    Allowed(ThinkMarks),
    /// The prompt has opened it.
    Begun(ThinkMarks),
    /// A message in its own channel.
    Channel,
}

/// The grammar of a format alone; `None` for unconstrained text.
pub(super) fn of_format(format: &Format) -> Option<Grammar> {
    Some(match format {
        Format::Text => return None,
        Format::JsonObject => Grammar::json_object(),
        Format::JsonSchema(schema) => Grammar::json_schema((**schema).clone()),
        Format::Lark(grammar) => Grammar::lark(&**grammar),
        Format::Regex(expression) => Grammar::regex(&**expression),
    })
}

/// The grammar of an answer; `None` for unconstrained text.
///
/// # Errors
/// The tools are too large for a grammar.
pub(super) fn of_answer(
    allowed: &Allowed<'_>,
    tokenizer: &Tokenizer,
) -> Result<Option<Grammar>, GrammarError> {
    let mut rules = Rules {
        tokenizer,
        text: String::new(),
        parts: Vec::new(),
        copied: 0,
    };
    let channel = if allowed.in_channels {
        "<|channel|>final<|message|>"
    } else {
        ""
    };
    let channel = rules.literals(&[channel]);
    let mut answers = Vec::new();
    if let Some((tools, syntax)) = allowed.calls {
        rules.calls(tools, syntax, allowed)?;
        answers.push("calls".to_owned());
    }
    match (allowed.content, allowed.calls) {
        (None, _) => {}
        (Some(Format::Text), None) => return Ok(None),
        (Some(Format::Text), Some((_, syntax))) if !allowed.in_channels => {
            answers.extend(rules.free_text(syntax));
        }
        (Some(Format::Text), Some(_)) => {
            rules.text.push_str("TEXT: /(.|\\n)+/\n");
            answers.push(format!("{channel} TEXT?"));
        }
        (Some(format), _) => {
            let Some(content) = of_format(format) else {
                return Ok(None);
            };
            rules.parts.push(("content".to_owned(), content));
            answers.push(format!("{channel} @content"));
        }
    }
    let thoughts = rules.thoughts(allowed.thoughts);
    let start = format!("start: {thoughts} ({})\n", answers.join(" | "));
    rules.text.insert_str(0, &start);
    let grammar = Grammar::rules(rules.text, rules.parts);
    let is_json = |format: &Format| matches!(format, Format::JsonObject | Format::JsonSchema(_));
    let only_json = allowed.thoughts == Thoughts::None && allowed.content.is_none_or(is_json);
    Ok(Some(match only_json {
        true => grammar.only_json(),
        false => grammar,
    }))
}

/// Grammar rules, and the parts that they refer to.
struct Rules<'a> {
    tokenizer: &'a Tokenizer,
    text: String,
    parts: Vec<(String, Grammar)>,
    /// Bytes of definitions that are copied into the schemas of parameters.
    copied: usize,
}

impl Rules<'_> {
    /// A literal, or the control token with this text.
    fn literal(&self, text: &str) -> String {
        match special_token(self.tokenizer, text) {
            Some(id) if self.tokenizer.is_structure(id) => format!("<[{id}]>"),
            _ => Value::from(text).to_string(),
        }
    }

    fn literals(&self, texts: &[&str]) -> String {
        let texts = texts.iter().filter(|text| !text.is_empty());
        let texts: Vec<_> = texts.map(|text| self.literal(text)).collect();
        texts.join(" ")
    }

    /// Adds the rules for reasoning; returns the expression that precedes the answer.
    fn thoughts(&mut self, thoughts: Thoughts) -> String {
        let (open, close) = match thoughts {
            Thoughts::None => return String::new(),
            Thoughts::Channel => {
                let end = self.up_to("<|end|>");
                let (open, next) = (
                    self.literals(&["<|channel|>analysis<|message|>"]),
                    self.literals(&["<|start|>assistant"]),
                );
                return format!("({open} {end} {next})?");
            }
            Thoughts::Allowed(marks) => (self.literals(&[marks.open]), marks.close),
            Thoughts::Begun(marks) => (String::new(), marks.close),
        };
        let end = self.up_to(close);
        self.text.push_str("SPACE: /[ \\n]{1,3}/\n");
        match thoughts {
            Thoughts::Begun(_) => format!("{end} SPACE?"),
            _ => format!("({open} {end} SPACE?)?"),
        }
    }

    /// Any text up to and including a mark.
    fn up_to(&mut self, mark: &str) -> String {
        let close = self.literal(mark);
        if close.starts_with('<') {
            self.text.push_str("THOUGHTS: /(.|\\n)+/\n");
            return format!("THOUGHTS? {close}");
        }
        let mark = escaped(mark);
        let _ = writeln!(self.text, "thoughts[lazy]: /(.|\\n)*{mark}/");
        "thoughts".to_owned()
    }

    /// Plain text, or calls after some text. The text may not contain a mark that opens calls: what
    /// follows the wanted mark is `body`, and the other marks are excluded.
    fn free_text(&mut self, syntax: &Syntax) -> Vec<String> {
        let open = syntax.wanted.open;
        let is_written = |mark: &str| !mark.is_empty() && !self.literal(mark).starts_with('<');
        let opener_marks = syntax.openers.iter().filter(|opener| !opener.known_only);
        let others = opener_marks
            .map(|opener| opener.mark)
            .filter(|mark| *mark != open);
        let others: Vec<_> = others.filter(|mark| is_written(mark)).collect();
        let is_open_written = is_written(open);
        let without = |marks: &[&str]| match marks {
            [] => String::new(),
            marks => {
                let marks: Vec<_> = marks.iter().map(|mark| escaped(mark)).collect();
                format!(" & ~/(.|\\n)*({})(.|\\n)*/", marks.join("|"))
            }
        };
        let mut marks = others.clone();
        marks.extend(is_open_written.then_some(open));
        let words = match open {
            // Text with any other start is not a call.
            "" => "/[ \\n\\t]*[^ \\n\\t{\\[](.|\\n)*/",
            _ => "/(.|\\n)+/",
        };
        let _ = writeln!(self.text, "TEXT: {words}{}", without(&marks));
        let mut answers = vec!["TEXT?".to_owned()];
        if is_open_written {
            let mark = escaped(open);
            let _ = writeln!(self.text, "OPENED: /(.|\\n)*{mark}/{}", without(&others));
            self.text.push_str("opened[lazy]: OPENED\n");
            answers.push("opened body".to_owned());
        } else if !open.is_empty() {
            answers.push("TEXT calls".to_owned());
        }
        answers
    }

    /// Adds the rule `calls`, and `body` for what follows the opening mark.
    fn calls(
        &mut self,
        tools: &[Tool],
        syntax: &Syntax,
        allowed: &Allowed<'_>,
    ) -> Result<(), GrammarError> {
        let wanted = &syntax.wanted;
        let mut names = Vec::new();
        for (number, tool) in tools.iter().enumerate() {
            let call = match &wanted.call {
                Call::Json {
                    before,
                    between,
                    after,
                } => {
                    let head = format!("{before}{}", json_inside(&tool.name));
                    let head = [self.literals(&[&head]), self.literals(between)].join(" ");
                    let arguments = self.arguments(number, tool, allowed.is_lenient);
                    format!("{head} {arguments} {}", self.literals(&[after]))
                }
                Call::Python => self.python_call(number, tool)?,
            };
            let _ = writeln!(self.text, "call_{number}: {call}");
            names.push(format!("call_{number}"));
        }
        let _ = writeln!(self.text, "call: {}", names.join(" | "));
        let [first, last] = wanted.around;
        let open = self.literals(&[wanted.open]);
        let first = self.literals(&[first]);
        let close = self.literals(&[last, wanted.close]);
        let more = wanted.between.filter(|_| allowed.several);
        let more = more.map_or(String::new(), |between| {
            format!("({} call)*", self.literals(between))
        });
        let _ = writeln!(self.text, "calls: {open} body");
        let _ = writeln!(self.text, "body: {first} call {more} {close}");
        Ok(())
    }

    /// Adds the grammar of a tool's arguments; returns the reference to it.
    fn arguments(&mut self, number: usize, tool: &Tool, is_lenient: bool) -> String {
        let grammar = if is_lenient && !tool.strict {
            Grammar::json_object()
        } else {
            Grammar::json_schema(parameters_of(tool))
        };
        let name = format!("arguments_{number}");
        self.parts.push((name.clone(), grammar));
        format!("@{name}")
    }

    /// A call with named arguments: the required ones, then any of the optional ones, in order.
    fn python_call(&mut self, number: usize, tool: &Tool) -> Result<String, GrammarError> {
        let schema = parameters_of(tool);
        let none = serde_json::Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        self.copy(&schema, properties.len())?;
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let is_required = |name: &str| required.iter().any(|required| required == name);
        let mut arguments: [Vec<String>; 2] = [Vec::new(), Vec::new()];
        for (place, (name, property)) in properties.iter().enumerate() {
            let part = format!("value_{number}_{place}");
            let schema = within(&schema, property);
            self.parts
                .push((part.clone(), Grammar::json_schema(schema)));
            let argument = format!("{} @{part}", self.literals(&[&format!("{name}=")]));
            arguments[usize::from(!is_required(name))].push(argument);
        }
        let [needed, others] = arguments;
        let mut list = needed.join(" \", \" ");
        if needed.is_empty() {
            // Any of the optional arguments may come first. What may follow is one rule for each, so
            // the text grows with their number and not with its square.
            let rest = |at: usize| match at < others.len() {
                true => format!("rest_{number}_{at}"),
                false => String::new(),
            };
            let mut firsts = Vec::with_capacity(others.len());
            for (at, argument) in others.iter().enumerate() {
                firsts.push(format!("{argument} {}", rest(at + 1)));
                let (name, next) = (rest(at), rest(at + 1));
                let _ = writeln!(self.text, "{name}: (\", \" {argument})? {next}");
            }
            if !firsts.is_empty() {
                list = format!("({})?", firsts.join(" | "));
            }
        } else {
            for other in others {
                let _ = write!(list, " (\", \" {other})?");
            }
        }
        Ok(format!(
            "{} {list} \")\"",
            self.literals(&[&format!("{}(", tool.name)])
        ))
    }

    /// Counts the definitions that are copied into the schemas of `parts` parameters.
    ///
    /// # Errors
    /// All of them together are too large.
    fn copy(&mut self, schema: &Value, parts: usize) -> Result<(), GrammarError> {
        let definitions = DEFINITIONS.iter().filter_map(|name| schema.get(name));
        let definitions: usize = definitions.map(|held| held.to_string().len()).sum();
        self.copied = self
            .copied
            .saturating_add(definitions.saturating_mul(parts));
        match self.copied > MOST_COPIED {
            true => Err(GrammarError::TooLong {
                kind: "JSON schema, with its definitions for each parameter,",
                bytes: self.copied,
                limit: MOST_COPIED,
            }),
            false => Ok(()),
        }
    }
}

/// The schema of a property, with the definitions that it may refer to.
fn within(schema: &Value, property: &Value) -> Value {
    let mut property = match property {
        Value::Object(_) => property.clone(),
        _ => json!({}),
    };
    for definitions in DEFINITIONS {
        if let Some(held) = schema.get(definitions) {
            property[definitions] = held.clone();
        }
    }
    property
}

/// The text as it appears between the quotes of a JSON string.
fn json_inside(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The text escaped for a regular expression between slashes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if "\\.+*?()|[]{}^$/&~#-".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}
