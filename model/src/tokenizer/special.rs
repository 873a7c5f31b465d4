//! Identifies the tokens that start and end a text or a turn.
//!
//! Files name a few ids and often omit the most important one, the end of a turn. So, like
//! llama.cpp, we also identify tokens by their texts. The names are those of its `llama-vocab.cpp`.

use super::TokenId;
use super::vocabulary::{Kinds, TokenKind, Vocabulary};

/// Ids from the file, already checked to be in the vocabulary.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GivenIds {
    pub(super) eos: Option<TokenId>,
    pub(super) eot: Option<TokenId>,
    pub(super) eom: Option<TokenId>,
    pub(super) fim_pad: Option<TokenId>,
    pub(super) fim_repo: Option<TokenId>,
    pub(super) fim_separator: Option<TokenId>,
}

/// Texts of tokens that end the model's output.
const END: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    PART_END,
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    HTML_TAG,
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// The end of a text in many vocabularies, but an HTML tag in others.
const HTML_TAG: &str = "</s>";

/// Texts of tokens around code to be filled in; they do not end the output.
const FILL_IN: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

// Padding, repository name and file separator of fill-in prompts: in output, they end the code.
const FILL_IN_PAD: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FILL_IN_REPO: &[&str] = &[
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
];
const FILL_IN_SEPARATOR: &[&str] = &["<|file_sep|>"];

/// Tokens around the parts of a message. They are shown.
pub(super) const SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Whether a text is a name between two signs, like the names of control tokens.
pub(super) fn is_markup(text: &str) -> bool {
    let is_sign = |char: char| {
        let of_word = char.is_alphanumeric() || char.is_whitespace();
        !of_word && char != '_' && !super::SPACE_SIGN.contains(char)
    };
    let named = text.contains(|char: char| char.is_alphanumeric());
    named && text.starts_with(is_sign) && text.ends_with(is_sign)
}

/// The end of a message, or of a part of one. In the latter case it is shown too.
pub(super) const PART_END: &str = "<|end|>";

/// Marks the tokens whose texts identify them as control tokens. Returns the tokens that end the
/// model's output, ascending.
pub(super) fn find_ends(vocabulary: &mut Vocabulary, given: GivenIds) -> Box<[TokenId]> {
    let mut ends: Vec<TokenId> = [given.eos, given.eot, given.eom]
        .into_iter()
        .flatten()
        .collect();
    for &name in FILL_IN {
        mark_as_control(vocabulary, name);
    }
    for (given, names) in [
        (given.fim_pad, FILL_IN_PAD),
        (given.fim_repo, FILL_IN_REPO),
        (given.fim_separator, FILL_IN_SEPARATOR),
    ] {
        let named = |vocabulary: &mut Vocabulary| {
            let mut names = names.iter();
            names.find_map(|name| mark_as_control(vocabulary, name))
        };
        ends.extend(given.or_else(|| named(vocabulary)));
    }
    // Do not treat ordinary text as a control token by this name, as in Qwen vocabularies: unlike
    // the other names, this one occurs in the text of users and models. (llama.cpp ends answers
    // there.)
    let tag = vocabulary.find(HTML_TAG.as_bytes());
    let is_text = tag.is_some_and(|id| {
        vocabulary.kinds(id) == Kinds::of(Some(TokenKind::Normal)) && !ends.contains(&id)
    });
    let names = END.iter().filter(|&&name| !(is_text && name == HTML_TAG));
    ends.extend(names.filter_map(|name| mark_as_control(vocabulary, name)));
    let token = |vocabulary: &Vocabulary, name: &str| vocabulary.find(name.as_bytes());
    for name in SHOWN {
        if let Some(id) = token(vocabulary, name) {
            vocabulary.set_kinds(id, Kinds::of(Some(TokenKind::UserDefined)));
        }
    }

    // If `<|end|>` only ends a part of a message, other tokens end the message.
    let has = |vocabulary: &Vocabulary, name| token(vocabulary, name).is_some();
    let has_call = has(vocabulary, "<|call|>") || has(vocabulary, "<|calls|>");
    let has_other_end = has(vocabulary, "<|return|>") || has(vocabulary, "<|flush|>");
    if has_call && has_other_end {
        demote(vocabulary, &mut ends, PART_END, TokenKind::UserDefined);
    }
    // If turns end otherwise, this is the HTML tag, whatever its kind.
    if has(vocabulary, "<|tool_response>") {
        demote(vocabulary, &mut ends, HTML_TAG, TokenKind::Normal);
    }
    ends.sort_unstable();
    ends.dedup();
    ends.into()
}

fn mark_as_control(vocabulary: &mut Vocabulary, name: &str) -> Option<TokenId> {
    let id = vocabulary.find(name.as_bytes())?;
    vocabulary.set_kinds(id, vocabulary.kinds(id).with(TokenKind::Control));
    Some(id)
}

fn demote(vocabulary: &mut Vocabulary, ends: &mut Vec<TokenId>, name: &str, kind: TokenKind) {
    if let Some(id) = vocabulary.find(name.as_bytes()) {
        ends.retain(|&end| end != id);
        vocabulary.set_kinds(id, Kinds::of(Some(kind)));
    }
}
