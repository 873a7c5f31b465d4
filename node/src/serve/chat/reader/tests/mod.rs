//! Answers in every format, split at every position.

mod random;

use expect_test::{Expect, expect};

use super::*;
use crate::serve::chat::format::ToolFormat;

const THINK: ThinkMarks = ThinkMarks {
    open: "<think>",
    close: "</think>",
};

fn reading(format: ToolFormat) -> Reading {
    let tool = |name: &str, parameters: &[&str]| ToolShape {
        name: name.into(),
        parameters: parameters
            .iter()
            .map(|&name| Parameter {
                name: name.into(),
                is_text: name == "town",
            })
            .collect(),
    };
    Reading {
        tools: vec![tool("get_weather", &["town", "days"]), tool("now", &[])],
        syntax: Some(format.syntax()),
        ..Reading::default()
    }
}

/// The pieces of an answer given in these chunks, one per line, with neighbours of one kind joined.
fn pieces(reading: &Reading, parts: &[&str]) -> String {
    let mut reader = AnswerReader::new(reading.clone());
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut ids = Vec::new();
    let mut out = |piece: Piece| {
        let (kind, text) = match piece {
            Piece::Reasoning(text) => ("thought".to_owned(), text.into_inner()),
            Piece::Content(text) => ("content".to_owned(), text.into_inner()),
            Piece::ToolCall { index, id, name } => {
                assert_eq!(index, ids.len());
                assert!(!ids.contains(&id));
                ids.push(id);
                (format!("call {index}"), name)
            }
            Piece::ToolArguments(text) => ("arguments".to_owned(), text.into_inner()),
        };
        assert!(!text.is_empty(), "an empty piece: {kind}");
        match lines.last_mut() {
            Some(last) if last.0 == kind => last.1.push_str(&text),
            _ => lines.push((kind, text)),
        }
    };
    for part in parts {
        reader.push(part, &mut out);
    }
    reader.finish(&mut out);
    assert_eq!(reader.has_called(), !ids.is_empty());
    for (at, (kind, _)) in lines.iter().enumerate() {
        let next = lines.get(at + 1).map(|(kind, _)| &**kind);
        assert!(
            !kind.starts_with("call") || next == Some("arguments"),
            "{lines:?}"
        );
    }
    let lines = lines
        .into_iter()
        .map(|(kind, text)| format!("{kind}: {text:?}\n"));
    lines.collect()
}

/// Checks that the whole text is content, however it is split.
#[track_caller]
fn check_content(reading: &Reading, text: &str) {
    let same = format!("content: {text:?}\n");
    assert_eq!(pieces(reading, &[text]), same);
    for (at, _) in text.char_indices() {
        let (first, second) = text.split_at(at);
        assert_eq!(pieces(reading, &[first, second]), same, "cut at {at}");
    }
}

/// Checks the pieces of an answer, and that they do not depend on the splits.
#[track_caller]
fn check(reading: &Reading, answer: &str, expected: Expect) {
    let whole = pieces(reading, &[answer]);
    let mut utf8 = [[0; 4]; 512];
    let chars: Vec<&str> = answer
        .chars()
        .zip(&mut utf8)
        .map(|(char, utf8)| &*char.encode_utf8(utf8))
        .collect();
    assert_eq!(chars.concat(), answer, "a longer answer than is cut here");
    assert_eq!(pieces(reading, &chars), whole, "character by character");
    for (at, _) in answer.char_indices() {
        let (first, second) = answer.split_at(at);
        assert_eq!(pieces(reading, &[first, second]), whole, "cut at {at}");
    }
    expected.assert_eq(&whole);
}

#[test]
fn hermes_calls_are_between_marks() {
    let hermes = reading(ToolFormat::Hermes);
    check(
        &hermes,
        "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"town\": \"Lima\"}}\n\
         </tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
        expect![[r#"
            content: "Let me look.\n"
            call 0: "get_weather"
            arguments: "{\"town\": \"Lima\"}"
            call 1: "now"
            arguments: "{}"
        "#]],
    );
    // No closing mark; text after a call; keys in any order; arguments missing or given as a
    // string.
    check(
        &hermes,
        "\n<tool_call>{\"arguments\": {\"a\": \"}\\\"\"}, \"id\": 7, \"name\": \"x\"} <tool_call>{\"name\": \"now\"}\
         </tool_call>\n\nThat is all.",
        expect![[r#"
            call 0: "x"
            arguments: "{\"a\": \"}\\\"\"}"
            call 1: "now"
            arguments: "{}"
            content: "That is all."
        "#]],
    );
    check(
        &hermes,
        "<tool_call>[{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1}\"}, \
         {\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": {\"days\": 2}}}]\
         </tool_call>",
        expect![[r#"
            call 0: "now"
            arguments: "{\"a\": 1}"
            call 1: "get_weather"
            arguments: "{\"days\": 2}"
        "#]],
    );
}

#[test]
fn what_is_no_call_is_content_and_nothing_is_lost() {
    let hermes = reading(ToolFormat::Hermes);
    for text in [
        "<tool_call>\nI cannot do that.\n</tool_call>",
        "<tool_call>\n{\"na",
        "<tool_call>\n{\"name\": 3}\n</tool_call>",
        "<tool_call>[]</tool_call> ",
        "<tool_call>{}</tool_call>",
        "a <tool_c",
        "a <tool_<tool_cal ü <",
        "  ",
        "{\"name\": \"now\", \"arguments\": {}}",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}",
    ] {
        check_content(&hermes, text);
    }
    check(
        &hermes,
        "<tool_call> x <tool_call>{\"name\": \"now\", \"arguments\": {}} y</tool_call>",
        expect![[r#"
            content: "<tool_call> x "
            call 0: "now"
            arguments: "{}"
            content: "y</tool_call>"
        "#]],
    );
    // An incomplete call keeps what has been emitted.
    check(
        &hermes,
        "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"b",
        expect![[r#"
            call 0: "now"
            arguments: "{\"a\": \"b"
        "#]],
    );
    check(
        &hermes,
        "<tool_call>{\"name\": \"now\", ",
        expect![[r#"
            call 0: "now"
            arguments: "{}"
        "#]],
    );
    check(
        &hermes,
        "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": 1}] x",
        expect![[r#"
            call 0: "now"
            arguments: "{\"a\": 1}"
            content: "] x"
        "#]],
    );
}

#[test]
fn thoughts_are_apart() {
    let thinking = Reading {
        thinking: Some(THINK),
        ..reading(ToolFormat::Hermes)
    };
    check(
        &thinking,
        "\n<think>\nHm <tool_call>\n\nWell.\n</think>\n\nYes.<tool_call>{\"name\": \"now\"}</tool_call>",
        expect![[r#"
            thought: "Hm <tool_call>\n\nWell."
            content: "Yes."
            call 0: "now"
            arguments: "{}"
        "#]],
    );
    check(
        &thinking,
        "<think></think>\n\nThe mark <think> is not <tool>",
        expect![[r#"
            content: "The mark <think> is not <tool>"
        "#]],
    );
    check(
        &thinking,
        "<thi",
        expect![[r#"
        content: "<thi"
    "#]],
    );
    check(
        &thinking,
        "<think>Hm </th",
        expect![[r#"
        thought: "Hm </th"
    "#]],
    );
    let begun = Reading {
        begins_thinking: true,
        syntax: None,
        ..thinking
    };
    check(
        &begun,
        "<think>\nHm.\n</think>\n<tool_call>",
        expect![[r#"
            thought: "Hm."
            content: "<tool_call>"
        "#]],
    );
    check(
        &begun,
        "Hm.</think>",
        expect![[r#"
        thought: "Hm."
    "#]],
    );
}

#[test]
fn llama_calls_may_have_no_mark() {
    let llama = reading(ToolFormat::Llama);
    check(
        &llama,
        "\n{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"town\": \"Lima\"}}; \
         {\"name\": \"now\", \"parameters\": {}}",
        expect![[r#"
            call 0: "get_weather"
            arguments: "{\"town\": \"Lima\"}"
            call 1: "now"
            arguments: "{}"
        "#]],
    );
    check(
        &llama,
        "<|python_tag|>brave_search.call(query=\"a, b\")",
        expect![[r#"
            call 0: "brave_search"
            arguments: "{\"query\": \"a, b\"}"
        "#]],
    );
    for text in [
        " {\"town\": \"Lima\", \"days\": [1]}",
        "{\"name\": \"Bob\", \"age\": 3}",
        "[1, 2]",
        "[{\"name\": \"Bob\"}]",
        "{\"type\": \"object\"}",
        "{",
    ] {
        check_content(&llama, text);
    }
}

#[test]
fn lfm2_calls_are_as_in_python() {
    check(
        &reading(ToolFormat::Lfm2),
        "<|tool_call_start|>[get_weather(town='Lima, \"Perú\"', days=[1, (2,)]), now(), \
         tools.get_weather(\"Oslo\", 3)]<|tool_call_end|>Checking.",
        expect![[r#"
            call 0: "get_weather"
            arguments: "{\"town\": \"Lima, \\\"Perú\\\"\", \"days\": [1, [2]]}"
            call 1: "now"
            arguments: "{}"
            call 2: "get_weather"
            arguments: "{\"town\": \"Oslo\", \"days\": 3}"
            content: "Checking."
        "#]],
    );
    check(
        &reading(ToolFormat::Lfm2),
        "<|tool_call_start|>[get_weather(town='Li",
        expect![[r#"
            call 0: "get_weather"
            arguments: "town='Li"
        "#]],
    );
}

#[test]
fn gemma_calls_are_blocks_of_code_or_json() {
    let gemma = reading(ToolFormat::Gemma);
    check(
        &gemma,
        "Sure!\n```tool_code\nprint(get_weather(town=\"Lima\"))\nnow()\n```\n",
        expect![[r#"
            content: "Sure!\n"
            call 0: "get_weather"
            arguments: "{\"town\": \"Lima\"}"
            call 1: "now"
            arguments: "{}"
        "#]],
    );
    check(
        &gemma,
        "```json\n{\"name\": \"now\", \"parameters\": {}}\n```",
        expect![[r#"
            call 0: "now"
            arguments: "{}"
        "#]],
    );
    check(
        &gemma,
        "```json\n{\"a\": [1]}\n```\nand `code`",
        expect![[r#"
            content: "```json\n{\"a\": [1]}\n```\nand `code`"
        "#]],
    );
}

#[test]
fn granite_and_mistral_calls_are_a_list() {
    let list = "[{\"name\": \"now\", \"arguments\": {}}, {\"arguments\": {\"x\": [1, {\"y\": \"]\"}]}, \
                \"name\": \"get_weather\"}]";
    for (format, mark) in [
        (ToolFormat::Granite, "<|tool_call|>"),
        (ToolFormat::Mistral, "[TOOL_CALLS]"),
    ] {
        check(
            &reading(format),
            &format!("{mark}{list}\n"),
            expect![[r#"
                call 0: "now"
                arguments: "{}"
                call 1: "get_weather"
                arguments: "{\"x\": [1, {\"y\": \"]\"}]}"
            "#]],
        );
    }
}

#[test]
fn calls_may_be_in_marks_of_their_own() {
    check(
        &reading(ToolFormat::MistralArgs),
        "[TOOL_CALLS]get_weather[ARGS]{\"town\": \"Lima]\"}[TOOL_CALLS]now[CALL_ID]a1b2c3d4e[ARGS]{} Wait.",
        expect![[r#"
            call 0: "get_weather"
            arguments: "{\"town\": \"Lima]\"}"
            call 1: "now"
            arguments: "{}"
            content: "Wait."
        "#]],
    );
    check(
        &reading(ToolFormat::Hermes),
        "<tool_call>\n<function=get_weather>\n<parameter=town>\n12\n</parameter>\n<parameter=days>3\
         </parameter>\n<parameter=x>a < b\n</parameter></function>\n</tool_call>\n<tool_call><function=now>\
         </function></tool_call><tool_call><b>",
        expect![[r#"
            call 0: "get_weather"
            arguments: "{\"town\": \"12\", \"days\": 3, \"x\": \"a < b\"}"
            call 1: "now"
            arguments: "{}"
            content: "<tool_call><b>"
        "#]],
    );
}

#[test]
fn harmony_answers_are_in_channels() {
    let harmony = reading(ToolFormat::Harmony);
    check(
        &harmony,
        "<|channel|>analysis<|message|>Need it.<|end|><|start|>assistant<|channel|>commentary \
         to=functions.get_weather <|constrain|>json<|message|>{\"town\": \"Lima\"}",
        expect![[r#"
            thought: "Need it."
            call 0: "get_weather"
            arguments: "{\"town\": \"Lima\"}"
        "#]],
    );
    check(
        &harmony,
        "<|channel|>analysis<|message|>Hm <b><|end|><|start|>assistant<|channel|>final<|message|>It \
         is < 3°.<|return|>",
        expect![[r#"
            thought: "Hm <b>"
            content: "It is < 3°."
        "#]],
    );
    check(
        &harmony,
        "<|start|>assistant to=functions.now<|channel|>commentary json<|message|>",
        expect![[r#"
            call 0: "now"
            arguments: "{}"
        "#]],
    );
    check(
        &harmony,
        "Hello <|message|> you",
        expect![[r#"
        content: "Hello <|message|> you"
    "#]],
    );
}

#[test]
fn plain_calls_are_json_objects() {
    check(
        &reading(ToolFormat::Plain),
        "{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"get_weather\", \"arguments\": {\"days\": 1}}\nThere.",
        expect![[r#"
            call 0: "now"
            arguments: "{}"
            call 1: "get_weather"
            arguments: "{\"days\": 1}"
            content: "There."
        "#]],
    );
}

#[test]
fn one_call_ends_an_answer_that_may_have_no_more() {
    let one = |format| Reading {
        one_call: true,
        ..reading(format)
    };
    let now = "{\"name\": \"now\", \"arguments\": {}}";
    let only = "call 0: \"now\"\narguments: \"{}\"\n";
    for (format, text) in [
        (ToolFormat::Plain, format!("{now}\n{now}")),
        (ToolFormat::Granite, format!("<|tool_call|>[{now}, {now}]")),
        (
            ToolFormat::Lfm2,
            "<|tool_call_start|>[now(), now()]<|tool_call_end|>".into(),
        ),
        (
            ToolFormat::Harmony,
            "<|channel|>commentary to=functions.now<|message|>{}<|end|><|start|>assistant".into(),
        ),
    ] {
        assert_eq!(pieces(&one(format), &[&text]), only, "{format:?}");
    }
}

#[test]
fn without_tools_marks_are_text() {
    let plain = Reading::default();
    let text = "<think> <tool_call>{\"name\": \"now\"}";
    assert_eq!(pieces(&plain, &[text]), format!("content: {text:?}\n"));
}
