//! Any text becomes tokens of the vocabulary, and with byte-level BPE comes back as it went.
//!
//! The first byte of the input chooses the tokenizer, the rest is the text.

use std::sync::LazyLock;

use potluck_model::tokenizer::{SpecialTokens, Texts, TokenKind, Tokenizer, VocabularyFields};

const PRE_TOKENIZERS: [&str; 17] = [
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
];

const SPECIAL: [(&str, TokenKind); 6] = [
    ("<|im_start|>", TokenKind::Control),
    ("<|im_end|>", TokenKind::Control),
    ("<|", TokenKind::UserDefined),
    ("\n\n", TokenKind::UserDefined),
    ("\n\n\n", TokenKind::UserDefined),
    ("|>\n", TokenKind::Unknown),
];

/// Byte-level BPE in the order of [`PRE_TOKENIZERS`], then SentencePiece.
static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let mut tokenizers: Vec<_> = PRE_TOKENIZERS.into_iter().map(byte_pairs).collect();
    tokenizers.push(sentence_pieces());
    tokenizers
});

fn byte_pairs(pre: &str) -> Tokenizer {
    let mut others = '\u{100}'..;
    let mut tokens: Vec<String> = (0..=255_u8)
        .map(|byte| match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae.. => char::from(byte).into(),
            _ => others.next().expect("characters go on").into(),
        })
        .collect();
    let merges = [
        "a a", "aa aa", "Ġ a", "h e", "l l", "he ll", "Ã ¼", "ł ł", "ę Ģ", "1 2", "Ċ Ċ",
    ];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    build("gpt2", Some(pre), tokens, Vec::new(), Some(&merges))
}

fn sentence_pieces() -> Tokenizer {
    let mut tokens: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    let pieces = [
        "▁", "a", "aa", "aaaa", "▁a", "▁▁", "ü", "語", "l", "ll", "he", "hell", "h", "e",
    ];
    tokens.extend(pieces.map(String::from));
    let scores = (0..tokens.len() + SPECIAL.len()).map(|id| (id * 7 % 13) as f32 - 9.0);
    build("llama", None, tokens, scores.collect(), None)
}

fn build(
    model: &str,
    pre: Option<&str>,
    mut tokens: Vec<String>,
    scores: Vec<f32>,
    merges: Option<&[&str]>,
) -> Tokenizer {
    let mut kinds = vec![Some(TokenKind::Normal); tokens.len()];
    if model == "llama" {
        kinds[..256].fill(Some(TokenKind::Byte));
    }
    for (text, kind) in SPECIAL {
        tokens.push(text.into());
        kinds.push(Some(kind));
    }
    Tokenizer::from_fields(VocabularyFields {
        model: model.into(),
        pre: pre.map(String::from),
        tokens: Texts::pack(tokens).expect("small"),
        merges: merges.map(|merges| Texts::pack(merges).expect("small")),
        kinds,
        scores,
        ..Default::default()
    })
    .expect("the fields are good")
}

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let Some((&choice, text)) = input.split_first() else {
        return;
    };
    let choice = usize::from(choice) % TOKENIZERS.len();
    let tokenizer = &TOKENIZERS[choice];
    for special in [SpecialTokens::Parse, SpecialTokens::AsText] {
        let ids = tokenizer.encode_bytes(text, special);
        let mut bytes = Vec::new();
        let mut shown = String::new();
        let mut decoder = tokenizer.decoder().with_special();
        for &id in &ids {
            assert!((id as usize) < tokenizer.vocabulary_size());
            bytes.extend_from_slice(&tokenizer.token_bytes(id));
            shown.push_str(decoder.push(id));
            assert!(!tokenizer.token_text(id).is_empty());
        }
        shown.push_str(decoder.finish());
        assert_eq!(shown, String::from_utf8_lossy(&bytes));
        let is_byte_pairs = choice < PRE_TOKENIZERS.len();
        if let (true, Ok(text)) = (is_byte_pairs, str::from_utf8(text)) {
            assert_eq!(shown, text);
        }
    }
}
