//! Parses calls, with or without an opening mark.

use super::calls::{Calls, Out};
use super::json_call::{JsonCall, Step};
use super::marked_call::{ArgsCall, TaggedCall};
use super::python_call::PythonCall;

/// One or more calls, as JSON or Python, in a list or one after the other.
pub(super) struct Body {
    at: At,
    /// The closing mark, if there is one.
    close: Option<&'static str>,
    known_only: bool,
    is_list: bool,
    is_python: bool,
    has_ended: bool,
    /// Text that has not been emitted as part of a call.
    raw: String,
}

enum At {
    /// Before the first call, or the list.
    Start,
    /// In a list, before a call.
    Before,
    Json(JsonCall),
    Python(PythonCall),
    Args(ArgsCall),
    Tagged(TaggedCall),
    /// In a list, after a call.
    Between,
    /// After the list, or after a call outside a list.
    Behind,
    /// In the closing mark, of which this many bytes have matched.
    Close(usize),
}

/// The effect of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyStep {
    More,
    /// It ended a call.
    CallEnded,
    /// It ended all calls.
    Done,
    /// The text since the last call, including this character, is not a call.
    Failed,
}

impl Body {
    /// Calls after a mark. With `known_only`, only JSON that names known tools is accepted.
    pub(super) fn new(close: Option<&'static str>, known_only: bool) -> Self {
        Self {
            at: At::Start,
            close,
            known_only,
            is_list: false,
            is_python: false,
            has_ended: false,
            raw: String::new(),
        }
    }

    /// Calls without a mark.
    pub(super) fn bare() -> Self {
        Self::new(None, true)
    }

    /// The text that has not been emitted as part of a call.
    pub(super) fn into_raw(self) -> String {
        self.raw
    }

    /// Whether a call has been emitted.
    pub(super) fn has_call(&self) -> bool {
        self.has_ended || self.has_begun()
    }

    /// Processes the next character.
    pub(super) fn push(&mut self, char: char, calls: &mut Calls, out: Out<'_>) -> BodyStep {
        self.raw.push(char);
        if let At::Python(call) = &self.at
            && char == '['
            && !call.name().is_empty()
        {
            self.at = At::Args(ArgsCall::new(call.name().to_owned()));
        }
        let step = match &mut self.at {
            At::Json(call) => call.push(char, calls, out),
            At::Python(call) => call.push(char, calls, out),
            At::Args(call) => call.push(char, calls, out),
            At::Tagged(call) => call.push(char, calls, out),
            At::Start | At::Before | At::Between | At::Behind | At::Close(_) => {
                return self.between(char);
            }
        };
        match step {
            Step::More => BodyStep::More,
            Step::End => {
                self.end_call();
                BodyStep::CallEnded
            }
            Step::Failed if self.has_begun() => {
                // Keep what has been emitted; only this character is not part of the call.
                self.finish_call(calls, out);
                self.end_call();
                self.raw.push(char);
                BodyStep::Failed
            }
            Step::Failed => BodyStep::Failed,
        }
    }

    /// Emits the arguments received since the last call.
    pub(super) fn tell(&mut self, calls: &Calls, out: Out<'_>) {
        match &mut self.at {
            At::Json(call) => call.tell(calls, out),
            At::Args(call) => call.tell(calls, out),
            _ => {}
        }
    }

    /// Ends at the end of the text. [`Self::into_raw`] returns the rest.
    pub(super) fn finish(&mut self, calls: &mut Calls, out: Out<'_>) {
        if self.has_begun() {
            match &mut self.at {
                At::Python(call) => call.abandon(calls, out),
                At::Tagged(call) => call.abandon(calls, out),
                _ => self.finish_call(calls, out),
            }
            self.raw.clear();
        }
        if self.raw.trim().is_empty() && self.has_ended {
            self.raw.clear();
        }
    }

    fn has_begun(&self) -> bool {
        match &self.at {
            At::Json(call) => call.has_begun(),
            At::Python(call) => call.has_begun(),
            At::Args(call) => call.has_begun(),
            At::Tagged(call) => call.has_begun(),
            At::Start | At::Before | At::Between | At::Behind | At::Close(_) => false,
        }
    }

    fn finish_call(&mut self, calls: &mut Calls, out: Out<'_>) {
        match &mut self.at {
            At::Json(call) => call.end(calls, out),
            At::Args(call) => call.end(calls, out),
            At::Tagged(call) => call.end(calls, out),
            _ => {}
        }
    }

    fn end_call(&mut self) {
        self.has_ended = true;
        self.is_python = matches!(self.at, At::Python(_));
        self.at = if self.is_list {
            At::Between
        } else {
            At::Behind
        };
        self.raw.clear();
    }

    /// Processes a character outside a call.
    fn between(&mut self, char: char) -> BodyStep {
        if let At::Close(matched) = self.at {
            let close = self.close.unwrap_or_default();
            if !close[matched..].starts_with(char) {
                return BodyStep::Failed;
            }
            self.at = At::Close(matched + char.len_utf8());
            return self.closed();
        }
        if char.is_whitespace() {
            return BodyStep::More;
        }
        let is_name = char.is_alphabetic() || char == '_';
        match (&self.at, char) {
            (At::Start | At::Before, '{') => self.at = At::Json(JsonCall::new(self.known_only)),
            (At::Start, '[') => {
                self.is_list = true;
                self.at = At::Before;
            }
            (At::Start | At::Before, _) if is_name && !self.known_only => self.begin_python(char),
            (At::Start, '<') if !self.known_only => self.at = At::Tagged(TaggedCall::new()),
            (At::Between, ',') => self.at = At::Before,
            (At::Between, ']') => {
                self.at = At::Behind;
                self.raw.clear();
            }
            (At::Behind, _) if self.close.is_some_and(|close| close.starts_with(char)) => {
                self.at = At::Close(char.len_utf8());
                return self.closed();
            }
            (At::Behind, '{') if !self.is_list && !self.is_python => {
                self.at = At::Json(JsonCall::new(self.known_only));
            }
            (At::Behind, ',' | ';') if !self.is_list => {}
            (At::Behind, _) if !self.is_list && self.is_python && is_name => {
                self.begin_python(char);
            }
            _ => return BodyStep::Failed,
        }
        BodyStep::More
    }

    fn begin_python(&mut self, first: char) {
        self.at = At::Python(PythonCall::beginning_with(first));
    }

    fn closed(&mut self) -> BodyStep {
        let whole = self.close.map_or(0, str::len);
        if matches!(self.at, At::Close(matched) if matched == whole) {
            self.raw.clear();
            return BodyStep::Done;
        }
        BodyStep::More
    }
}
