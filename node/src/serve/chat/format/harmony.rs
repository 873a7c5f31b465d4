//! gpt-oss: `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}`. The token
//! `<|call|>` ends the answer, so there is one call per answer.

use super::{Call, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[],
    is_bare: false,
    has_channels: true,
    wanted: Wanted {
        open: "<|channel|>",
        close: "",
        around: ["", ""],
        between: None,
        call: Call::Json {
            before: "commentary to=functions.",
            between: &[" ", "<|constrain|>", "json", "<|message|>"],
            after: "",
        },
    },
};
