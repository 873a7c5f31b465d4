//! The pre-tokenizers by name, with their patterns.

use super::PreTokenizer;
use super::glyph::Glyph;
use super::stage::{CasedRules, Stage, WordRules};
use crate::tokenizer::TokenizerError;

impl PreTokenizer {
    /// The pre-tokenizer with this name, or the default for files without a name.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownPreTokenizer`].
    pub(in crate::tokenizer) fn named(name: Option<&str>) -> Result<Self, TokenizerError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(DEFAULT);
        };
        Ok(match name {
            "default" => DEFAULT,
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" | "jina-v5-nano" => LLAMA3.with_whole_words().with_bos(),
            "glm4" | "glm5" => LLAMA3.with_whole_words(),
            "dbrx" | "smaug-bpe" | "chatglm-bpe" => LLAMA3,
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2"
            | "hunyuan" | "solar-open" | "grok-2" | "bailingmoe" | "bailingmoe2" | "llada-moe" => {
                QWEN2
            }
            "qwen35" => QWEN35,
            "seed-coder" => SEED_CODER,
            "ufakzeka" => UFAKZEKA,
            "minicpm5" => MINICPM5.with_whole_words(),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" | "mellum2" => STARCODER,
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es"
            | "jina-v2-de" | "a.x-4.0" | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais"
            | "trillion" | "granite-docling" | "exaone4" => GPT2,
            "tekken" => TEKKEN.with_whole_words().with_bos(),
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => GPT4O,
            "falcon" => FALCON,
            "deepseek-llm" => DEEPSEEK_LLM,
            "deepseek-coder" => DEEPSEEK_CODER,
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => DEEPSEEK3,
            "poro-chat" | "bloom" | "gpt3-finnish" => BLOOM,
            "viking" => VIKING,
            unknown => {
                return Err(TokenizerError::UnknownPreTokenizer {
                    pre: unknown.into(),
                });
            }
        })
    }
}

const LETTERS: Stage = Stage::Words(WordRules {
    contractions: true,
    marks: false,
    digits: 1,
    newlines: true,
});
const LETTERS_THREE_DIGITS: Stage = Stage::Words(WordRules {
    contractions: true,
    marks: false,
    digits: 3,
    newlines: true,
});
/// `\p{N}`
const DIGIT: Stage = Stage::Run {
    of: Glyph::is_number,
    most: 1,
};
/// `\p{N}{1,3}`
const THREE_DIGITS: Stage = Stage::Run {
    of: Glyph::is_number,
    most: 3,
};
/// `\p{N}+`
const NUMBER: Stage = Stage::Run {
    of: Glyph::is_number,
    most: usize::MAX,
};
/// `[\r\n]`
const NEWLINE: Stage = Stage::Run {
    of: Glyph::is_newline,
    most: 1,
};
/// `[一-龥ࠀ-一가-퟿]+`, without the spaces in that range, which count only as `\s`
const EAST_ASIAN: Stage = Stage::Run {
    of: |glyph| {
        !glyph.is_space && glyph.is_within(&[('一', '龥'), ('\u{800}', '一'), ('가', '\u{d7ff}')])
    },
    most: usize::MAX,
};

const DEFAULT: PreTokenizer = PreTokenizer::new(&[
    // [\p{P}\$\+<=>\^~\|]+
    Stage::Run {
        of: |glyph| glyph.is_punctuation() || "$+<=>^~|".contains(glyph.char),
        most: usize::MAX,
    },
    Stage::Gpt2,
    NUMBER,
    Stage::Triples,
]);
const FALCON: PreTokenizer = PreTokenizer::new(&[
    // [\p{P}\$\+<=>\^~\|`]+
    Stage::Run {
        of: |glyph| glyph.is_punctuation() || "$+<=>^~|`".contains(glyph.char),
        most: usize::MAX,
    },
    Stage::Gpt2,
    Stage::Triples,
]);
const GPT2: PreTokenizer = PreTokenizer::new(&[Stage::Gpt2]);
const STARCODER: PreTokenizer = PreTokenizer::new(&[DIGIT, Stage::Gpt2]);
const LLAMA3: PreTokenizer = PreTokenizer::new(&[LETTERS_THREE_DIGITS]);
const QWEN2: PreTokenizer = PreTokenizer::new(&[LETTERS]);
const QWEN35: PreTokenizer = PreTokenizer::new(&[Stage::Words(WordRules {
    contractions: true,
    marks: true,
    digits: 1,
    newlines: true,
})]);
const SEED_CODER: PreTokenizer = PreTokenizer::new(&[Stage::Words(WordRules {
    contractions: true,
    marks: false,
    digits: 1,
    newlines: false,
})]);
const UFAKZEKA: PreTokenizer = PreTokenizer::new(&[Stage::Words(WordRules {
    contractions: false,
    marks: false,
    digits: 1,
    newlines: true,
})]);
const MINICPM5: PreTokenizer = PreTokenizer::new(&[
    THREE_DIGITS,
    Stage::Words(WordRules {
        contractions: true,
        marks: false,
        digits: usize::MAX,
        newlines: true,
    }),
]);
const TEKKEN: PreTokenizer = PreTokenizer::new(&[Stage::Cased(CasedRules {
    contractions: false,
    digits: 1,
})]);
const GPT4O: PreTokenizer = PreTokenizer::new(&[Stage::Cased(CasedRules {
    contractions: true,
    digits: 3,
})]);
const DEEPSEEK_LLM: PreTokenizer = PreTokenizer::new(&[
    NEWLINE,
    Stage::Led {
        by: is_space,
        of: |glyph| glyph.is_within(DEEPSEEK_CASED),
    },
    // \s?[!-/:-~！-／：-～‘-‟　-。]+, without U+3000, which counts as \s
    Stage::Led {
        by: is_space,
        of: |glyph| {
            glyph.is_within(&[
                ('!', '/'),
                (':', '~'),
                ('！', '／'),
                ('：', '～'),
                ('\u{2018}', '\u{201f}'),
                ('\u{3001}', '\u{3002}'),
            ])
        },
    },
    Stage::TrailingSpace,
    EAST_ASIAN,
    NUMBER,
]);
const DEEPSEEK_CODER: PreTokenizer = PreTokenizer::new(&[
    NEWLINE,
    Stage::Led {
        by: is_space,
        of: Glyph::is_letter,
    },
    Stage::Led {
        by: is_space,
        of: Glyph::is_punctuation,
    },
    EAST_ASIAN,
    DIGIT,
]);
const DEEPSEEK3: PreTokenizer = PreTokenizer::new(&[
    THREE_DIGITS,
    // [一-龥぀-ゟ゠-ヿ]+
    Stage::Run {
        of: |glyph| glyph.is_within(&[('一', '龥'), ('\u{3040}', '\u{30ff}')]),
        most: usize::MAX,
    },
    Stage::DeepSeek3,
]);
/// ` ?[^(\s|.,!?…。，、।۔،)]+`
const BLOOM_WORD: Stage = Stage::Led {
    by: |glyph| glyph.is(' '),
    of: |glyph| !glyph.is_space && !"(|.,!?…。，、।۔،)".contains(glyph.char),
};
const BLOOM: PreTokenizer = PreTokenizer::new(&[BLOOM_WORD]);
const VIKING: PreTokenizer = PreTokenizer::new(&[BLOOM_WORD, DIGIT]);

/// The letters that DeepSeek's first tokenizer joins into words: the letters with case in its
/// pattern.
const DEEPSEEK_CASED: &[(char, char)] = &[
    ('A', 'Z'),
    ('a', 'z'),
    ('\u{b5}', '\u{b5}'),
    ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'),
    ('\u{1bc}', '\u{1bf}'),
    ('\u{1c4}', '\u{293}'),
    ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'),
    ('\u{376}', '\u{376}'),
    ('\u{377}', '\u{377}'),
    ('\u{37b}', '\u{37d}'),
    ('\u{37f}', '\u{37f}'),
    ('\u{386}', '\u{386}'),
    ('\u{388}', '\u{38a}'),
    ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'),
    ('\u{3f7}', '\u{481}'),
    ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'),
    ('\u{10a0}', '\u{10c5}'),
    ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'),
    ('\u{1c90}', '\u{1cba}'),
    ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d00}', '\u{1d2b}'),
    ('\u{1d6b}', '\u{1d77}'),
    ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'),
    ('\u{1f18}', '\u{1f1d}'),
    ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'),
    ('\u{1f50}', '\u{1f57}'),
    ('\u{1f59}', '\u{1f59}'),
    ('\u{1f5b}', '\u{1f5b}'),
    ('\u{1f5d}', '\u{1f5d}'),
    ('\u{1f5f}', '\u{1f7d}'),
    ('\u{1f80}', '\u{1fb4}'),
    ('\u{1fb6}', '\u{1fbc}'),
    ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'),
    ('\u{1fc6}', '\u{1fcc}'),
    ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'),
    ('\u{1fe0}', '\u{1fec}'),
    ('\u{1ff2}', '\u{1ff4}'),
    ('\u{1ff6}', '\u{1ffc}'),
    ('\u{2102}', '\u{2102}'),
    ('\u{2107}', '\u{2107}'),
    ('\u{210a}', '\u{2113}'),
    ('\u{2115}', '\u{2115}'),
    ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'),
    ('\u{2126}', '\u{2126}'),
    ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'),
    ('\u{212f}', '\u{2134}'),
    ('\u{2139}', '\u{2139}'),
    ('\u{213c}', '\u{213f}'),
    ('\u{2145}', '\u{2149}'),
    ('\u{214e}', '\u{214e}'),
    ('\u{2183}', '\u{2183}'),
    ('\u{2184}', '\u{2184}'),
    ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'),
    ('\u{2ceb}', '\u{2cee}'),
    ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'),
    ('\u{a640}', '\u{a66d}'),
    ('\u{a680}', '\u{a69b}'),
    ('\u{a722}', '\u{a76f}'),
    ('\u{a771}', '\u{a787}'),
    ('\u{a78b}', '\u{a78e}'),
    ('\u{ab70}', '\u{abbf}'),
    ('\u{fb00}', '\u{fb06}'),
    ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'),
    ('\u{ff41}', '\u{ff5a}'),
    ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'),
    ('\u{104d8}', '\u{104fb}'),
    ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'),
    ('\u{118a0}', '\u{118df}'),
    ('\u{1e900}', '\u{1e943}'),
];

fn is_space(glyph: Glyph) -> bool {
    glyph.is_space
}
