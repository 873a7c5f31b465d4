//! `{"name": "f", "arguments": {…}}`, one line for each call: the form that the prompt describes to
//! models whose template knows no tools. Models that know better marks may use them.

use super::{Call, Opener, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[
        Opener::new("<tool_call>", Some("</tool_call>")),
        Opener::new("```tool_call", Some("```")),
        JSON_BLOCK,
    ],
    is_bare: true,
    has_channels: false,
    wanted: WANTED,
};

/// Models like to put JSON in a block of code.
pub(super) const JSON_BLOCK: Opener = Opener {
    mark: "```json",
    close: Some("```"),
    known_only: true,
};

pub(super) const WANTED: Wanted = Wanted {
    open: "",
    close: "",
    around: ["", ""],
    between: Some(&["\n"]),
    call: Call::ARGUMENTS,
};

/// What the prompt says of the form.
pub(in crate::serve::chat) const DESCRIPTION: &str = "\
To call a tool, answer with a JSON object and nothing else: \
{\"name\": \"NAME\", \"arguments\": {…}}, where the arguments follow the tool's JSON schema. \
To call several, write one such object a line. \
Call a tool only if it helps; otherwise answer in words.";
