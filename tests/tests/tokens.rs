//! Token ids equal llama.cpp's, as recorded by `tests/compare/tokenizer.py`.

use std::collections::HashSet;

use potluck_model::gguf::Gguf;
use potluck_model::tokenizer::{
    SpecialTokens, Texts, TokenId, TokenKind, Tokenizer, VocabularyFields,
};
use potluck_tests::model_path;
use serde_json::Value;

/// A recorded text and its ids, by model or pre-tokenizer.
struct Recorded {
    text: String,
    ids: Vec<(String, Vec<TokenId>)>,
}

fn recorded(lines: &str) -> Vec<Recorded> {
    lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("the golden file is JSON lines");
            let ids = line["ids"].as_object().expect("ids are an object");
            Recorded {
                text: line["text"].as_str().expect("a text is a string").into(),
                ids: ids
                    .iter()
                    .map(|(name, ids)| (name.clone(), numbers(ids)))
                    .collect(),
            }
        })
        .collect()
}

fn numbers(ids: &Value) -> Vec<TokenId> {
    let number = |id: &Value| id.as_u64().and_then(|id| id.try_into().ok());
    let ids = ids.as_array().expect("ids are a list");
    ids.iter()
        .map(|id| number(id).expect("an id is a number"))
        .collect()
}

fn check(name: &str, tokenizer: &Tokenizer, recorded: &[Recorded]) {
    for Recorded { text, ids } in recorded {
        let expected = ids.iter().find(|ids| ids.0 == name).map(|ids| &ids.1);
        let actual = tokenizer.encode(text, SpecialTokens::Parse);
        assert_eq!(Some(&actual), expected, "{name}: {text:?}");
    }
}

#[test]
fn real_vocabularies_give_the_recorded_ids() {
    let recorded = recorded(include_str!("../data/tokens.jsonl"));
    for name in ["smollm2:135m", "gemma3:270m"] {
        let gguf = Gguf::open(&model_path(name)).expect("the file is good");
        let tokenizer = Tokenizer::from_metadata(gguf.metadata()).expect("the tokenizer is good");
        check(name, &tokenizer, &recorded);
    }
}

#[test]
fn every_pre_tokenizer_cuts_as_recorded() {
    let recorded = recorded(include_str!("../data/pre_tokenizers.jsonl"));
    let (tokens, merges) = pieces(&recorded);
    let mut kinds = vec![Some(TokenKind::Normal); tokens.len() - 1];
    kinds.push(Some(TokenKind::Control));
    for (pre, _) in &recorded[0].ids {
        let tokenizer = Tokenizer::from_fields(VocabularyFields {
            model: "gpt2".into(),
            pre: Some(pre.clone()),
            tokens: Texts::pack(&tokens).expect("small"),
            merges: Some(Texts::pack(&merges).expect("small")),
            kinds: kinds.clone(),
            ..Default::default()
        });
        check(pre, &tokenizer.expect("the fields are good"), &recorded);
    }
}

/// Tokens and merges of the vocabulary with every piece of up to four bytes of the texts, as
/// `write_pre_model` in `tokenizer.py` makes it.
fn pieces(recorded: &[Recorded]) -> (Vec<String>, Vec<String>) {
    let alphabet = byte_alphabet();
    let mut met = HashSet::new();
    let mut pieces = Vec::new();
    for Recorded { text, .. } in recorded {
        let written: Vec<char> = text.bytes().map(|b| alphabet[usize::from(b)]).collect();
        for start in 0..written.len() {
            for end in start + 2..=written.len().min(start + 4) {
                let piece = written[start..end].to_vec();
                if met.insert(piece.clone()) {
                    pieces.push(piece);
                }
            }
        }
    }
    pieces.sort_by_key(Vec::len);
    let text = |chars: &[char]| chars.iter().collect::<String>();
    let ways = |piece: &Vec<char>| {
        let cuts = 1..piece.len();
        cuts.map(|cut| text(&piece[..cut]) + " " + &text(&piece[cut..]))
            .collect::<Vec<_>>()
    };
    let merges = pieces.iter().flat_map(ways).collect();
    let mut tokens: Vec<String> = alphabet.into_iter().map(String::from).collect();
    tokens.extend(pieces.iter().map(|piece| text(piece)));
    tokens.push("<|end|>".into());
    (tokens, merges)
}

/// The printable character of each byte, as GPT-2 chose them.
fn byte_alphabet() -> Vec<char> {
    let mut others = '\u{100}'..;
    let stands_for_itself = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..);
    (0..=255)
        .map(|byte| {
            if stands_for_itself(byte) {
                byte.into()
            } else {
                others.next().expect("characters go on")
            }
        })
        .collect()
}
