//! Masks from grammars: JSON schemas, regular expressions, and the Lark dialect of the crate
//! `llguidance`, which does the parsing.
//!
//! A mask is a function of the grammar and of the tokens so far, so a masked choice stays a pure
//! function, wherever and whenever it is made. An answer may end only where the grammar may end.
//!
//! Grammars come from programs and are untrusted. Their size and nesting are limited before
//! parsing, and the library limits the cost of parsing and matching. Parsing runs on a thread whose
//! stack is large enough for any nesting within the limits.

mod error;
mod guard;
mod mask;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::fmt;
use std::sync::Arc;
use std::thread;

pub use error::GrammarError;
use llguidance::api::{GrammarWithLexer, ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::sampler::Mask;
use crate::tokenizer::Tokenizer;
use guard::{Going, Guard};
use mask::{GrammarMask, Guarded};

/// Maximum length in bytes of a Lark grammar or a regular expression.
const LONGEST_TEXT: usize = 32 << 10;
/// Stack size of the parsing thread: each byte of a grammar can open a level.
const STACK: usize = 64 << 20;
/// Name of the top-level grammar.
const START: &str = "answer";

/// A grammar for answers.
#[derive(Clone, PartialEq)]
pub struct Grammar {
    /// The first part describes the answer. If it is `Part::Rules`, it refers to the others.
    parts: Vec<(String, Part)>,
    /// Whether all quoted text is a JSON string, and all digits outside strings belong to numbers.
    is_json: bool,
}

#[derive(Clone, PartialEq)]
enum Part {
    JsonSchema(Value),
    /// Lark from a program.
    Lark(String),
    /// Rules that this project writes. They need no limits.
    Rules(String),
    Regex(String),
}

impl Grammar {
    /// A JSON value that matches this schema, of any draft from 4 on. Unsupported keywords are
    /// refused. Where the schema is open, the grammar is narrower: objects that list their
    /// properties get no others, white space is short, numbers have at most 18 digits and 15 after
    /// the decimal point, and values nest at most 32 deep, as far as the schema allows.
    pub fn json_schema(schema: Value) -> Self {
        Self::of(Part::JsonSchema(schema))
    }

    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::json_schema(json!({ "type": "object" }))
    }

    /// A text that matches this grammar in `llguidance`'s Lark dialect.
    pub fn lark(grammar: impl Into<String>) -> Self {
        Self::of(Part::Lark(grammar.into()))
    }

    /// A text that matches this regular expression as a whole.
    pub fn regex(expression: impl Into<String>) -> Self {
        Self::of(Part::Regex(expression.into()))
    }

    /// Lark rules that refer to `parts` by name, with a leading `@`. Only for rules written by the
    /// program itself: their length is not limited.
    pub fn rules(
        rules: impl Into<String>,
        parts: impl IntoIterator<Item = (String, Self)>,
    ) -> Self {
        let mut all = vec![(START.to_owned(), Part::Rules(rules.into()))];
        for (name, grammar) in parts {
            let mut grammar = grammar.parts.into_iter();
            all.extend(grammar.next().map(|(_, part)| (name, part)));
            all.extend(grammar);
        }
        Self {
            parts: all,
            is_json: false,
        }
    }

    /// Declares that the answer contains only JSON and marks. Limits the unbounded parts of JSON
    /// (digits of a number, nesting).
    #[must_use]
    pub fn only_json(mut self) -> Self {
        self.is_json = true;
        self
    }

    fn of(part: Part) -> Self {
        Self {
            is_json: matches!(part, Part::JsonSchema(_)),
            parts: vec![(START.to_owned(), part)],
        }
    }
}

impl Part {
    fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::Lark(_) | Self::Rules(_) => "grammar",
            Self::Regex(_) => "regular expression",
        }
    }

    fn compile(&self) -> Result<GrammarWithLexer, GrammarError> {
        match self {
            Self::Lark(text) | Self::Regex(text) if text.len() > LONGEST_TEXT => {
                Err(GrammarError::TooLong {
                    kind: self.kind(),
                    bytes: text.len(),
                    limit: LONGEST_TEXT,
                })
            }
            // The library would read that schema past the checks of `schema`.
            Self::Lark(text) if text.contains("%json") => Err(GrammarError::Refused {
                kind: self.kind(),
                reason: "%json is not supported in it: give the schema itself as the format".into(),
            }),
            Self::JsonSchema(schema) => {
                Ok(GrammarWithLexer::from_json_schema(schema::prepare(schema)?))
            }
            Self::Lark(text) | Self::Rules(text) => Ok(GrammarWithLexer::from_lark(text.clone())),
            // The library writes expressions between slashes and does not accept an empty one.
            Self::Regex(text) if text.is_empty() => {
                Ok(GrammarWithLexer::from_lark("start: \"\"".to_owned()))
            }
            Self::Regex(text) => Ok(GrammarWithLexer::from_regex(text)),
        }
    }
}

/// Compiles grammars into masks for one model's vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    going: Arc<Going>,
}

impl Grammars {
    /// Indexes a vocabulary for masks. This takes a few tenths of a second for a large vocabulary,
    /// so keep the result.
    ///
    /// # Errors
    /// [`GrammarError::Vocabulary`].
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, GrammarError> {
        let environment = vocabulary::environment(tokenizer)?;
        let mut factory =
            ParserFactory::new_simple(&environment).map_err(|error| GrammarError::Vocabulary {
                reason: first_line(&error.to_string()),
            })?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            // Keep tokens and grammars out of messages.
            verbose_errors: false,
            // A state takes one or two KiB.
            max_lexer_states: 50_000,
            max_grammar_size: 250_000,
            // An optional property of an object takes four.
            max_items_in_row: 20_000,
            ..ParserLimits::default()
        };
        let going = Arc::new(Going::new(environment.tok_trie()));
        Ok(Self { factory, going })
    }

    /// Creates the mask for the start of an answer.
    ///
    /// # Errors
    /// The grammar is invalid, uses an unsupported feature, or exceeds a limit.
    pub fn mask(&self, grammar: &Grammar) -> Result<Box<dyn Mask>, GrammarError> {
        let matcher = thread::scope(|scope| {
            let reading = thread::Builder::new()
                .name("grammar".into())
                .stack_size(STACK)
                .spawn_scoped(scope, || self.matcher(grammar))
                .map_err(|error| GrammarError::Refused {
                    kind: "grammar",
                    reason: format!("the system gives no thread to read it: {error}"),
                })?;
            reading.join().unwrap_or_else(|_| {
                Err(GrammarError::Refused {
                    kind: "grammar",
                    reason: "the library that reads it failed".into(),
                })
            })
        })?;
        let guard = grammar.is_json.then(|| Guarded {
            guard: Guard::default(),
            going: Arc::clone(&self.going),
            environment: self.factory.tok_env().clone(),
        });
        Ok(Box::new(GrammarMask::new(matcher, guard)))
    }

    fn matcher(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let mut grammars = Vec::with_capacity(grammar.parts.len());
        for (name, part) in &grammar.parts {
            let mut compiled = part.compile()?;
            compiled.name = Some(name.clone());
            grammars.push(compiled);
        }
        let grammars = TopLevelGrammar {
            grammars,
            max_tokens: None,
        };
        let kind = match &*grammar.parts {
            // If there are several parts, our own rules are valid.
            [(_, Part::Rules(_)), (_, part), ..] | [(_, part), ..] => part.kind(),
            [] => "grammar",
        };
        let parser = self.factory.create_parser(grammars);
        let mut matcher = Matcher::new(parser);
        if let Some(error) = matcher.get_error() {
            return Err(GrammarError::Refused {
                kind,
                reason: in_our_words(&error),
            });
        }
        // A program's own grammar may allow nothing, or begin with characters that the vocabulary
        // lacks.
        let is_own = |(_, part): &(String, Part)| matches!(part, Part::Lark(_) | Part::Regex(_));
        if grammar.parts.iter().any(is_own) && matcher.compute_mask_or_eos().is_err() {
            return Err(GrammarError::Refused {
                kind,
                reason: "no text of it can be begun with this model's tokens".to_owned(),
            });
        }
        Ok(matcher)
    }
}

/// Rewords the library's error message, without its own settings.
fn in_our_words(message: &str) -> String {
    if message.contains("coerce_one_of") {
        return "oneOf is supported only where no two of its schemas can allow the same: use anyOf"
            .to_owned();
    }
    first_line(message)
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

/// The first line of a library message, without the state that may follow, in the style of our own
/// messages.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("panic: ").unwrap_or(line);
    let mut chars = line.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).take(300).collect()
}
