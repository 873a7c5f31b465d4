//! Random text that resembles calls.

use proptest::prelude::*;

use super::*;

const FORMATS: [ToolFormat; 9] = [
    ToolFormat::Hermes,
    ToolFormat::Llama,
    ToolFormat::Lfm2,
    ToolFormat::Gemma,
    ToolFormat::Granite,
    ToolFormat::Mistral,
    ToolFormat::MistralArgs,
    ToolFormat::Harmony,
    ToolFormat::Plain,
];

const FRAGMENTS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "<tool_",
    "<|tool_call|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "```json",
    "```tool_code",
    "```",
    "<function=now>",
    "<parameter=a>",
    "</parameter>",
    "</function>",
    "<|channel|>analysis<|message|>",
    "<|channel|>final<|message|>",
    "<|channel|>commentary to=functions.now<|message|>",
    "<|end|>",
    "<|start|>assistant",
    "<think>",
    "</think>",
    "{\"name\": \"now\", ",
    "\"arguments\": ",
    "\"parameters\": {\"a\": [1, \"}\"]}",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "\\",
    ":",
    ",",
    ";",
    "(",
    ")",
    "print(",
    "now(",
    "town=",
    "null",
    "ü",
    "Well",
    " ",
    "\n",
];

fn nearly_calls() -> impl Strategy<Value = String> {
    let fragments = prop::collection::vec(prop::sample::select(FRAGMENTS), 0..14);
    fragments.prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn pieces_are_the_same_however_a_text_is_cut(
        text in nearly_calls(),
        format in prop::sample::select(&FORMATS[..]),
        thinks: bool,
        begins_thinking: bool,
        one_call: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let reading = Reading {
            thinking: thinks.then_some(THINK),
            begins_thinking: thinks && begins_thinking,
            one_call,
            ..reading(format)
        };
        let whole = pieces(&reading, &[&text]);
        let chars: Vec<String> = text.chars().map(String::from).collect();
        let chars: Vec<&str> = chars.iter().map(String::as_str).collect();
        prop_assert_eq!(&pieces(&reading, &chars), &whole);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        places.retain(|&at| text.is_char_boundary(at));
        places.extend([0, text.len()]);
        places.sort_unstable();
        let parts: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(pieces(&reading, &parts), whole);
    }

    #[test]
    fn an_answer_without_calls_and_thoughts_is_what_was_said(
        text in nearly_calls(),
        format in prop::sample::select(&FORMATS[..]),
    ) {
        let whole = pieces(&reading(format), &[&text]);
        prop_assume!(!whole.contains("call 0:") && format != ToolFormat::Harmony);
        let expected = match &*text {
            "" => String::new(),
            text => format!("content: {text:?}\n"),
        };
        prop_assert_eq!(whole, expected);
    }
}
