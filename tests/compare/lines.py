"""Lines of text for comparing tokenizers: the same for the same seed."""

import random

SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x4FF), (0x530, 0x58F), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x13A0, 0x13FF), (0x1680, 0x169C), (0x1C80, 0x1CBF), (0x1D00, 0x1DBF),
    (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x218F), (0x2190, 0x22FF),
    (0x2400, 0x245F), (0x2500, 0x27BF), (0x2C00, 0x2CFF), (0x3000, 0x303F), (0x3040, 0x30FF),
    (0x3100, 0x318F), (0x3400, 0x3500), (0x4E00, 0x9FFF), (0xA640, 0xA7FF), (0xAC00, 0xD7A3),
    (0xE000, 0xE010), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE30, 0xFE6F), (0xFF00, 0xFFEF),
    (0x10400, 0x104FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x20100),
]
WORDS = """the of and to in is you that it he was for on are as with his they at be this have from
or one had by word but not what all were we when your can said there use an each which she do how
their if will up other about out many then them these so some her would make like him into time
has look two more write go see number no way could people my than first water been call who oil
its now find long down day did get come made may part Schmetterling naïve façade Ελλάδα Москва
привет 東京 日本語 한국어 안녕하세요 العربية שלום हिन्दी ไทย ภาษา Việt Nam 你好 世界 İstanbul straße""".split()
CODE = """def main(argc: int) -> None:|	return x*x + 1;|#include <stdio.h>|for (int i=0;i<10;++i){|
if err != nil { return nil, err }|    self.weights[i][j] += 0.5 * grad|print(f"{x!r:>10}\\n")|
SELECT * FROM t WHERE id = 42;|<div class="a b">&nbsp;</div>|let v: Vec<&'a str> = s.split("::")|
// TODO(x): fix it's broken|$HOME/.config/nvim/init.lua|https://example.org/a?b=c&d=%20e#f|
x = y if z else w  # I'll, we've, they're, DON'T, it'S|\\frac{a}{b}^{2}_{i}|0xDEADBEEF 1e-10 3.14159
""".replace("\n", "").split("|")
SPACES = [" ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\u00a0", "\u3000",
          "\u2003", " " * 7, " " * 33, "\n" * 9, "\v", "\f", "\x85", "\u2028"]
SIGNS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "—", "“", "”", "’s", "'s", "'RE", "?!",
         "→", "€", "©", "/*", "*/", "//", "\u0301", "\u200d", "\ufe0f", "👩‍👩‍👧", "🇫🇷", "½", "²", "Ⅻ"]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<bos>", "<eos>", "<pad>", "<unk>",
            "<start_of_turn>", "<end_of_turn>", "<unused7>", "<0x41>", "</s>", "<s>", "<table>",
            "<mask>", "[multimodal]", "<h1>", "<|im_", "▁", "▁▁", "Ġ", "<reponame>", "<file_sep>"]


def character(rng):
    first, last = rng.choice(SCRIPTS)
    return chr(rng.randint(first, last))


def mixed(rng):
    parts = []
    for _ in range(rng.randint(1, 30)):
        kind = rng.randrange(12)
        if kind < 4:
            parts.append(rng.choice([" ", ""]) + rng.choice(WORDS))
        elif kind == 4:
            parts.append(rng.choice(WORDS).upper())
        elif kind == 5:
            parts.append(str(rng.randrange(10 ** rng.randint(1, 12))))
        elif kind == 6:
            parts.append(rng.choice(CODE))
        elif kind < 9:
            parts.append(rng.choice(SPACES))
        elif kind == 9:
            parts.append(rng.choice(SIGNS))
        elif kind == 10:
            parts.append(character(rng))
        else:
            parts.append(rng.choice(SPECIALS))
    return "".join(parts)


def line(rng):
    kind = rng.randrange(20)
    if kind < 9:
        return mixed(rng)
    if kind < 11:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 40)))
    if kind < 13:
        first, last = rng.choice(SCRIPTS)
        return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 60)))
    if kind == 13:
        return "".join(character(rng) for _ in range(rng.randint(1, 60)))
    if kind == 14:
        return bytes(rng.randrange(256) for _ in range(rng.randint(1, 120))).decode("utf8", "replace")
    if kind == 15:
        return "".join(chr(rng.randrange(128)) for _ in range(rng.randint(1, 120)))
    if kind == 16:
        return "".join(rng.choice(SPACES + SIGNS + ["a", "B", "1", "é", "É"]) for _ in range(rng.randint(1, 80)))
    if kind == 17:
        return rng.choice(SPACES + SIGNS + WORDS) * rng.randint(1, 60)
    if kind == 18:
        return "\n".join(rng.choice(CODE) for _ in range(rng.randint(1, 12)))
    code = rng.randrange(0x110000)
    while 0xD800 <= code < 0xE000:
        code = rng.randrange(0x110000)
    return "a" + chr(code) + rng.choice(["", "b", " ", "1"]) + mixed(rng)


def lines(seed, count):
    """`count` texts; the first few are the empty text and some edge cases."""
    rng = random.Random(seed)
    fixed = ["", " ", "  ", "\n", "a", " a", "a ", "\0", "\ufffd", "'", "'s", " '", "1", "12345", "\u00a0"]
    return (fixed + [line(rng) for _ in range(count)])[:count]
