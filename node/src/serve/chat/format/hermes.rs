//! `<tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>`, once for each call: Hermes, Qwen,
//! SmolLM3 and many others.

use super::{Call, Opener, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener::new("<tool_call>", Some("</tool_call>"))],
    is_bare: false,
    has_channels: false,
    wanted: Wanted {
        open: "<tool_call>",
        close: "</tool_call>",
        around: ["\n", "\n"],
        between: Some(&["\n", "</tool_call>", "\n", "<tool_call>", "\n"]),
        call: Call::Json(["{\"name\": \"", "\", \"arguments\": ", "}"]),
    },
};
