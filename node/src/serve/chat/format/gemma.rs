//! Gemma: a code block, `tool_code` with a Python call or `json` with an object, or the object
//! alone. Its template does not support tools, so the prompt describes them.

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
