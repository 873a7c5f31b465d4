//! Llama 3.1 and later: `{"name": "f", "parameters": {…}}`, often after `<|python_tag|>`, which
//! also opens a Python call, `f.call(a=1)`. There is one call per answer.

use super::{Call, Opener, Syntax, Wanted};

pub(super) const SYNTAX: Syntax = Syntax {
    openers: &[Opener::new("<|python_tag|>", None)],
    is_bare: true,
    has_channels: false,
    wanted: Wanted {
        open: "",
        close: "",
        around: ["", ""],
        between: None,
        call: Call::Json {
            before: "{\"name\": \"",
            between: &["\", \"parameters\": "],
            after: "}",
        },
    },
};
