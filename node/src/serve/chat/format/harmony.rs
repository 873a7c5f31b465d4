//! `<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}`: gpt-oss. The token
//! `<|call|>` ends the answer, so it has one call.

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
