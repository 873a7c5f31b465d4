#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the error"
)]

use proptest::prelude::*;

use super::*;

/// Byte-level BPE over all bytes, with a few merges and special tokens.
pub(crate) fn byte_pairs(change: impl FnOnce(&mut VocabularyFields)) -> Tokenizer {
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ w", "Ð ¿"];
    let mut tokens: Vec<String> = (0..=255).map(|b| alphabet::char_of(b).into()).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut kinds = vec![Some(TokenKind::Normal); tokens.len()];
    for (text, kind) in [
        ("<|im_start|>", TokenKind::Control),
        ("<|im_end|>", TokenKind::Control),
        ("<|im_end|>\n", TokenKind::Control),
        ("<tool>", TokenKind::UserDefined),
        ("  ", TokenKind::UserDefined),
        ("", TokenKind::Unused),
        ("", TokenKind::Unused),
    ] {
        tokens.push(text.into());
        kinds.push(Some(kind));
    }
    let mut fields = VocabularyFields {
        model: "gpt2".into(),
        pre: Some("gpt-2".into()),
        tokens: Texts::pack(tokens).unwrap(),
        kinds,
        merges: Some(Texts::pack(merges).unwrap()),
        bos: Some(256 + 7),
        eos: Some(256 + 8),
        ..Default::default()
    };
    change(&mut fields);
    Tokenizer::from_fields(fields).unwrap()
}

/// SentencePiece with byte tokens for a few bytes.
fn sentence_pieces(change: impl FnOnce(&mut VocabularyFields)) -> Tokenizer {
    let tokens = [
        ("<unk>", TokenKind::Unknown, 0.0),
        ("<s>", TokenKind::Control, 0.0),
        ("</s>", TokenKind::Control, 0.0),
        ("<0xE8>", TokenKind::Byte, 0.0),
        ("<0xAA>", TokenKind::Byte, 0.0),
        ("<0x9E>", TokenKind::Byte, 0.0),
        ("▁", TokenKind::Normal, -9.0),
        ("a", TokenKind::Normal, -9.0),
        ("b", TokenKind::Normal, -9.0),
        ("ab", TokenKind::Normal, -2.0),
        ("▁a", TokenKind::Normal, -3.0),
        ("▁ab", TokenKind::Normal, -4.0),
        ("ba", TokenKind::Normal, -1.0),
        ("<h1>", TokenKind::UserDefined, 0.0),
    ];
    let mut fields = VocabularyFields {
        model: "llama".into(),
        tokens: Texts::pack(tokens.map(|token| token.0)).unwrap(),
        kinds: tokens.map(|token| Some(token.1)).into(),
        scores: tokens.map(|token| token.2).into(),
        ..Default::default()
    };
    change(&mut fields);
    Tokenizer::from_fields(fields).unwrap()
}

fn pieces(tokenizer: &Tokenizer, text: &str, special: SpecialTokens) -> Vec<String> {
    let ids = tokenizer.encode(text, special);
    ids.iter().map(|&id| tokenizer.token_text(id)).collect()
}

#[test]
fn merges_apply_by_rank_within_words() {
    let tokenizer = byte_pairs(|_| ());
    let split = |text| pieces(&tokenizer, text, SpecialTokens::Parse);
    assert_eq!(split("hello hello"), ["hello", " hello"]);
    assert_eq!(split("hell w"), ["hell", " w"]);
    assert_eq!(split("llo"), ["ll", "o"]);
    assert_eq!(split(""), [""; 0]);
    assert_eq!(split("п"), ["п"]);
    assert_eq!(split("р"), ["\\xd1", "\\x80"]);
}

fn bars(places: &[usize]) -> Said<'_> {
    Said {
        places,
        ..Said::default()
    }
}

#[test]
fn bytes_that_were_said_are_in_no_control_token() {
    let tokenizer = byte_pairs(|_| ());
    let text = "<|im_start|><|im_end|>\n<|im_start|><tool>";
    let structure = |said: &[usize]| {
        let tokens = tokenizer.structure_of(text, bars(said));
        tokens
            .iter()
            .map(|&id| tokenizer.token_text(id))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        structure(&[]),
        ["<|im_start|>", "<|im_end|>\\n", "<|im_start|>"]
    );
    assert_eq!(structure(&[0, 23]), ["<|im_end|>\\n"]);
    assert_eq!(
        structure(&[22]),
        ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    );
    let tokens = tokenizer.encode_rendered(text, bars(&[0, 12, 23, 35]));
    assert!(tokens.iter().all(|&id| !tokenizer.is_structure(id)));
    assert_eq!(tokenizer.token_text(tokens[tokens.len() - 1]), "<tool>");
    assert_eq!(tokenizer.decode(&tokens), text);
}

#[test]
fn control_tokens_are_parsed_only_on_request_and_pieces_of_text_always() {
    let tokenizer = byte_pairs(|_| ());
    let parsed = pieces(
        &tokenizer,
        "<|im_start|>hello<|im_end|>\n<tool>",
        SpecialTokens::Parse,
    );
    assert_eq!(parsed, ["<|im_start|>", "hello", "<|im_end|>\\n", "<tool>"]);
    let plain = tokenizer.encode("<|im_start|><tool>", SpecialTokens::AsText);
    assert_eq!(plain.len(), "<|im_start|>".len() + 1);
    // Two spaces are a token of their own; the rest does not merge across it.
    let spaced = pieces(&tokenizer, "hello   hello", SpecialTokens::AsText);
    assert_eq!(spaced, ["hello", "  ", " hello"]);
}

#[test]
fn an_ordinary_piece_of_html_ends_nothing() {
    // As in Qwen vocabularies: one token that is ordinary text, and another that ends turns.
    let with_tag = |kind, eos| {
        byte_pairs(|fields| {
            let mut tokens: Vec<String> = fields.tokens.iter().map(utf8).collect();
            tokens.push("</s>".into());
            fields.tokens = Texts::pack(tokens).unwrap();
            fields.kinds.push(Some(kind));
            fields.eos = Some(eos);
        })
    };
    let (im_end, tag) = (264, 270);
    let qwen = with_tag(TokenKind::Normal, im_end);
    assert_eq!(qwen.ends(), [im_end]);
    assert!(!qwen.is_structure(tag));
    assert_eq!(
        qwen.encode("a</s>b", SpecialTokens::Parse).len(),
        6,
        "no token is looked for before the text is cut into words"
    );
    assert!(with_tag(TokenKind::Control, im_end).is_end(tag));
    assert!(
        with_tag(TokenKind::Normal, tag).is_end(tag),
        "the file says so"
    );
}

fn utf8(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[test]
fn ends_are_given_or_known_by_name() {
    let tokenizer = byte_pairs(|fields| fields.eos = Some(3));
    assert!(tokenizer.is_end(3) && tokenizer.is_end(256 + 8));
    assert!(!tokenizer.is_end(256 + 7) && !tokenizer.is_end(u32::MAX));
    assert_eq!(tokenizer.ends(), [3, 256 + 8]);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(263), Some(3)));
}

#[test]
fn bos_is_added_as_the_file_or_the_kind_of_tokenizer_says() {
    assert!(!byte_pairs(|_| ()).adds_bos());
    assert!(byte_pairs(|fields| fields.pre = Some("llama-bpe".into())).adds_bos());
    assert!(!byte_pairs(|fields| (fields.add_bos, fields.bos) = (Some(true), None)).adds_bos());
    assert!(
        !byte_pairs(|fields| (fields.add_bos, fields.bos) = (Some(true), Some(9999))).adds_bos()
    );
    assert!(sentence_pieces(|_| ()).adds_bos());
    assert!(!sentence_pieces(|fields| fields.add_bos = Some(false)).adds_bos());
    let tokenizer = byte_pairs(|fields| fields.add_bos = Some(true));
    assert_eq!(tokenizer.encode_prompt("", SpecialTokens::Parse), [263]);
    assert_eq!(tokenizer.encode("", SpecialTokens::Parse), [0; 0]);
}

#[test]
fn scores_decide_what_joins_and_bytes_spell_the_rest() {
    let tokenizer = sentence_pieces(|_| ());
    let split = |text| pieces(&tokenizer, text, SpecialTokens::Parse);
    // "ba" has the best score.
    assert_eq!(split("aba"), [" a", "ba"]);
    assert_eq!(split("ab"), [" ab"]);
    assert_eq!(split("語"), [" ", "\\xe8", "\\xaa", "\\x9e"]);
    // The bytes of "z" have no token.
    assert_eq!(split("z"), [" ", "<unk>"]);
    // Text after a special token gets a leading space, text after text does not.
    assert_eq!(split("a<h1>a"), [" a", "<h1>", " a"]);
    let bare = sentence_pieces(|fields| fields.add_space_prefix = Some(false));
    assert_eq!(pieces(&bare, "a a", SpecialTokens::Parse), ["a", " a"]);
    assert_eq!(
        bare.encode_bytes(b"\xe8a\xff", SpecialTokens::Parse),
        [3, 7, 0]
    );
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("語 ab", SpecialTokens::Parse)),
        "語 ab"
    );
}

#[test]
fn longer_special_tokens_go_first_wherever_they_are() {
    let tokenizer = byte_pairs(|fields| {
        let texts = fields.tokens.iter().map(<[u8]>::to_vec);
        let texts = texts.chain(["ab", "bcd", "aa"].map(|text| text.as_bytes().to_vec()));
        fields.tokens = Texts::pack(texts.collect::<Vec<_>>()).unwrap();
        fields.kinds.extend([Some(TokenKind::UserDefined); 3]);
    });
    let split = |text| pieces(&tokenizer, text, SpecialTokens::AsText);
    assert_eq!(split("abcd"), ["a", "bcd"]);
    // Of equal length, the lower id comes first.
    assert_eq!(split("aaab"), ["aa", "ab"]);
    assert_eq!(split("aab"), ["a", "ab"]);
}

#[test]
fn phi3_drops_space_after_special_tokens() {
    let tokenizer = byte_pairs(|fields| fields.name = Some("Phi-3 mini".into()));
    let split = pieces(&tokenizer, "<|im_end|> \n\x0bhello", SpecialTokens::Parse);
    assert_eq!(split, ["<|im_end|>", "hello"]);
}

#[test]
fn invalid_bytes_become_replacement_characters_for_byte_pairs() {
    let tokenizer = byte_pairs(|_| ());
    let ids = tokenizer.encode_bytes(b"h\xff\xe2\x82", SpecialTokens::Parse);
    assert_eq!(tokenizer.decode(&ids), "h\u{fffd}\u{fffd}\u{fffd}");
}

#[test]
fn the_decoder_waits_for_whole_characters() {
    let tokenizer = byte_pairs(|_| ());
    let mut decoder = tokenizer.decoder();
    let byte = |byte: u8| tokenizer.encode_bytes(&[byte], SpecialTokens::AsText)[0];
    let [a, b, c] = ["語".as_bytes()[0], "語".as_bytes()[1], "語".as_bytes()[2]].map(u32::from);
    assert_eq!(decoder.push(a), "");
    assert_eq!(decoder.push(b), "");
    assert_eq!(decoder.push(c), "語");
    assert_eq!(decoder.push(a), "");
    assert_eq!(decoder.push(byte(b'x')), "\u{fffd}x");
    assert_eq!(decoder.push(0xff), "\u{fffd}");
    assert_eq!(decoder.push(256 + 7), "");
    assert_eq!(decoder.push(u32::MAX), "");
    assert_eq!(decoder.push(a), "");
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(
        tokenizer.decoder().with_special().push(256 + 7),
        "<|im_start|>"
    );
    assert_eq!(tokenizer.decoder().finish(), "");
    let mut decoder = tokenizer.decoder().with_shown([256 + 7]);
    assert_eq!(decoder.push(256 + 7), "<|im_start|>");
    assert_eq!(decoder.push(256 + 8), "");
}

#[test]
fn contradictory_fields_are_refused() {
    let with = |change: &dyn Fn(&mut VocabularyFields)| {
        let mut fields = VocabularyFields {
            model: "llama".into(),
            tokens: Texts::pack(["a", "b"]).unwrap(),
            ..Default::default()
        };
        change(&mut fields);
        Tokenizer::from_fields(fields)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let is = |message: String, start: &str| assert!(message.starts_with(start), "{message}");
    is(
        with(&|fields| fields.tokens = Texts::default()),
        "the vocabulary is empty",
    );
    is(
        with(&|fields| fields.model = "bert".into()),
        "tokenizer model `bert`",
    );
    is(
        with(&|fields| fields.scores = vec![1.0]),
        "metadata key `tokenizer.ggml.scores` has 1",
    );
    is(
        with(&|fields| fields.kinds = vec![None]),
        "metadata key `tokenizer.ggml.token_type`",
    );
    is(
        with(&|fields| fields.scores = vec![1.0, f32::NAN]),
        "metadata key `tokenizer.ggml.scores` must be numbers, and that of token 1 is NaN",
    );
    is(
        with(&|fields| fields.tokens = Texts::pack(["a", "b", "a"]).unwrap()),
        "tokens 0 and 2 have the same text",
    );
    is(
        with(&|fields| fields.model = "gpt2".into()),
        "metadata key `tokenizer.ggml.merges` is missing",
    );
}

proptest! {
    #[test]
    fn byte_pairs_come_back_as_they_went(text in "\\PC{0,60}|[hel<|im_start>\\n ]{0,60}") {
        let tokenizer = byte_pairs(|_| ());
        let ids = tokenizer.encode(&text, SpecialTokens::AsText);
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }

    #[test]
    fn decoding_piecewise_is_decoding_at_once(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let tokenizer = byte_pairs(|_| ());
        let mut decoder = tokenizer.decoder();
        let mut text = String::new();
        for &byte in &bytes {
            text.push_str(decoder.push(byte.into()));
        }
        text.push_str(decoder.finish());
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_encode(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for tokenizer in [byte_pairs(|_| ()), sentence_pieces(|_| ())] {
            let size = tokenizer.vocabulary_size() as TokenId;
            let ids = tokenizer.encode_bytes(&bytes, SpecialTokens::Parse);
            prop_assert!(ids.iter().all(|&id| id < size));
        }
    }
}
