#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

mod schemas;

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::gguf::Gguf;
use crate::gguf::synth::{SynthSpec, TypeMix};
use crate::sampler::SamplerSettings;
use crate::tokenizer::tests::byte_pairs;
use crate::tokenizer::{SpecialTokens, TokenId, Tokenizer};
use crate::{Chosen, Compute, Engine, GenerateOptions, Generator, StopReason, TensorType};

/// A vocabulary of bytes and a few words, with its masks.
static BYTES: LazyLock<(Tokenizer, Grammars)> = LazyLock::new(|| {
    let tokenizer = byte_pairs(|_| ());
    let grammars = Grammars::new(&tokenizer).unwrap();
    (tokenizer, grammars)
});

const START: TokenId = 256 + 7;
const END: TokenId = 256 + 8;

/// The tokens that a mask allows, with more rows than the vocabulary has.
fn allowed(mask: &mut dyn Mask) -> Vec<TokenId> {
    let mut logits = vec![0.0; 300];
    mask.apply(&mut logits).unwrap();
    let ids = (0..).zip(logits);
    ids.filter(|(_, logit)| *logit == 0.0)
        .map(|(id, _)| id)
        .collect()
}

/// Whether a grammar allows a text, and whether the answer may end with it.
fn takes(grammar: &Grammar, text: &str) -> (bool, bool) {
    let (tokenizer, grammars) = &*BYTES;
    let mut mask = grammars.mask(grammar).unwrap();
    for id in tokenizer.encode(text, SpecialTokens::Parse) {
        if mask.is_finished() || !allowed(&mut *mask).contains(&id) {
            return (false, false);
        }
        mask.accept(id).unwrap();
    }
    (true, allowed(&mut *mask).contains(&END))
}

#[test]
fn the_end_is_allowed_exactly_where_the_grammar_may_end() {
    let regex = Grammar::regex("a{2,3}|/b");
    assert_eq!(takes(&regex, ""), (true, false));
    assert_eq!(takes(&regex, "a"), (true, false));
    assert_eq!(takes(&regex, "aa"), (true, true));
    assert_eq!(takes(&regex, "aaa"), (true, true));
    assert_eq!(takes(&regex, "aaaa"), (false, false));
    assert_eq!(takes(&regex, "/b"), (true, true));
    assert_eq!(takes(&Grammar::regex(""), ""), (true, true));
    assert_eq!(takes(&Grammar::regex(""), "a"), (false, false));

    let (_, grammars) = &*BYTES;
    let mut mask = grammars.mask(&regex).unwrap();
    assert_eq!(allowed(&mut *mask), [TokenId::from(b'/'), b'a'.into()]);
    for _ in 0..3 {
        assert!(!mask.is_finished());
        mask.accept(b'a'.into()).unwrap();
    }
    assert!(mask.is_finished());
    assert_eq!(allowed(&mut *mask), [END]);
}

#[test]
fn tokens_may_be_parts_of_what_is_wanted_and_more_than_one_of_it() {
    let lark = Grammar::lark("start: \"hel\" \"lo\" \" \" \"hello\"");
    assert_eq!(takes(&lark, "hello hello"), (true, true));
    let (tokenizer, grammars) = &*BYTES;
    let mut mask = grammars.mask(&lark).unwrap();
    let texts: Vec<_> = allowed(&mut *mask)
        .into_iter()
        .map(|id| tokenizer.token_text(id))
        .collect();
    assert_eq!(texts, ["h", "he", "hell", "hello"]);
}

#[test]
fn control_tokens_come_only_where_they_are_named() {
    let any = Grammar::regex("(.|\\n)*");
    assert!(takes(&any, "<x>\n").0);
    assert!(!takes(&any, "<|im_start|>").0);
    let named = Grammar::lark(format!("start: /x+/ <[{START}]> \"y\""));
    assert_eq!(takes(&named, "xx<|im_start|>y"), (true, true));
    assert_eq!(takes(&named, "xx<|im_start|>"), (true, false));
    assert_eq!(takes(&named, "<|im_start|>"), (false, false));
}

#[test]
fn rules_name_parts() {
    let parts = [
        (
            "one".to_owned(),
            Grammar::json_schema(json!({"type": "boolean"})),
        ),
        ("two".to_owned(), Grammar::regex("[xy]+")),
        (
            "three".to_owned(),
            Grammar::lark("start: \"(\" other \")\"\nother: \"z\""),
        ),
    ];
    let rules = Grammar::rules("start: \"<\" @one \">\" @two (@three)?\n", parts);
    assert_eq!(takes(&rules, "<true>xyx"), (true, true));
    assert_eq!(takes(&rules, "<false>y(z)"), (true, true));
    assert_eq!(takes(&rules, "<1>x"), (false, false));
}

#[test]
fn json_has_little_white_space() {
    let schema = Grammar::json_schema(json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
    }));
    assert_eq!(takes(&schema, "{\"a\":1}"), (true, true));
    assert_eq!(takes(&schema, "{\"a\": 1}"), (true, true));
    assert_eq!(takes(&schema, "{\n    \"a\": 1\n}"), (true, true));
    assert_eq!(takes(&schema, "{  \"a\": 1}"), (false, false));
    assert_eq!(takes(&schema, "{\n\n"), (false, false));
    assert_eq!(
        takes(&Grammar::json_object(), "{\"x\": [{}]}"),
        (true, true)
    );
    assert_eq!(takes(&Grammar::json_object(), "[]"), (false, false));
    let any = Grammar::json_schema(json!(true));
    assert_eq!(takes(&any, "[1, null]"), (true, true));
}

#[test]
fn schemas_of_programs_are_kept_to() {
    // In the style of pydantic and zod.
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Trip",
        "type": "object",
        "$defs": {
            "Town": {"type": "object", "title": "Town", "required": ["name"], "additionalProperties": false,
                "properties": {"name": {"type": "string", "title": "Name", "description": "n"}}},
            "Way": {"enum": ["foot", "rail"], "type": "string"},
        },
        "properties": {
            "from": {"$ref": "#/$defs/Town"},
            "via": {"anyOf": [{"$ref": "#/$defs/Town"}, {"type": "null"}], "default": null},
            "way": {"allOf": [{"$ref": "#/$defs/Way"}]},
            "days": {"type": "array", "items": {"type": "string", "format": "date"}},
        },
        "required": ["from", "way"],
        "additionalProperties": false,
    });
    let schema = Grammar::json_schema(schema);
    let whole = r#"{"from": {"name": "Lima"}, "via": null, "way": "rail", "days": ["2026-11-30"]}"#;
    assert_eq!(takes(&schema, whole), (true, true));
    assert_eq!(
        takes(&schema, r#"{"from": {"name": "Lima"}, "way": "foot"}"#),
        (true, true)
    );
    assert!(!takes(&schema, r#"{"from": {"name": "Lima"}, "way": "air"#).0);
    assert!(!takes(&schema, r#"{"from": {"name": "Lima"}}"#).0);
}

#[test]
fn formats_of_the_standard_are_kept_to() {
    let is_taken = |format: &str, text: &str| {
        let schema = json!({"type": "string", "format": format});
        takes(&Grammar::json_schema(schema), &json!(text).to_string()).1
    };
    for (format, right, wrong) in [
        ("duration", "P1Y2M3DT4H5M6S", "P1Y3D"),
        ("duration", "P20W", "P12345D"),
        ("duration", "PT5M", "P"),
        ("idn-email", "a@example.org", "a at home"),
        ("idn-hostname", "example.org", "-a.org"),
        ("iri", "https://example.org/a?b#c", "no"),
        ("uri-reference", "images/a.png?size=2", "a b"),
        ("iri-reference", "https://example.org/", ":a"),
        ("uri-template", "/users/{id}", "/users/{id"),
        ("json-pointer", "/a~1b/0", "a"),
        ("relative-json-pointer", "1/a", "/a"),
        ("regex", "^[a-z]+\\d*$", "(a"),
    ] {
        assert!(is_taken(format, right), "{format}: {right}");
        assert!(!is_taken(format, wrong), "{format}: {wrong}");
    }
    assert!(is_taken("colour", "any text"));
}

#[test]
fn many_optional_properties_are_followed_to_the_end_or_refused() {
    let object = |count: usize| {
        let names = (0..count).map(|n| (format!("p{n}"), json!({"type": "null"})));
        json!({"type": "object", "properties": names.collect::<serde_json::Map<_, _>>()})
    };
    let within = |count: usize| {
        let schema =
            json!({"type": "object", "properties": {"a": object(count)}, "required": ["a"]});
        Grammar::json_schema(schema)
    };
    let text = r#"{"a":{"p3":null,"p3999":null}}"#;
    assert_eq!(takes(&within(4_000), text), (true, true));
    let (_, grammars) = &*BYTES;
    let error = grammars.mask(&within(4_001)).err().unwrap().to_string();
    assert!(error.contains("4001 optional properties"), "{error}");
}

#[test]
fn what_cannot_be_kept_to_is_refused_by_name() {
    let (_, grammars) = &*BYTES;
    let says = |grammar: &Grammar| match grammars.mask(grammar) {
        Ok(_) => "it is taken".to_owned(),
        Err(error) => error.to_string(),
    };
    let schema = |schema: Value| says(&Grammar::json_schema(schema));
    for (message, names) in [
        (schema(json!({"not": {"type": "null"}})), "\"not\""),
        (
            schema(json!({"uniqueItems": true, "type": "array"})),
            "\"uniqueItems\"",
        ),
        (
            schema(json!({"x-guidance": {"lenient": true}, "not": {"const": 1}})),
            "\"not\"",
        ),
        (schema(json!({"$ref": "#/$defs/none"})), "none"),
        (
            schema(json!({"$ref": "https://example.org/schema"})),
            "$ref",
        ),
        (schema(json!({"type": "text"})), "type"),
        (
            schema(json!({"type": "object", "properties": []})),
            "properties",
        ),
        (
            schema(json!({"oneOf": [{"type": "integer"}, {"type": "integer"}]})),
            "oneOf",
        ),
        (says(&Grammar::lark("start: start")), "no text of it"),
        (
            says(&Grammar::rules(
                "start: @part",
                [("part".to_owned(), Grammar::regex("[^\\s\\S]"))],
            )),
            "no text of it",
        ),
        (says(&Grammar::regex("(a")), "regular expression"),
        (says(&Grammar::lark("start: unknown")), "unknown"),
        (says(&Grammar::lark("begin: \"a\"")), "start"),
        (says(&Grammar::lark("x".repeat(40_000))), "at most 32768"),
        (says(&Grammar::lark("")), "grammar"),
        (says(&Grammar::lark("start: %json {}")), "%json"),
    ] {
        let plain = !message.contains('\n') && !message.contains("panic");
        assert!(plain && message.contains(names), "{names}: {message}");
        assert!(message != "it is taken", "{names}");
    }
}

#[test]
fn deep_grammars_are_refused_or_taken_and_no_stack_overflows() {
    let (_, grammars) = &*BYTES;
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let chain: String = (0..2_000)
        .map(|rule| format!("r{rule}: r{}\n", rule + 1))
        .collect();
    for grammar in [
        Grammar::lark(format!("start: {}", deep("(", "\"a\"", ")", 16_000))),
        Grammar::lark(format!("start: {}", deep("(", "\"a\"", ")?", 10_000))),
        Grammar::lark(format!("start: {}", deep("\"a\" (", "\"a\"", ")*", 4_000))),
        Grammar::lark(format!("start: r0\n{chain}r2000: \"a\"")),
        Grammar::lark(format!("start: T\nT: {}", deep("(", "\"a\"", ")", 16_000))),
        Grammar::lark(format!("start: T\nT: {}", deep("~(", "\"a\"", ")", 8_000))),
        Grammar::regex(deep("(", "a", ")", 16_000)),
        Grammar::regex(deep("(", "a", ")*", 10_000)),
        Grammar::regex("(a|b)".repeat(6_000)),
    ] {
        if let Ok(mut mask) = grammars.mask(&grammar) {
            let _ = mask.apply(&mut vec![0.0; 300]);
        }
    }
}

/// The output of a model that always prefers one token while the mask allows it.
fn wanted(grammar: &Grammar, wanted: u8, most: usize) -> String {
    let (tokenizer, grammars) = &*BYTES;
    let mut mask = grammars.mask(grammar).unwrap();
    let mut text = String::new();
    while !mask.is_finished() && text.len() < most {
        let tokens = allowed(&mut *mask);
        let last = tokens.iter().rev().find(|id| **id < 256 && **id > 32);
        let has = |byte: u8| tokens.contains(&byte.into());
        let token = match () {
            () if has(wanted) => wanted.into(),
            () if wanted.is_ascii_digit() && has(b'.') && !text.contains('.') => b'.'.into(),
            () if tokens.contains(&END) => break,
            () => *last.unwrap_or(&tokens[0]),
        };
        mask.accept(token).unwrap();
        text.push_str(&tokenizer.token_text(token));
    }
    text
}

#[test]
fn numbers_and_nesting_come_to_an_end_though_a_model_would_go_on() {
    let number = |schema: Value| wanted(&Grammar::json_schema(schema), b'3', 100);
    assert_eq!(number(json!({"type": "integer"})), "3".repeat(18));
    let fraction = number(json!({"type": "number", "minimum": 0, "maximum": 5}));
    assert_eq!(fraction, format!("3.{}", "3".repeat(15)));
    // As long as the schema requires.
    let long = 3_333_333_333_333_333_504_i64;
    assert_eq!(number(json!({ "const": long })), long.to_string());

    let tree = json!({"type": "array", "items": {"$ref": "#"}});
    let text = wanted(&Grammar::json_schema(tree), b'[', 1000);
    assert!(
        text.starts_with(&"[".repeat(32)) && !text.contains(&"[".repeat(33)),
        "{text}"
    );
    let list = json!({"type": "object", "required": ["a"], "properties":
        {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
    let text = wanted(&Grammar::json_schema(list), b'{', 1000);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(
        value.is_object() && text.matches('{').count() == 32,
        "{text}"
    );
}

/// The output and stop reason of random choices within a mask, with a preference for tokens that
/// end texts.
fn said(grammar: &Grammar, seed: u64) -> (String, StopReason) {
    let (tokenizer, grammars) = &*BYTES;
    let options = GenerateOptions {
        sampling: SamplerSettings {
            seed,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplerSettings::default()
        },
        max_tokens: 1_000,
        ..GenerateOptions::default()
    };
    let mask = grammars.mask(grammar).unwrap();
    let mut generator = Generator::new(tokenizer, options, vec![START]).with_mask(mask);
    let mut logits = vec![0.0; 300];
    logits[usize::from(b'"')] = 3.0;
    for rare in [b'\\', b' ', b'\n', b'\t'] {
        logits[usize::from(rare)] = -2.0;
    }
    let mut text = String::new();
    loop {
        match generator.choose(&logits).unwrap() {
            Chosen::Token(token) => text.push_str(&token.text),
            Chosen::End(reason) => {
                text.push_str(&generator.finish());
                return (text, reason);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_is_said_within_a_schema_is_a_value_of_it(
        schema in schemas::any_schema(),
        seed: u64,
    ) {
        let (text, reason) = said(&Grammar::json_schema(schema.clone()), seed);
        if reason == StopReason::EndOfTurn {
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert!(schemas::is_of(&value, &schema), "{schema}\n{text}");
        } else {
            prop_assert_eq!(reason, StopReason::MaxTokens);
        }
    }
}

#[test]
fn a_model_of_random_weights_answers_within_a_schema_and_the_same_each_time() {
    let mut spec = SynthSpec {
        layers: 1,
        d_model: 32,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        d_ff: 64,
        context: 512,
        types: TypeMix::uniform(TensorType::F32),
        ..SynthSpec::preset("tiny").unwrap()
    };
    spec.vocabulary = spec.minimum_vocabulary();
    let gguf = Gguf::parse(spec.to_bytes().unwrap()).unwrap();
    let engine =
        Engine::from_gguf(&gguf, 512, Compute::new(NonZeroUsize::new(1)).unwrap()).unwrap();
    let schema = json!({
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green"]},
            "sizes": {"type": "array", "items": {"type": "integer", "maximum": 9, "minimum": 0},
                "minItems": 2, "maxItems": 4},
        },
        "required": ["colour", "sizes"],
        "additionalProperties": false,
    });
    for seed in 0..3 {
        let texts = [(); 2].map(|()| {
            let mask = engine.grammars().unwrap();
            let mask = mask.mask(&Grammar::json_schema(schema.clone())).unwrap();
            let options = GenerateOptions {
                sampling: SamplerSettings {
                    seed,
                    temperature: 2.0,
                    ..SamplerSettings::default()
                },
                ..GenerateOptions::default()
            };
            let prompt = engine.tokenizer().encode("Once", SpecialTokens::AsText);
            let generator = Generator::new(engine.tokenizer(), options, prompt.clone());
            answer(&engine, &prompt, generator.with_mask(mask))
        });
        assert_eq!(texts[0], texts[1]);
        let value: Value = serde_json::from_str(&texts[0]).unwrap();
        assert!(schemas::is_of(&value, &schema), "{value}");
    }
}

/// A model's complete answer.
fn answer(engine: &Engine, prompt: &[TokenId], mut generator: Generator<'_>) -> String {
    let mut session = engine.new_session().unwrap();
    let mut text = String::new();
    let mut next = prompt.to_vec();
    loop {
        let chosen = engine.prefill(&mut session, &next, &mut |_| true, |logits| {
            generator.choose(logits)
        });
        match chosen.unwrap().unwrap().unwrap() {
            Chosen::Token(token) => {
                text.push_str(&token.text);
                next = vec![token.id];
            }
            Chosen::End(reason) => {
                assert_eq!(reason, StopReason::EndOfTurn);
                return text + &generator.finish();
            }
        }
    }
}
