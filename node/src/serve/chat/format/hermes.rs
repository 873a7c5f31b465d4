//! Hermes, Qwen and many others: `<tool_call>\n{"name": "f", "arguments": {…}}\n</tool_call>`, once
//! per call. Some models write `<function=f>` with a `<parameter=a>` per argument between the
//! marks; the reader accepts that too.

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
        call: Call::ARGUMENTS,
    },
};
