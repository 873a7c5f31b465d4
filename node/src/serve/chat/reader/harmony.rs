//! Parses answers in channels (gpt-oss): `<|channel|>analysis<|message|>…<|end|>`, then
//! `<|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}`, or
//! the channel `final`.

use super::Piece;
use super::calls::{Calls, Out};
use super::scan::{beginning_at_end, first_mark};

const START: &str = "<|start|>";
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
/// Ends of a message. The tokens `<|call|>` and `<|return|>` end the answer and have no text.
const ENDS: [&str; 4] = ["<|end|>", "<|call|>", "<|return|>", START];
/// The longest header. Longer text is not a header.
const LONGEST_HEADER: usize = 512;

/// The messages of an answer.
#[derive(Debug)]
pub(super) struct Harmony {
    at: At,
    ended: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Body(Kind),
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Content,
    /// The arguments of a call; `told` if some have been emitted.
    Call {
        told: bool,
    },
}

impl Harmony {
    pub(super) fn new() -> Self {
        Self {
            at: At::Header,
            ended: 0,
        }
    }

    /// The number of complete calls.
    pub(super) fn ended_calls(&self) -> usize {
        self.ended
    }

    /// Whether the current text is reasoning.
    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self.at, At::Header | At::Body(Kind::Reasoning))
    }

    /// Consumes as much of `held` as is unambiguous; returns whether there may be more to consume.
    pub(super) fn step(&mut self, held: &mut String, calls: &mut Calls, out: Out<'_>) -> bool {
        match self.at {
            At::Header => self.header(held, calls, out),
            At::Body(kind) => self.body(kind, held, calls, out),
        }
    }

    /// Flushes the rest at the end of the text.
    pub(super) fn finish(&mut self, held: &str, calls: &Calls, out: Out<'_>) {
        match self.at {
            At::Header => content(held.trim(), out),
            At::Body(mut kind) => {
                say(&mut kind, held, calls, out);
                self.end(kind, calls, out);
            }
        }
    }

    fn header(&mut self, held: &mut String, calls: &mut Calls, out: Out<'_>) -> bool {
        let end = held
            .find(MESSAGE)
            .filter(|at| at + MESSAGE.len() <= LONGEST_HEADER);
        let (Some(at), true) = (end, is_header(held)) else {
            if is_header(held) && held.len() < LONGEST_HEADER {
                return false;
            }
            // The model does not follow the format: treat its text as content.
            self.at = At::Body(Kind::Content);
            return true;
        };
        let header = &held[..at];
        let channel = header.rsplit_once(CHANNEL).map_or("", |(_, rest)| rest);
        let channel = channel.split(|char: char| char.is_whitespace() || char == '<');
        let channel = channel.into_iter().next().unwrap_or_default();
        let recipient = header.rsplit_once("to=").map(|(_, rest)| rest);
        let recipient = recipient.and_then(|rest| {
            let end = rest.find(|char: char| char.is_whitespace() || char == '<');
            Some(&rest[..end.unwrap_or(rest.len())]).filter(|name| !name.is_empty())
        });
        let kind = match (recipient, channel) {
            (Some(name), _) => {
                let known = calls.tool(name).is_some();
                let short = name.strip_prefix("functions.").filter(|_| !known);
                calls.begin(short.unwrap_or(name), out);
                Kind::Call { told: false }
            }
            (None, "analysis") => Kind::Reasoning,
            (None, _) => Kind::Content,
        };
        held.drain(..at + MESSAGE.len());
        self.at = At::Body(kind);
        true
    }

    fn body(&mut self, mut kind: Kind, held: &mut String, calls: &Calls, out: Out<'_>) -> bool {
        if let Some((at, mark, ())) = first_mark(held, ENDS.map(|mark| (mark, ()))) {
            say(&mut kind, &held[..at], calls, out);
            self.end(kind, calls, out);
            held.drain(..at + mark.len());
            self.at = At::Header;
            return true;
        }
        let kept = ENDS.map(|mark| beginning_at_end(held, mark));
        let kept = kept.into_iter().max().unwrap_or(0);
        let rest = held.split_off(held.len() - kept);
        say(&mut kind, held, calls, out);
        *held = rest;
        self.at = At::Body(kind);
        false
    }

    fn end(&mut self, kind: Kind, calls: &Calls, out: Out<'_>) {
        if let Kind::Call { told } = kind {
            if !told {
                calls.arguments("{}", out);
            }
            self.ended += 1;
        }
    }
}

/// Whether the text may be the start of a header.
fn is_header(text: &str) -> bool {
    let text = text.trim_start();
    let begins = |with: &str| text.starts_with(with) || with.starts_with(text);
    [START, CHANNEL, "assistant", "to="].into_iter().any(begins)
}

fn say(kind: &mut Kind, text: &str, calls: &Calls, out: Out<'_>) {
    if text.is_empty() {
        return;
    }
    match kind {
        Kind::Reasoning => out(Piece::Reasoning(text.to_owned().into())),
        Kind::Content => content(text, out),
        Kind::Call { told } => {
            // Skip whitespace before the opening brace.
            let text = if *told { text } else { text.trim_start() };
            *told |= !text.is_empty();
            calls.arguments(text, out);
        }
    }
}

fn content(text: &str, out: Out<'_>) {
    if !text.is_empty() {
        out(Piece::Content(text.to_owned().into()));
    }
}
