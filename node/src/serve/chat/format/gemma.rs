//! A block of code, `tool_code` with a call as in Python or `json` with an object, or the object
//! alone: Gemma, whose template knows no tools, so that the prompt describes them.

use super::{Opener, Syntax, plain};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[
        Opener::new("```tool_code", Some("```")),
        Opener::new("```tool_call", Some("```")),
        Opener::new("<tool_call>", Some("</tool_call>")),
        plain::JSON_BLOCK,
    ],
    is_bare: true,
    has_channels: false,
    wanted: plain::WANTED,
};
