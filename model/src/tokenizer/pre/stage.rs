//! Matchers of published patterns, each of which splits a text.

use super::glyph::Glyph;

/// A way to split a fragment of text: the pattern's matches and the text between them become the
/// fragments for the next stage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// GPT-2:
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Llama 3 and Qwen 2, see [`WordRules`].
    Words(WordRules),
    /// Tekken and GPT-4o, see [`CasedRules`].
    Cased(CasedRules),
    /// DeepSeek 3:
    /// ``[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+``
    DeepSeek3,
    /// `[…]{1,most}` of the characters for which the function is true.
    Run { of: fn(Glyph) -> bool, most: usize },
    /// `[0-9][0-9][0-9]`
    Triples,
    /// `…?[…]+`: a run, with one character in front.
    Led {
        by: fn(Glyph) -> bool,
        of: fn(Glyph) -> bool,
    },
    /// `\s+$`
    TrailingSpace,
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?LETTER+|\p{N}{1,digits}| ?[^\sLETTER\p{N}]+AFTER*|\s*[\r\n]+|\s+(?!\S)|\s+`
#[derive(Debug, Clone, Copy)]
pub(super) struct WordRules {
    /// Whether the first alternative exists.
    pub(super) contractions: bool,
    /// LETTER is `[\p{L}\p{M}]` if true, else `\p{L}`.
    pub(super) marks: bool,
    pub(super) digits: usize,
    /// AFTER is `[\r\n]` if true, else empty.
    pub(super) newlines: bool,
}

/// `[^\r\n\p{L}\p{N}]?UPPER*LOWER+SUFFIX?|[^\r\n\p{L}\p{N}]?UPPER+LOWER*SUFFIX?|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
///
/// UPPER is `[\p{L}&&[^a-z]]` and LOWER is `[\p{L}&&[^A-Z]]`, as in llama.cpp. The published
/// patterns distinguish case in every script, and count marks as letters.
#[derive(Debug, Clone, Copy)]
pub(super) struct CasedRules {
    /// SUFFIX is `(?i:'s|'t|'re|'ve|'m|'ll|'d)` if true, else empty.
    pub(super) contractions: bool,
    pub(super) digits: usize,
}

impl Stage {
    /// Calls `emit` with the length of each piece of a fragment, in order.
    pub(super) fn cut(self, fragment: &[Glyph], emit: impl FnMut(usize)) {
        match self {
            Self::Gpt2 => cut_by(fragment, emit, gpt2),
            Self::Words(rules) => cut_by(fragment, emit, |rest| words(rest, rules)),
            Self::Cased(rules) => cut_by(fragment, emit, |rest| cased(rest, rules)),
            Self::DeepSeek3 => cut_by(fragment, emit, deepseek3),
            Self::Run { of, most } => cut_by(fragment, emit, |rest| run_of(rest, of, most)),
            Self::Triples => cut_by(fragment, emit, |rest| match rest {
                [a, b, c, ..] if [a, b, c].iter().all(|d| d.char.is_ascii_digit()) => 3,
                _ => 0,
            }),
            Self::Led { by, of } => cut_by(fragment, emit, |rest| led(rest, by, of)),
            Self::TrailingSpace => {
                let spaces = fragment.iter().rev().take_while(|g| g.is_space).count();
                let cuts = [fragment.len() - spaces, spaces];
                cuts.into_iter().filter(|&len| len > 0).for_each(emit);
            }
        }
    }
}

/// Cuts out the matches, leftmost first. `matched` returns the length of the match at the start of
/// its argument, or 0.
fn cut_by(fragment: &[Glyph], mut emit: impl FnMut(usize), matched: impl Fn(&[Glyph]) -> usize) {
    let mut gap = 0;
    let mut at = 0;
    while at < fragment.len() {
        let len = matched(&fragment[at..]);
        if len == 0 {
            gap += 1;
            at += 1;
            continue;
        }
        if gap > 0 {
            emit(gap);
            gap = 0;
        }
        emit(len);
        at += len;
    }
    if gap > 0 {
        emit(gap);
    }
}

fn run(text: &[Glyph], of: impl Fn(Glyph) -> bool) -> usize {
    run_of(text, of, usize::MAX)
}

fn run_of(text: &[Glyph], of: impl Fn(Glyph) -> bool, most: usize) -> usize {
    let within = text.iter().take(most);
    within.take_while(|&&glyph| of(glyph)).count()
}

/// `BY?OF+`, where OF may match the same characters as BY.
fn led(text: &[Glyph], by: impl Fn(Glyph) -> bool, of: impl Fn(Glyph) -> bool) -> usize {
    match text {
        [first, rest @ ..] if by(*first) && rest.first().is_some_and(|&next| of(next)) => {
            1 + run(rest, of)
        }
        _ => run(text, of),
    }
}

fn is_blank(glyph: Glyph) -> bool {
    glyph.is(' ')
}

/// `[^\s\p{L}\p{N}]`
fn is_sign(glyph: Glyph) -> bool {
    !(glyph.is_space || glyph.is_letter() || glyph.is_number())
}

/// `[^\r\n\p{L}\p{N}]`
fn may_lead_word(glyph: Glyph) -> bool {
    !(glyph.is_newline() || glyph.is_letter() || glyph.is_number())
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, after `fold` has lowered the letters.
fn contraction(text: &[Glyph], fold: impl Fn(char) -> char) -> usize {
    let [first, rest @ ..] = text else { return 0 };
    if !first.is('\'') {
        return 0;
    }
    let mut letters = rest.iter().map(|glyph| fold(glyph.char));
    match (letters.next(), letters.next()) {
        (Some('s' | 't' | 'm' | 'd'), _) => 2,
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}

fn contraction_in_any_case(text: &[Glyph]) -> usize {
    contraction(text, |char| char.to_ascii_lowercase())
}

/// `\s+(?!\S)|\s+`: all white space, except its last character if other text follows.
fn spaces(text: &[Glyph]) -> usize {
    let spaces = run(text, |glyph| glyph.is_space);
    if spaces > 1 && spaces < text.len() {
        spaces - 1
    } else {
        spaces
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`
fn lines_or_spaces(text: &[Glyph]) -> usize {
    let all = run(text, |glyph| glyph.is_space);
    match text[..all].iter().rposition(|glyph| glyph.is_newline()) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}

/// The first non-zero length.
macro_rules! first_of {
    ($last:expr) => { $last };
    ($first:expr, $($rest:expr),+) => {
        match $first {
            0 => first_of!($($rest),+),
            len => len,
        }
    };
}

fn gpt2(text: &[Glyph]) -> usize {
    first_of!(
        contraction(text, |char| char),
        led(text, is_blank, Glyph::is_letter),
        led(text, is_blank, Glyph::is_number),
        led(text, is_blank, is_sign),
        spaces(text)
    )
}

fn words(text: &[Glyph], rules: WordRules) -> usize {
    let is_letter = |glyph: Glyph| glyph.is_letter() || rules.marks && glyph.is_mark();
    let contraction = if rules.contractions {
        contraction_in_any_case(text)
    } else {
        0
    };
    let signs = || match led(text, is_blank, |glyph| is_sign(glyph) && !is_letter(glyph)) {
        0 => 0,
        signs if rules.newlines => signs + run(&text[signs..], Glyph::is_newline),
        signs => signs,
    };
    first_of!(
        contraction,
        led(text, may_lead_word, is_letter),
        run_of(text, Glyph::is_number, rules.digits),
        signs(),
        lines_or_spaces(text)
    )
}

fn cased(text: &[Glyph], rules: CasedRules) -> usize {
    let word = || {
        let lead = usize::from(text.first().is_some_and(|&first| may_lead_word(first)));
        let letters = cased_letters(&text[lead..]);
        match letters {
            0 => 0,
            _ if rules.contractions => {
                lead + letters + contraction_in_any_case(&text[lead + letters..])
            }
            _ => lead + letters,
        }
    };
    let signs = || match led(text, is_blank, is_sign) {
        0 => 0,
        signs => signs + run(&text[signs..], |glyph| glyph.is_newline() || glyph.is('/')),
    };
    first_of!(
        word(),
        run_of(text, Glyph::is_number, rules.digits),
        signs(),
        lines_or_spaces(text)
    )
}

/// `UPPER*LOWER+|UPPER+LOWER*`, where letters beyond ASCII match both.
fn cased_letters(text: &[Glyph]) -> usize {
    let upper = |glyph: Glyph| glyph.is_letter() && !glyph.char.is_ascii_lowercase();
    let lower = |glyph: Glyph| glyph.is_letter() && !glyph.char.is_ascii_uppercase();
    let uppers = run(text, upper);
    match run(&text[uppers..], lower) {
        // Nothing follows for LOWER+, so backtrack to the last letter that matches it.
        0 => match text[..uppers].iter().rposition(|&glyph| lower(glyph)) {
            Some(last) => last + 1,
            None => uppers,
        },
        lowers => uppers + lowers,
    }
}

fn deepseek3(text: &[Glyph]) -> usize {
    let is_ascii_sign = |glyph: Glyph| glyph.char.is_ascii_punctuation();
    let is_sign = |glyph: Glyph| glyph.is_punctuation() || glyph.is_symbol();
    let attached = || match text {
        [first, rest @ ..] if is_ascii_sign(*first) => {
            match run(rest, |glyph| glyph.char.is_ascii_alphabetic()) {
                0 => 0,
                letters => 1 + letters,
            }
        }
        _ => 0,
    };
    let signs = || match led(text, is_blank, is_sign) {
        0 => 0,
        signs => signs + run(&text[signs..], Glyph::is_newline),
    };
    first_of!(
        attached(),
        led(
            text,
            |glyph| may_lead_word(glyph) && !is_sign(glyph) || glyph.is_number(),
            |glyph| glyph.is_letter() || glyph.is_mark()
        ),
        signs(),
        lines_or_spaces(text)
    )
}
