//! Distinguishes the template's text from message content, so that content never becomes a control
//! token.
//!
//! A rendered conversation is one text, in which `<|im_end|>` may come from the template or from a
//! message. So, before the template receives a message, we replace the characters that could form
//! part of a control token's spelling by *marks*: private-use characters that occur nowhere else in
//! the conversation, one for each character. Templates trim, split, escape and count marks like any
//! other character. In the rendered text, each mark is replaced by its original character, and
//! control tokens are not matched at its position.
//!
//! There are two ways to select characters. *Lenient* marking covers complete spellings: the first
//! character of `<|im_end|>` that is not a letter, wherever a message contains exactly that text.
//! Templates then find all other text unchanged, such as the `</think>` at which they cut an
//! answer. It does not suffice if a template removes text from the middle, or adds its own text
//! next to content. *Strict* marking covers all such characters everywhere, and the last characters
//! of spellings too. No control token can then start or end within content, whatever the template
//! does. If both renderings have the same control tokens, the lenient one is used, otherwise the
//! strict one. The template may then fail to find text that it searches for in content; we accept
//! that.
//!
//! Some tokens are declared as text in the vocabulary, but the template uses them as control
//! tokens, for example `<think>` in many models. The same rules apply to them in messages *to* the
//! model. The model's own messages may contain them as tokens, and get them back as such.
//!
//! One exception, for the *model's* earlier messages only: a spelling that the template itself
//! searches for (`content.split('</think>')`) is not marked, so that thoughts spelled with control
//! tokens are found and left out.

use std::collections::{HashMap, HashSet};

use super::role::Role;

/// Private-use characters of plane 16, which have no assigned meaning.
const MARKS: std::ops::RangeInclusive<char> = '\u{100000}'..='\u{10fffd}';

/// Whether the character can serve as a mark.
pub(super) fn may_be_mark(char: char) -> bool {
    MARKS.contains(&char)
}

/// How much of the content is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marking {
    Lenient,
    Strict,
}

/// The characters to mark, for a template and the control tokens of a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Spellings of control tokens, and of tokens that act as control tokens except in the model's
    /// own messages. Each starts at its first character to mark.
    spellings: HashMap<Box<str>, Spelled>,
    /// The distinct lengths of spellings in bytes, ascending.
    lengths: Vec<usize>,
    /// First characters of spellings, ascending.
    starts: Vec<char>,
    /// First and last characters of spellings, ascending.
    edges: Vec<char>,
    /// Texts that the template searches for in content, each from its first edge character on.
    looked_for: Vec<String>,
    /// Characters of the template itself that could serve as marks.
    taken: HashSet<char>,
}

/// The messages in which a spelling is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelled {
    /// All messages.
    ByAnyone,
    /// Messages to the model. In its own messages the token keeps its meaning.
    ToModel,
}

impl Marks {
    /// Marks for the tokens with these spellings. No spelling is empty.
    pub(super) fn new<'a>(
        source: &str,
        spellings: impl Iterator<Item = (&'a str, Spelled)>,
    ) -> Self {
        let mut marks = Self {
            taken: source.chars().filter(|&char| may_be_mark(char)).collect(),
            ..Self::default()
        };
        for (spelling, spelled) in spellings {
            let start = spelling.find(is_sign).unwrap_or(0);
            let from_start = &spelling[start..];
            marks.starts.extend(from_start.chars().next());
            marks
                .edges
                .extend(from_start.chars().next_back().filter(|&char| is_sign(char)));
            marks.lengths.push(from_start.len());
            // Two tokens may share one start.
            let known = marks.spellings.entry(from_start.into()).or_insert(spelled);
            if spelled == Spelled::ByAnyone {
                *known = spelled;
            }
        }
        marks.edges.extend(&marks.starts);
        for list in [&mut marks.starts, &mut marks.edges] {
            list.sort_unstable();
            list.dedup();
        }
        marks.lengths.sort_unstable();
        marks.lengths.dedup();
        let looked_for = looked_for(source).into_iter();
        marks.looked_for = looked_for
            .filter_map(|text| Some(text[text.find(|char| marks.is_edge(char))?..].to_owned()))
            .collect();
        marks
    }

    /// Whether any part of this text could belong to a control token.
    pub(super) fn concern(&self, text: &str) -> bool {
        !self.edges.is_empty() && text.chars().any(|char| self.is_edge(char))
    }

    /// Selects marks that occur in none of the texts; `None` if there are not enough.
    pub(super) fn choose<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Option<Chosen<'_>> {
        let mut taken = self.taken.clone();
        for text in texts {
            taken.extend(text.chars().filter(|&char| may_be_mark(char)));
        }
        let free: Vec<char> = MARKS
            .filter(|char| !taken.contains(char))
            .take(2 * self.edges.len())
            .collect();
        (free.len() == 2 * self.edges.len()).then_some(Chosen { marks: self, free })
    }

    fn is_edge(&self, char: char) -> bool {
        self.edges.binary_search(&char).is_ok()
    }

    /// Whether the text starts with a spelling to be marked in messages of this role. Spellings
    /// start at their first character to mark.
    fn is_spelled(&self, role: Role, text: &str) -> bool {
        let spelled = |&length: &usize| {
            let start = text.get(..length);
            let spelled = start.and_then(|start| self.spellings.get(start));
            spelled.is_some_and(|&by| by == Spelled::ByAnyone || role != Role::Assistant)
        };
        self.lengths.iter().any(spelled)
    }
}

/// Marks for one conversation.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    marks: &'a Marks,
    /// The marks of all edges for the model's own messages, then those for other messages, all in
    /// ascending order.
    free: Vec<char>,
}

impl Chosen<'_> {
    /// Replaces characters of the text by marks.
    pub(super) fn mark(&self, role: Role, text: &str, marking: Marking) -> String {
        let marks = self.marks;
        let first = match role {
            Role::Assistant => 0,
            _ => marks.edges.len(),
        };
        let mut marked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            let edge = marks.edges.binary_search(&char);
            let kept = match edge {
                Ok(_) if role == Role::Assistant => marks
                    .looked_for
                    .iter()
                    .find(|kept| rest.starts_with(&***kept)),
                _ => None,
            };
            if let Some(kept) = kept {
                marked.push_str(kept);
                rest = &rest[kept.len()..];
                continue;
            }
            let wanted = || match marking {
                Marking::Strict => true,
                Marking::Lenient => marks.starts.contains(&char) && marks.is_spelled(role, rest),
            };
            match edge {
                Ok(index) if wanted() => marked.push(self.free[first + index]),
                _ => marked.push(char),
            }
            rest = &rest[char.len_utf8()..];
        }
        marked
    }

    /// Replaces marks by their characters, and records their places.
    pub(super) fn unmark(&self, text: &str) -> Rendered {
        let mut plain = String::with_capacity(text.len());
        let (mut said, mut to_model) = (Vec::new(), Vec::new());
        let edges = &self.marks.edges;
        for char in text.chars() {
            let mark = may_be_mark(char).then(|| self.free.binary_search(&char).ok());
            match mark.flatten() {
                Some(index) => {
                    said.push(plain.len());
                    if index >= edges.len() {
                        to_model.push(plain.len());
                    }
                    plain.push(edges[index % edges.len()]);
                }
                None => plain.push(char),
            }
        }
        Rendered {
            text: plain,
            said,
            to_model,
        }
    }
}

/// A rendered conversation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    /// Bytes of content that no control token may contain, ascending.
    pub(super) said: Vec<usize>,
    /// The subset that is not from the model's own messages.
    pub(super) to_model: Vec<usize>,
}

/// Characters that templates neither trim nor capitalise.
fn is_sign(char: char) -> bool {
    !char.is_alphanumeric() && !char.is_whitespace() && char != '_'
}

/// The texts that a template searches for: the argument of a string method that splits or searches,
/// and the left operand of `in`.
fn looked_for(source: &str) -> Vec<String> {
    const METHODS: [&str; 9] = [
        "split",
        "partition",
        "replace",
        "startswith",
        "endswith",
        "find",
        "index",
        "removeprefix",
        "removesuffix",
    ];
    let mut texts = Vec::new();
    for code in source.split("{%").flat_map(|part| part.split("{{")).skip(1) {
        let mut rest = code;
        while let Some(open) = rest.find(['\'', '"']) {
            let quote = &rest[open..=open];
            let before = rest[..open].trim_end();
            let inside = &rest[open + 1..];
            let Some(close) = inside.find(quote) else {
                break;
            };
            let after = inside[close + 1..].trim_start();
            let is_argument = before
                .strip_suffix('(')
                .is_some_and(|before| METHODS.iter().any(|method| before.ends_with(method)));
            let is_searched = after.starts_with("in ") || after.starts_with("not in ");
            if is_argument || is_searched {
                texts.push(inside[..close].replace("\\n", "\n"));
            }
            rest = &inside[close + 1..];
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails with the error"
    )]

    use super::*;

    fn marks(source: &str) -> Marks {
        Marks::new(
            source,
            ["<|im_end|>", "_<EOT>", "[/INST]", "PAD"]
                .into_iter()
                .map(|spelling| (spelling, Spelled::ByAnyone)),
        )
    }

    #[test]
    fn lenient_marks_are_where_a_control_token_is_spelled() {
        let marks = marks("");
        let chosen = marks.choose(std::iter::empty()).unwrap();
        let places = |marking, text| {
            let rendered = chosen.unmark(&chosen.mark(Role::User, text, marking));
            assert_eq!(rendered.text, text);
            rendered.said
        };
        assert_eq!(
            places(Marking::Lenient, "a < b <|im_end|> [x] <EOT>"),
            [6, 21]
        );
        assert_eq!(places(Marking::Lenient, "<|im_<|im_end|>end|>"), [5]);
        assert_eq!(places(Marking::Strict, "a < b> [x]PAD"), [2, 5, 7, 9, 10]);
        assert!(!marks.concern("plain words, no signs"));
    }

    #[test]
    fn marks_are_characters_that_occur_nowhere() {
        let marks = marks("\u{100000}");
        let chosen = marks.choose(["\u{100001}x"].into_iter()).unwrap();
        let marked = chosen.mark(Role::User, "\u{100001}<|im_end|>", Marking::Strict);
        let rendered = chosen.unmark(&format!("\u{100000}{marked}"));
        assert_eq!(rendered.text, "\u{100000}\u{100001}<|im_end|>");
        assert_eq!(rendered.said, [8, 17]);
        let all: String = MARKS.collect();
        assert!(marks.choose([&*all].into_iter()).is_none());
    }

    #[test]
    fn what_the_template_looks_for_is_kept_in_what_the_model_said() {
        let source =
            "don't {% if '<|im_end|>' in content %}{{ content.split(\"[/INST]\")[0] }}{% endif %}";
        let marks = marks(source);
        let chosen = marks.choose(std::iter::empty()).unwrap();
        let text = "x<|im_end|>[/INST]";
        assert_eq!(chosen.mark(Role::Assistant, text, Marking::Strict), text);
        assert_ne!(chosen.mark(Role::User, text, Marking::Lenient), text);
    }
}
