//! Masks from grammars: JSON schemas, regular expressions, and the dialect of Lark that the crate
//! `llguidance` reads, which does the work.
//!
//! A mask is a function of the grammar and of the tokens that came, so a masked choice is a pure
//! function like any other, wherever and whenever it is made. The end of an answer is allowed exactly
//! where the grammar may end.
//!
//! Grammars come from programs and are not trusted: their size and nesting are bounded before they
//! are read, and what they cost to read and to follow is bounded by the library. They are
//! read on a thread whose stack is deep enough for any nesting within the bounds.

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

/// The longest grammar in Lark, and the longest regular expression.
const LONGEST_TEXT: usize = 32 << 10;
/// The stack on which grammars are read: each byte of one can open a level.
const STACK: usize = 64 << 20;
/// The name of the grammar that an answer is kept to.
const START: &str = "answer";

/// What an answer is to be.
#[derive(Clone, PartialEq)]
pub struct Grammar {
    /// The first is that of the answer. It, if it is ours, names the others.
    parts: Vec<(String, Part)>,
    /// Whether all that is in quotes is a string of JSON, and all digits outside are of numbers.
    is_json: bool,
}

#[derive(Clone, PartialEq)]
enum Part {
    JsonSchema(Value),
    /// As a program gives it.
    Lark(String),
    /// As we write it, so that it needs no bound.
    Rules(String),
    Regex(String),
}

impl Grammar {
    /// A JSON value of this schema, of any draft from 4 on. Keywords that cannot be kept to are
    /// refused. What the schema leaves open is narrower than it would be: objects that list their
    /// properties get no others, white space is short, numbers have at most 18 digits and 15 behind the
    /// point, and values are within each other 32 times at most, as far as the schema allows.
    pub fn json_schema(schema: Value) -> Self {
        Self::of(Part::JsonSchema(schema))
    }

    /// A JSON object.
    pub fn json_object() -> Self {
        Self::json_schema(json!({ "type": "object" }))
    }

    /// A text of this grammar, in `llguidance`'s dialect of Lark.
    pub fn lark(grammar: impl Into<String>) -> Self {
        Self::of(Part::Lark(grammar.into()))
    }

    /// A text that this regular expression matches as a whole.
    pub fn regex(expression: impl Into<String>) -> Self {
        Self::of(Part::Regex(expression.into()))
    }

    /// Rules in Lark, which may name each of `parts` with an `@` before its name. These are for the
    /// program itself: their length is not bounded.
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

    /// The same rules, for what is nothing but JSON and marks. What JSON may have without an end (digits
    /// of a number, values within values) is kept short.
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
            Self::JsonSchema(schema) => {
                Ok(GrammarWithLexer::from_json_schema(schema::prepare(schema)?))
            }
            Self::Lark(text) | Self::Rules(text) => Ok(GrammarWithLexer::from_lark(text.clone())),
            // The library has it between two slashes, where nothing is no expression.
            Self::Regex(text) if text.is_empty() => {
                Ok(GrammarWithLexer::from_lark("start: \"\"".to_owned()))
            }
            Self::Regex(text) => Ok(GrammarWithLexer::from_regex(text)),
        }
    }
}

/// Makes masks for the vocabulary of one model.
pub struct Grammars {
    factory: ParserFactory,
    going: Arc<Going>,
}

impl Grammars {
    /// Orders the tokens of a vocabulary for masks: some tenths of a second for a large one. Keep it.
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
            // Without tokens and grammars in messages.
            verbose_errors: false,
            // One state takes a KiB or two.
            max_lexer_states: 50_000,
            max_grammar_size: 250_000,
            ..ParserLimits::default()
        };
        let going = Arc::new(Going::new(environment.tok_trie()));
        Ok(Self { factory, going })
    }

    /// The mask of an answer that begins.
    ///
    /// # Errors
    /// The grammar is wrong, says what is not supported, or exceeds a bound.
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
            // Of several parts, those that are ours are right.
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
        // A vocabulary may lack the characters that a program's own grammar begins with.
        let is_own = matches!(&*grammar.parts, [(_, Part::Lark(_) | Part::Regex(_))]);
        if is_own && matcher.compute_mask_or_eos().is_err() {
            return Err(GrammarError::Refused {
                kind,
                reason: "no text of it can be begun with this model's tokens".to_owned(),
            });
        }
        Ok(matcher)
    }
}

/// What the library says of a grammar, without its own settings.
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

/// The first line of a message of the library, without the state that may follow, and as our own
/// messages begin.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("panic: ").unwrap_or(line);
    let mut chars = line.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).take(300).collect()
}
