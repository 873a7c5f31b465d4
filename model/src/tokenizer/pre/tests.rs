#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

use proptest::prelude::*;

use super::*;
use crate::tokenizer::TokenizerError;

fn cut(name: &str, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let pre = PreTokenizer::named(Some(name)).unwrap();
    pre.split(text.as_bytes(), |word| words.push(word.collect()));
    words
}

const FAMILIES: [&str; 18] = [
    "default",
    "falcon",
    "gpt-2",
    "smollm",
    "llama-bpe",
    "qwen2",
    "qwen35",
    "seed-coder",
    "ufakzeka",
    "minicpm5",
    "tekken",
    "gpt-4o",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "bloom",
    "viking",
    "glm4",
];

#[test]
fn an_unknown_name_is_refused_and_none_is_the_default() {
    assert!(matches!(
        PreTokenizer::named(Some("made-up")),
        Err(TokenizerError::UnknownPreTokenizer { pre }) if pre == "made-up"
    ));
    assert_eq!(PreTokenizer::named(None).unwrap().stages.len(), 4);
    assert_eq!(PreTokenizer::named(Some("")).unwrap().stages.len(), 4);
}

#[test]
fn gpt2_takes_one_space_with_a_word_and_leaves_the_last_of_several() {
    assert_eq!(
        cut("gpt-2", "I'm  here: 123abc!?\n\n x"),
        [
            "I", "'m", " ", " here", ":", " 123", "abc", "!?", "\n\n", " x"
        ]
    );
    assert_eq!(cut("gpt-2", "end  "), ["end", "  "]);
    assert_eq!(cut("gpt-2", "I'M"), ["I", "'", "M"]);
}

#[test]
fn starcoder_takes_digits_one_by_one() {
    assert_eq!(cut("smollm", "in 2024"), ["in", " ", "2", "0", "2", "4"]);
}

#[test]
fn llama3_takes_three_digits_and_line_ends_with_what_is_before() {
    assert_eq!(
        cut("llama-bpe", "YOU'RE 12345.\n\n  (ok)"),
        [
            "YOU", "'RE", " ", "123", "45", ".\n\n", " ", " (", "ok", ")"
        ]
    );
    assert_eq!(cut("llama-bpe", "a \n \n b"), ["a", " \n \n", " b"]);
    assert_eq!(cut("llama-bpe", "\ta(b"), ["\ta", "(b"]);
}

#[test]
fn qwen_takes_digits_one_by_one_and_its_successor_marks_as_letters() {
    assert_eq!(cut("qwen2", "a12"), ["a", "1", "2"]);
    assert_eq!(cut("qwen2", "e\u{301}t"), ["e", "\u{301}t"]);
    assert_eq!(cut("qwen35", "e\u{301}t"), ["e\u{301}t"]);
    assert_eq!(cut("seed-coder", "!\n"), ["!", "\n"]);
    assert_eq!(cut("ufakzeka", "a's"), ["a", "'s"]);
}

#[test]
fn tekken_and_gpt4o_cut_where_the_case_rises() {
    assert_eq!(
        cut("tekken", "camelCaseHTML it's/\n"),
        ["camel", "Case", "HTML", " it", "'s", "/\n"]
    );
    assert_eq!(
        cut("gpt-4o", "camelCase it's 1234"),
        ["camel", "Case", " it's", " ", "123", "4"]
    );
    // Letters beyond ASCII count as both cases.
    assert_eq!(cut("tekken", "ÉA"), ["É", "A"]);
    assert_eq!(cut("tekken", "AÉ"), ["AÉ"]);
}

#[test]
fn deepseek_tells_scripts_apart() {
    assert_eq!(
        cut("deepseek-llm", "ab中文12 \n"),
        ["ab", "中文", "12", " ", "\n"]
    );
    assert_eq!(cut("deepseek-coder", "x 12;"), ["x", " ", "1", "2", ";"]);
    assert_eq!(
        cut("deepseek-v3", "f(x) 1234カナ!\n"),
        ["f", "(x", ")", " ", "123", "4", "カナ", "!\n"]
    );
}

#[test]
fn the_default_takes_signs_apart_and_numbers_in_threes() {
    assert_eq!(cut("default", "a+=1234567"), ["a", "+=", "123", "456", "7"]);
    assert_eq!(cut("falcon", "`a`"), ["`", "a", "`"]);
    assert_eq!(cut("viking", "a, b12"), ["a", ",", " b", "1", "2"]);
}

proptest! {
    #[test]
    fn words_are_never_empty_and_add_up_to_the_text(text in r"[ -~\s\p{L}\p{N}\p{M}\p{S}]{0,80}") {
        for name in FAMILIES {
            let words = cut(name, &text);
            prop_assert!(words.iter().all(|word| !word.is_empty()), "{name}");
            prop_assert_eq!(words.concat(), text.as_str(), "{}", name);
        }
    }
}
