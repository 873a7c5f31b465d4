//! Parses an answer's text into pieces: reasoning, content and calls.
//!
//! The text arrives in chunks, split between any two characters; the pieces do not depend on the
//! splits. Text that may start a mark is held back until that is decided. Text that only looks like
//! a call becomes content, so nothing is lost.

mod body;
mod calls;
mod harmony;
mod json_call;
mod literal;
mod marked_call;
mod python_call;
mod scan;
#[cfg(test)]
mod tests;

pub(super) use calls::{Parameter, ToolShape};

use super::format::Syntax;
use super::thinking::ThinkMarks;
use crate::Private;
use body::{Body, BodyStep};
use calls::{Calls, Out};
use harmony::Harmony;
use scan::{beginning_at_end, first_mark};

/// A piece of an answer. Consecutive pieces of the same kind form one text.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Reasoning of the model.
    Reasoning(Private<String>),
    /// Content of the answer.
    Content(Private<String>),
    /// The start of a tool call. Calls arrive one after the other.
    ToolCall {
        /// The index of the call, from 0.
        index: usize,
        /// Unique among all calls of this node.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// The next piece of the current call's arguments. Each call has at least one.
    ToolArguments(Private<String>),
}

/// How to parse an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// The available tools, if any.
    pub(super) tools: Vec<ToolShape>,
    /// The call syntax.
    pub(super) syntax: Option<&'static Syntax>,
    /// The marks around reasoning, if the model uses any.
    pub(super) thinking: Option<ThinkMarks>,
    /// Whether the prompt has opened the reasoning.
    pub(super) begins_thinking: bool,
    /// Whether the first call ends the answer.
    pub(super) one_call: bool,
    /// Whether a mask enforces the wanted call syntax. Other call syntaxes are then content.
    pub(super) only_wanted: bool,
}

/// Parses an answer. It holds a part of the text, so it does not implement `Debug`.
pub struct AnswerReader {
    reading: Reading,
    state: State,
    calls: Calls,
    /// Text that is still ambiguous.
    held: String,
    /// No content has been emitted since the last reasoning or call.
    is_fresh: bool,
    /// Whether to drop whitespace before the content, as after reasoning and calls.
    drops_space: bool,
    /// Whether to look for calls without a mark.
    is_bare: bool,
}

enum State {
    /// Before the first word.
    Start,
    Reasoning,
    Content,
    /// In calls, with the opening mark and any whitespace before it.
    Calls(String, Body),
    Harmony(Harmony),
    /// The only call allowed is complete.
    Finished,
}

impl AnswerReader {
    pub(super) fn new(reading: Reading) -> Self {
        let syntax = reading.syntax;
        let state = match () {
            () if syntax.is_some_and(|syntax| syntax.has_channels) => {
                State::Harmony(Harmony::new())
            }
            () if reading.begins_thinking => State::Reasoning,
            () if reading.thinking.is_some() => State::Start,
            () => State::Content,
        };
        Self {
            state,
            calls: Calls::new(reading.tools.clone()),
            held: String::new(),
            is_fresh: true,
            drops_space: false,
            is_bare: syntax.is_some_and(|syntax| syntax.is_bare),
            reading,
        }
    }

    /// Whether a tool has been called.
    pub fn has_called(&self) -> bool {
        self.calls.begun() > 0
    }

    /// Whether the current text is reasoning.
    pub fn is_reasoning(&self) -> bool {
        match &self.state {
            State::Reasoning => true,
            State::Harmony(harmony) => harmony.is_reasoning(),
            State::Start | State::Content | State::Calls(..) | State::Finished => false,
        }
    }

    /// Whether the answer is complete because it has the only call allowed.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Adds text of the answer.
    pub fn push(&mut self, text: &str, out: &mut dyn FnMut(Piece)) {
        if self.is_finished() {
            return;
        }
        self.held.push_str(text);
        while self.step(out) {}
    }

    /// Flushes the held text at the end of the answer.
    pub fn finish(&mut self, out: &mut dyn FnMut(Piece)) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Finished => {}
            State::Start | State::Content => self.finish_content(&held, out),
            State::Reasoning => reasoning(&held, out),
            State::Harmony(mut harmony) => harmony.finish(&held, &self.calls, out),
            State::Calls(mark, mut body) => {
                body.finish(&mut self.calls, out);
                if body.has_call() {
                    (self.is_fresh, self.drops_space) = (true, true);
                } else {
                    self.content(&mark, out);
                }
                self.content(&body.into_raw(), out);
            }
        }
    }

    fn finish_content(&mut self, held: &str, out: Out<'_>) {
        if held.trim().is_empty() && self.has_called() {
            return;
        }
        self.content(held, out);
    }

    /// Consumes as much text as is unambiguous; returns whether there may be more to consume.
    fn step(&mut self, out: Out<'_>) -> bool {
        match &mut self.state {
            State::Start => self.start(),
            State::Reasoning => self.reasoning(out),
            State::Content => self.in_content(out),
            State::Calls(..) => self.in_calls(out),
            State::Harmony(harmony) => {
                let more = harmony.step(&mut self.held, &mut self.calls, out);
                if self.reading.one_call && harmony.ended_calls() > 0 {
                    self.state = State::Finished;
                    return false;
                }
                more
            }
            State::Finished => false,
        }
    }

    fn start(&mut self) -> bool {
        let text = self.held.trim_start();
        let Some(marks) = self.reading.thinking else {
            self.state = State::Content;
            return true;
        };
        if text.is_empty() || marks.open.starts_with(text) && text.len() < marks.open.len() {
            return false;
        }
        if let Some(thoughts) = text.strip_prefix(marks.open) {
            self.held = thoughts.to_owned();
            self.state = State::Reasoning;
        } else {
            self.state = State::Content;
        }
        true
    }

    fn reasoning(&mut self, out: Out<'_>) -> bool {
        let Some(marks) = self.reading.thinking else {
            self.state = State::Content;
            return true;
        };
        if self.is_fresh {
            let text = self.held.trim_start();
            // Some models repeat the mark that ends the prompt.
            let text = text.strip_prefix(marks.open).map_or(text, str::trim_start);
            if text.is_empty() || marks.open.starts_with(text) {
                return false;
            }
            self.held = text.to_owned();
        }
        if let Some(at) = self.held.find(marks.close) {
            reasoning(self.held[..at].trim_end(), out);
            self.held.drain(..at + marks.close.len());
            (self.is_fresh, self.drops_space) = (true, true);
            self.state = State::Content;
            return true;
        }
        let kept = beginning_at_end(&self.held, marks.close);
        let known = &self.held[..self.held.len() - kept];
        let known = known.trim_end().len();
        reasoning(&self.held[..known], out);
        self.is_fresh &= known == 0;
        self.held.drain(..known);
        false
    }

    fn in_content(&mut self, out: Out<'_>) -> bool {
        let Some(syntax) = self.reading.syntax else {
            let text = std::mem::take(&mut self.held);
            self.content(&text, out);
            return false;
        };
        let text = self.held.trim_start();
        if self.is_fresh && text.is_empty() {
            return false;
        }
        if self.is_fresh && self.is_bare && text.starts_with(['{', '[']) {
            let space = self.held[..self.held.len() - text.len()].to_owned();
            self.held.drain(..space.len());
            self.state = State::Calls(space, Body::bare());
            return true;
        }
        let only_wanted = self.reading.only_wanted;
        let openers = syntax.openers.iter();
        let openers = openers.filter(|opener| !(only_wanted && opener.known_only));
        let openers = || openers.clone().map(|opener| (opener.mark, opener));
        if let Some((at, mark, opener)) = first_mark(&self.held, openers()) {
            let mut before = self.held[..at].to_owned();
            self.held.drain(..at + mark.len());
            if !(self.is_fresh && before.trim().is_empty()) {
                self.content(&before, out);
                before.clear();
            }
            // Whitespace before a call becomes content only if it is not a call after all.
            let body = Body::new(opener.close, opener.known_only);
            self.state = State::Calls(before + mark, body);
            return true;
        }
        let kept = openers().map(|(mark, _)| beginning_at_end(&self.held, mark));
        let kept = kept.max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        let text = std::mem::replace(&mut self.held, rest);
        if self.is_fresh && text.trim().is_empty() {
            // Whitespace before a possible call.
            self.held.insert_str(0, &text);
            return false;
        }
        self.content(&text, out);
        false
    }

    fn in_calls(&mut self, out: Out<'_>) -> bool {
        let State::Calls(mark, body) = &mut self.state else {
            return false;
        };
        let held = std::mem::take(&mut self.held);
        for (at, char) in held.char_indices() {
            let rest = at + char.len_utf8();
            match body.push(char, &mut self.calls, out) {
                BodyStep::More => {}
                BodyStep::CallEnded if self.reading.one_call => {
                    self.state = State::Finished;
                    return false;
                }
                BodyStep::CallEnded => {}
                BodyStep::Done => {
                    self.held = held[rest..].to_owned();
                    self.leave_calls();
                    return true;
                }
                BodyStep::Failed => {
                    let mark = std::mem::take(mark);
                    self.give_back(&mark, &held[rest..], out);
                    return true;
                }
            }
        }
        body.tell(&self.calls, out);
        false
    }

    /// Returns from calls to content.
    fn leave_calls(&mut self) -> State {
        (self.is_fresh, self.drops_space) = (true, true);
        // Calls without a mark only occur at the start, together.
        self.is_bare = false;
        std::mem::replace(&mut self.state, State::Content)
    }

    /// Treats the text after the last call as content, because it was not a call.
    fn give_back(&mut self, mark: &str, rest: &str, out: Out<'_>) {
        let (fresh, drops_space) = (self.is_fresh, self.drops_space);
        let State::Calls(_, body) = self.leave_calls() else {
            return;
        };
        let has_call = body.has_call();
        let raw = body.into_raw();
        self.held = format!("{raw}{rest}");
        if !has_call {
            (self.is_fresh, self.drops_space) = (fresh, drops_space);
            self.content(mark, out);
        }
    }

    fn content(&mut self, text: &str, out: Out<'_>) {
        let drops_space = self.is_fresh && self.drops_space;
        let text = if drops_space { text.trim_start() } else { text };
        if !text.is_empty() {
            self.is_fresh = false;
            out(Piece::Content(text.to_owned().into()));
        }
    }
}

fn reasoning(text: &str, out: Out<'_>) {
    if !text.is_empty() {
        out(Piece::Reasoning(text.to_owned().into()));
    }
}
