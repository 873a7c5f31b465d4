//! Small complete tokenizers, filled up to any size.

use std::collections::HashSet;

use super::super::{Array, GgufWriter, Value};
use super::spec::Architecture;

/// `tokenizer.ggml.token_type` numbers.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Words that both tokenizers can build, most frequent first, each from left to right.
const WORDS: &str = "the of and to in is that it for was on are as with be at by this had not but \
    from have an they which one you were all her she there would their we him been has when who \
    will no more if out so what up said about than into them can only other time new some could \
    these two may first then do any like my now over such our man even most made after also well \
    way down should because each just people how too little good world very year still see own \
    work long get here between both life being under never day same another know year sky blue \
    light model phone layer token together answer question why where";

/// Turns between `<|im_start|>` and `<|im_end|>`.
const CHATML_TEMPLATE: &str = "{%- for message in messages -%}\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
    {%- endfor -%}\
    {%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

/// Turns between `<start_of_turn>` and `<end_of_turn>`, the assistant's in the name of the model.
const TURNS_TEMPLATE: &str = "{{ bos_token }}\
    {%- for message in messages -%}\
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}\
    {{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}\
    {%- endfor -%}\
    {%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}";

/// Special tokens of the byte-level tokenizer, from id 0.
const BYTE_LEVEL_SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Special tokens of the SentencePiece tokenizer, from id 0, and their types.
const SENTENCE_PIECE_SPECIALS: [(&str, i32); 7] = [
    ("<pad>", CONTROL),
    ("<eos>", CONTROL),
    ("<bos>", CONTROL),
    ("<unk>", UNKNOWN),
    ("<start_of_turn>", CONTROL),
    ("<end_of_turn>", CONTROL),
    ("\n", USER_DEFINED),
];
/// How SentencePiece writes a space, and how the GPT-2 alphabet does.
const PIECE_SPACE: char = '▁';
const BYTE_LEVEL_SPACE: char = 'Ġ';

/// The fewest tokens that make a complete tokenizer: the special ones, the 256 bytes and, for
/// SentencePiece, the space.
pub(super) const fn minimum(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::Gemma3 => SENTENCE_PIECE_SPECIALS.len() as u32 + 256 + 1,
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => {
            BYTE_LEVEL_SPECIALS.len() as u32 + 256
        }
    }
}

/// Writes the tokenizer's keys; `size` is at least [`minimum`].
pub(super) fn write(architecture: Architecture, size: u32, writer: &mut GgufWriter) {
    match architecture {
        Architecture::Gemma3 => write_sentence_piece(size as usize, writer),
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => {
            write_byte_level(size as usize, writer);
        }
    }
}

/// Byte-level byte-pair encoding, as GPT-2's.
fn write_byte_level(size: usize, writer: &mut GgufWriter) {
    let mut vocabulary = Vocabulary::new(size);
    for text in BYTE_LEVEL_SPECIALS {
        vocabulary.push(text, CONTROL, 0.0);
    }
    for byte in 0..=255 {
        vocabulary.push(&byte_symbol(byte).to_string(), NORMAL, 0.0);
    }
    let mut merges = Vec::new();
    for pair in merges_of_words(BYTE_LEVEL_SPACE) {
        let [left, right] = pair;
        if vocabulary.push(&format!("{left}{right}"), NORMAL, 0.0) {
            merges.push(format!("{left} {right}"));
        }
    }
    vocabulary.fill(BYTE_LEVEL_SPACE);

    writer
        .metadata("tokenizer.ggml.model", &Value::string("gpt2"))
        .metadata("tokenizer.ggml.pre", &Value::string("gpt-2"));
    vocabulary.write(writer);
    writer
        .metadata(
            "tokenizer.ggml.merges",
            &Value::Array(Array::strings(merges)),
        )
        .metadata("tokenizer.ggml.bos_token_id", &Value::U32(0))
        .metadata("tokenizer.ggml.eos_token_id", &Value::U32(2))
        .metadata("tokenizer.ggml.padding_token_id", &Value::U32(0))
        .metadata("tokenizer.ggml.add_bos_token", &Value::Bool(false))
        .metadata("tokenizer.ggml.add_space_prefix", &Value::Bool(false))
        .metadata("tokenizer.chat_template", &Value::string(CHATML_TEMPLATE));
}

/// Pieces with scores, and a token for each byte that no piece covers.
fn write_sentence_piece(size: usize, writer: &mut GgufWriter) {
    let mut vocabulary = Vocabulary::new(size);
    for (text, token_type) in SENTENCE_PIECE_SPECIALS {
        vocabulary.push(text, token_type, -1000.0);
    }
    for byte in 0..=255 {
        vocabulary.push(&format!("<0x{byte:02X}>"), BYTE, 0.0);
    }
    // Single characters are never merged into, so their scores have no effect.
    vocabulary.push(&PIECE_SPACE.to_string(), NORMAL, -1000.0);
    for character in ' '..='~' {
        if character != ' ' {
            vocabulary.push(&character.to_string(), NORMAL, -1000.0);
        }
    }
    for (rank, pair) in merges_of_words(PIECE_SPACE).into_iter().enumerate() {
        vocabulary.push(&pair.concat(), NORMAL, -(rank as f32));
    }
    vocabulary.fill(PIECE_SPACE);

    writer
        .metadata("tokenizer.ggml.model", &Value::string("llama"))
        .metadata("tokenizer.ggml.pre", &Value::string("default"));
    vocabulary.write(writer);
    writer
        .metadata(
            "tokenizer.ggml.scores",
            &Value::Array(Array::numbers(vocabulary.scores)),
        )
        .metadata("tokenizer.ggml.bos_token_id", &Value::U32(2))
        .metadata("tokenizer.ggml.eos_token_id", &Value::U32(1))
        .metadata("tokenizer.ggml.eot_token_id", &Value::U32(5))
        .metadata("tokenizer.ggml.unknown_token_id", &Value::U32(3))
        .metadata("tokenizer.ggml.padding_token_id", &Value::U32(0))
        .metadata("tokenizer.ggml.add_bos_token", &Value::Bool(true))
        .metadata("tokenizer.ggml.add_eos_token", &Value::Bool(false))
        .metadata("tokenizer.ggml.add_space_prefix", &Value::Bool(false))
        .metadata("tokenizer.chat_template", &Value::string(TURNS_TEMPLATE));
}

/// Tokens in the order of their ids, up to a size.
struct Vocabulary {
    size: usize,
    texts: Vec<String>,
    types: Vec<i32>,
    scores: Vec<f32>,
    known: HashSet<String>,
}

impl Vocabulary {
    fn new(size: usize) -> Self {
        Self {
            size,
            texts: Vec::with_capacity(size),
            types: Vec::with_capacity(size),
            scores: Vec::with_capacity(size),
            known: HashSet::new(),
        }
    }

    /// Adds a token if it is new and there is room, and says whether it was added.
    fn push(&mut self, text: &str, token_type: i32, score: f32) -> bool {
        if self.texts.len() == self.size || !self.known.insert(text.to_owned()) {
            return false;
        }
        self.texts.push(text.to_owned());
        self.types.push(token_type);
        self.scores.push(score);
        true
    }

    /// Adds ` w7000`, ` w7001`, … up to the size, after every word that means something.
    fn fill(&mut self, space: char) {
        for id in self.texts.len()..self.size {
            self.texts.push(format!("{space}w{id}"));
            self.types.push(NORMAL);
            self.scores.push(-1e6);
        }
    }

    fn write(&self, writer: &mut GgufWriter) {
        let texts = Array::strings(&self.texts);
        let types = Array::numbers(self.types.iter().copied());
        writer
            .metadata("tokenizer.ggml.tokens", &Value::Array(texts))
            .metadata("tokenizer.ggml.token_type", &Value::Array(types));
    }
}

/// The merges that build each word after a space, from left to right; those of frequent words
/// first, none twice.
fn merges_of_words(space: char) -> Vec<[String; 2]> {
    let mut known = HashSet::new();
    let mut merges = Vec::new();
    for word in WORDS.split_whitespace() {
        let mut left = space.to_string();
        for character in word.chars() {
            let right = character.to_string();
            let merged = format!("{left}{right}");
            if known.insert(merged.clone()) {
                merges.push([left, right]);
            }
            left = merged;
        }
    }
    merges
}

/// The character that stands for a byte in byte-level vocabularies: itself where printable, else
/// the next unused one from U+0100 on (Radford et al. 2019, `bytes_to_unicode`).
fn byte_symbol(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let unprintable_before = (0..byte).filter(|&before| !printable(before)).count() as u32;
    char::from_u32(0x100 + unprintable_before).expect("at most 256 past U+0100, all characters")
}
