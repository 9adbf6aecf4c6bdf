"""Porter's stemmer as Lucene runs it.

Every rule of the algorithm asks about the stem's shape, a string of `c` (consonant) and `v`
(vowel), so a word's shape is computed once and each rule is a slice of it. The two departures from the
1980 paper are its author's own and Lucene's: `bli -> ble` and `logi -> log`, and words of one or two
letters stay as they are.

Left out: other languages and the later "Porter 2". Why not a library: Snowball's has other words of one or two letters and no
`bli -> ble` (45 of the official products' 24,712 words differ); NLTK's MARTIN_EXTENSIONS, which a test checks this against,
says the same for all of them, takes three times as long and is 6 MB (benchmarks/hand_written.py).
Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980.
"""

from __future__ import annotations

_VOWELS = frozenset("aeiou")

# Suffix -> replacement, tried in this order within the letter that comes before the last one.
_DOUBLE_SUFFIXES: dict[str, tuple[tuple[str, str], ...]] = {
    "a": (("ational", "ate"), ("tional", "tion")),
    "c": (("enci", "ence"), ("anci", "ance")),
    "e": (("izer", "ize"),),
    "l": (("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous")),
    "o": (("ization", "ize"), ("ation", "ate"), ("ator", "ate")),
    "s": (("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous")),
    "t": (("aliti", "al"), ("iviti", "ive"), ("biliti", "ble")),
    "g": (("logi", "log"),),
}
_SHORT_SUFFIXES = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_LAST_SUFFIXES: dict[str, tuple[str, ...]] = {
    "a": ("al",),
    "c": ("ance", "ence"),
    "e": ("er",),
    "i": ("ic",),
    "l": ("able", "ible"),
    "n": ("ant", "ement", "ment", "ent"),
    "o": ("sion", "tion", "ou"),
    "s": ("ism",),
    "t": ("ate", "iti"),
    "u": ("ous",),
    "v": ("ive",),
    "z": ("ize",),
}


def stem(word: str) -> str:
    """Return the stem of a lower-case word.

    >>> [stem(w) for w in ("relational", "hoses", "conditioning", "possibly", "as")]
    ['relat', 'hose', 'condit', 'possibl', 'as']
    """
    if len(word) < 3:
        return word
    word = _past_and_gerund(_plural(word))
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    if len(word) > 1:
        word = _replace(word, _DOUBLE_SUFFIXES.get(word[-2], ()))
    word = _replace(word, _SHORT_SUFFIXES)
    if len(word) > 1:
        word = _drop_last_suffix(word)
    return _drop_final_letters(word)


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    if word.endswith("s") and word[-2] != "s":
        return word[:-1]
    return word


def _past_and_gerund(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            break
    else:
        return word
    shape = _shape(base)
    if "v" not in shape:
        return word
    if base.endswith(("at", "bl", "iz")):
        return base + "e"
    if len(base) > 1 and base[-1] == base[-2] and shape[-1] == "c":
        return base if base[-1] in "lsz" else base[:-1]
    if shape.count("vc") == 1 and _is_short(base, shape):
        return base + "e"
    return base


def _replace(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    """Apply the first rule whose suffix fits, if the rest has at least one vowel-consonant pair."""
    for suffix, replacement in rules:
        if word.endswith(suffix):
            base = word[: -len(suffix)]
            return base + replacement if _measure(base) > 0 else word
    return word


def _drop_last_suffix(word: str) -> str:
    for suffix in _LAST_SUFFIXES.get(word[-2], ()):
        if word.endswith(suffix):
            base = word[:-3] if suffix in ("sion", "tion") else word[: -len(suffix)]
            return base if _measure(base) > 1 else word
    return word


def _drop_final_letters(word: str) -> str:
    pairs = _measure(word)
    if word.endswith("e"):
        base = word[:-1]
        if pairs > 1 or (pairs == 1 and not _is_short(base, _shape(base))):
            word = base
    if word.endswith("ll") and pairs > 1:
        word = word[:-1]
    return word


def _shape(word: str) -> str:
    """Return `c` or `v` for each letter; `y` is a vowel after a consonant only."""
    marks = []
    after_consonant = False
    for letter in word:
        vowel = letter in _VOWELS or (letter == "y" and after_consonant)
        marks.append("v" if vowel else "c")
        after_consonant = not vowel
    return "".join(marks)


def _measure(word: str) -> int:
    """Return Porter's m: how many times a vowel is followed by a consonant."""
    return _shape(word).count("vc")


def _is_short(word: str, shape: str) -> bool:
    """Return whether the word ends consonant-vowel-consonant, the last one not w, x or y."""
    return shape.endswith("cvc") and word[-1] not in "wxy"
