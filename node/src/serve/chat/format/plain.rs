//! `{"name": "f", "arguments": {…}}`, one line per call: the format that the prompt describes to
//! models whose template does not support tools. Such models may also use marks that they know.

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

/// Models often put JSON in a code block.
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

/// How the prompt describes the format.
pub(in crate::serve::chat) const DESCRIPTION: &str = "\
To call a tool, answer with a JSON object and nothing else: \
{\"name\": \"NAME\", \"arguments\": {…}}, where the arguments follow the tool's JSON schema. \
To call several, write one such object a line. \
Call a tool only if it helps; otherwise answer in words.";
