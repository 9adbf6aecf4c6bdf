"""Text to search terms, as Lucene's EnglishAnalyzer with the Porter stemmer does it.

The chain is tokenize (Unicode word boundaries, UAX #29) -> drop a possessive 's -> lower case ->
drop 33 stop words -> stem; plain ASCII text, nearly all of it, takes a short pattern of its own, and each
raw token is analysed once and remembered.

Lucene 8 has the word-break tables of Unicode 9 and the emoji tables of version 11, so the few characters
whose class has changed since are set right here. Left out: a Hebrew word's closing quote mark.
"""

from __future__ import annotations

import re
from functools import lru_cache

import regex

from himac.envs.webshop.porter import stem

STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)
MAX_TOKEN = 255  # Lucene cuts longer tokens into pieces of this many characters

_ASCII = re.compile(
    r"_*(?:(?:[0-9](?:(?:_*|[.,;'])[0-9])*|[A-Za-z](?:(?:_*|[:.'])[A-Za-z])*)+)"
    r"(?:_+(?:[0-9](?:(?:_*|[.,;'])[0-9])*|[A-Za-z](?:(?:_*|[:.'])[A-Za-z])*)+)*_*"
)


def terms(text: str) -> list[str]:
    """Return the text's search terms in order.

    >>> terms("The women's running shoes, size 7.5 (2-pack)")
    ['women', 'run', 'shoe', 'size', '7.5', '2', 'pack']
    """
    return [term for token in tokens(text) if (term := term_of(token)) is not None]


@lru_cache(maxsize=1 << 17)
def term_of(token: str) -> str | None:
    """Return the search term of one raw token, or None for a stop word."""
    if len(token) >= 2 and token[-1] in "sS" and token[-2] in "'’＇":
        token = token[:-2]
    token = token.lower()
    return None if token in STOP_WORDS else stem(token)


def tokens(text: str) -> list[str]:
    """Split text at Unicode word boundaries and keep what is a word, a number, an ideogram or an emoji.

    >>> tokens("a.b 3,5 x-y 日本 ✔ ♀")
    ['a.b', '3,5', 'x', 'y', '日', '本', '✔', '♀']
    """
    found = _ASCII.findall(text) if text.isascii() else [m.group() for m in _unicode().finditer(text)]
    if any(len(token) > MAX_TOKEN for token in found):
        return [token[i : i + MAX_TOKEN] for token in found for i in range(0, len(token), MAX_TOKEN)]
    return found


# Characters that became letters for word breaking after Unicode 9, and the narrow no-break space.
_NOT_YET_LETTERS = (
    r"[\u02C2-\u02C5\u02D2-\u02D7\u02DE\u02DF\u02E5-\u02EB\u02ED\u02EF-\u02FF\u055A-\u055C\u055E\u058A"
    r"\u05F3\uA708-\uA716\uA720\uA721\uA789\uA78A\uAB5B\u070F]"
)
# Extended_Pictographic of emoji data 11.0 that later versions took back, and the rest through \p{}.
_PICTOGRAPHS = (
    r"[\p{Extended_Pictographic}\u2388\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2763-\u2767"
    r"\U0001F000-\U0001F0FF\U0001F10D-\U0001F10F\U0001F12F\U0001F16C-\U0001F171\U0001F1AD-\U0001F1E5"
    r"\U0001F260-\U0001F265\U0001F300-\U0001F3FA\U0001F400-\U0001F53D\U0001F546-\U0001F64F"
    r"\U0001F680-\U0001F6FF\U0001F774-\U0001F77F\U0001F7D5-\U0001F7FF\U0001F8AE-\U0001F8FF"
    r"\U0001F90C-\U0001FFFD--[\U0001F3FB-\U0001F3FF\U0001F1E6-\U0001F1FF0-9#*]]"
)


@lru_cache(maxsize=1)
def _unicode() -> regex.Pattern[str]:
    """Build the full UAX #29 pattern; longest alternative first, as Lucene's scanner would choose."""
    skip = r"[[\p{WB=Format}\p{WB=Extend}\p{WB=ZWJ}]--[\U0001F3FB-\U0001F3FF]]*"
    bare_skip = r"[[\p{WB=Format}\p{WB=Extend}\p{WB=ZWJ}]--[\U0001F3FB-\U0001F3FF\uFE0E\uFE0F]]*"

    def char(members: str) -> str:
        return f"(?:{members}{skip})"

    letter = char(rf"[[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}]--{_NOT_YET_LETTERS}]")
    number = char(r"[\p{WB=Numeric}\uFF10-\uFF19]")
    joiner = char(r"[\p{WB=ExtendNumLet}--\u202F]")
    katakana = char(r"\p{WB=Katakana}")
    in_word = char(r"[[\p{WB=MidLetter}\p{WB=MidNumLet}']--[\u055F]]")
    in_number = char(r"[\p{WB=MidNum}\p{WB=MidNumLet}']")
    hebrew = char(r"\p{WB=Hebrew_Letter}")
    run = (
        rf"(?:{katakana}(?:{joiner}*{katakana})*"
        rf'|(?:{hebrew}(?:\'|"{skip}{hebrew})'
        rf"|{number}(?:(?:{joiner}*|{in_number}){number})*"
        rf"|{letter}(?:(?:{joiner}*|{in_word}){letter})*)+)"
    )
    word = rf"{joiner}*{run}(?:{joiner}+{run})*{joiner}*"
    modifier = rf"(?:[\U0001F3FB-\U0001F3FF]{bare_skip})"
    element = (
        rf"(?:\p{{WB=ZWJ}}*{_PICTOGRAPHS}{bare_skip}(?:{modifier}|\uFE0F?)"
        rf"|{modifier})"
    )
    joined = rf"(?:(?<=\u200D)|\u200D){element}"
    emoji = rf"{element}(?:(?:{joined})+|[\U000E0020-\U000E007E]+\U000E007F)?"
    keycap = rf"[0-9#*]{bare_skip}\uFE0F?\u20E3{bare_skip}"
    flag = rf"(?:[\U0001F1E6-\U0001F1FF]{skip}){{2}}"
    others = rf"\p{{Script=Han}}{skip}|\p{{Script=Hiragana}}{skip}|\p{{LB=SA}}+"
    return regex.compile(rf"{word}|{emoji}|{keycap}|{flag}|{others}", regex.VERSION1)
