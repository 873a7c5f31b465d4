//! LFM2: `<|tool_call_start|>[f(a=1), g()]<|tool_call_end|>`.

use super::{Call, Opener, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener::new(
        "<|tool_call_start|>",
        Some("<|tool_call_end|>"),
    )],
    is_bare: false,
    has_channels: false,
    wanted: Wanted {
        open: "<|tool_call_start|>",
        close: "<|tool_call_end|>",
        around: ["[", "]"],
        between: Some(&[", "]),
        call: Call::Python,
    },
};
