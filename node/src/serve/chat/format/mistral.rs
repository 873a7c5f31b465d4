//! Mistral: `[TOOL_CALLS][{"name": "f", "arguments": {…}}]`, and in later models
//! `[TOOL_CALLS]f[ARGS]{…}`, once per call.

use super::{Call, Opener, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener::new("[TOOL_CALLS]", None)],
    is_bare: false,
    has_channels: false,
    wanted: Wanted {
        open: "[TOOL_CALLS]",
        close: "",
        around: ["[", "]"],
        between: Some(&[", "]),
        call: Call::ARGUMENTS,
    },
};

pub(super) const WITH_ARGS: Syntax = Syntax {
    openers: SYNTAX.openers,
    is_bare: false,
    has_channels: false,
    wanted: Wanted {
        open: "[TOOL_CALLS]",
        close: "",
        around: ["", ""],
        between: Some(&["[TOOL_CALLS]"]),
        call: Call::Json {
            before: "",
            between: &["[ARGS]"],
            after: "",
        },
    },
};
