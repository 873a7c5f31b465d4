//! Granite: `<|tool_call|>[{"name": "f", "arguments": {…}}]` in early versions; later ones use the
//! marks of Hermes.

use super::{Call, Opener, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[
        Opener::new("<|tool_call|>", None),
        Opener::new("<tool_call>", Some("</tool_call>")),
    ],
    is_bare: false,
    has_channels: false,
    wanted: Wanted {
        open: "<|tool_call|>",
        close: "",
        around: ["[", "]"],
        between: Some(&[", "]),
        call: Call::ARGUMENTS,
    },
};
