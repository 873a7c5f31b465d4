//! `[TOOL_CALLS][{"name": "f", "arguments": {…}}]`: Mistral.

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
        call: Call::Json(["{\"name\": \"", "\", \"arguments\": ", "}"]),
    },
};
