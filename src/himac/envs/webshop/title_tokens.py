"""The tokens of a product title as spaCy's blank English tokenizer splits them, without spaCy.

A chunk between blanks loses prefixes and suffixes (punctuation, symbols, 's, units after a number)
from its ends until nothing more comes off, then is cut at the infixes inside it; a list of exceptions says
what is not to be cut (abbreviations) or is cut elsewhere (contractions).

Only tokens that are alphabetic and longer than two letters matter to the reward, so the order of the others
and spaCy's emoticons are left out. The symbol class is Unicode's instead of spaCy's table.
"""

from __future__ import annotations

import re

import regex

_CURRENCY = r"\p{Sc}|US\$|C\$|A\$"
_PUNCTUATION = (
    r"…|[,:;!?¿؟¡()\[\]{}<>_#*&。？！，、；：～·।،۔؛٪]|\.\.+|['\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧]"
)
_UNITS = "km|m|dm|cm|mm|ha|nm|yd|in|ft|kg|g|mg|t|lb|oz|kmh|mph|hPa|Pa|mbar|mb|MB|kb|KB|gb|GB|tb|TB|T|G|M|K"
_PREFIX = regex.compile(rf"[§%=—–]|\+(?![0-9])|{_PUNCTUATION}|{_CURRENCY}|\p{{So}}")
_SUFFIX = regex.compile(
    rf"(?:{_PUNCTUATION}|\p{{So}}|['’][sS]|[—–]|(?<=[0-9])\+|(?<=°[FfCcKk])\."
    rf"|(?<=[0-9])(?:{_CURRENCY}|%|(?:{_UNITS})[²³]?|[km]m?/[sh]|[µ][mg])"
    rf"|(?<=[0-9%²\-+\p{{Ll}}]|{_PUNCTUATION})\.|(?<=\p{{Lu}}\p{{Lu}})\.)$"
)
_LETTER = r"\p{L}\u2E80-\u2FFF\u3000-\u303F\u3200-\u33FF\uFE30-\uFE4F"  # what spaCy's rules call alphabetic
_QUOTES = r"'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_INFIX = regex.compile(
    rf"\.\.+|…|\p{{So}}|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[\p{{Ll}}{_QUOTES}])\.(?=[\p{{Lu}}{_QUOTES}])"
    rf"|(?<=[{_LETTER}]),(?=[{_LETTER}])|(?<=[{_LETTER}0-9])(?:---|--|——|[-–—~])(?=[{_LETTER}])"
    rf"|(?<=[{_LETTER}0-9])[:<>=/](?=[{_LETTER}])"
)
_URL = re.compile(
    r"(?:https?://|www\.)\S+|[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.(?:com|net|org|co|io)(?:/\S*)?$", re.I
)

_ABBREVIATIONS = """Adm. Ala. Apr. Ariz. Ark. Aug. Bros. Calif. Colo. Conn. Corp. Dec. Del. Feb. Fla. Gen. Gov. Ill. Inc. Ind.
Jan. Jul. Jun. Kan. Kans. Ltd. Mar. Mass. Messrs. Mich. Minn. Miss. Mont. Mrs. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Prof. Rep.
Rev. Sen. Sep. Sept. Tenn. Wash. Wis. and/or 'bout 'cause 'cos 'coz 'cuz 'nuff doin' goin' havin' lovin' nothin' nuthin'
somethin'"""

# Word -> its endings that are split off even where the apostrophe is missing ("theyre", "dont").
_PRONOUNS = {
    "he": "d d've ll've s",
    "she": "d've ll've s",
    "it": "d d've ll ll've",
    "i": "d've ll've m'a ve",
    "we": "d d've ll've ve",
    "that this": "d d've ll ll've s",
    "who": "d d've ll ll've s ve",
    "they you these those": "d d've ll ll've re ve",
    "there what when where why how": "d d've ll ll've re s ve",
}
_AUXILIARIES = (
    "ai are ca could dare did does do had has have is may might must need ought sha should was were wo would"
)


def _exceptions() -> dict[str, tuple[str, ...]]:
    """Return chunk -> tokens for what spaCy does not split by rule."""
    cuts: dict[str, tuple[str, ...]] = {
        "cannot": ("can", "not"),
        "gonna": ("gon", "na"),
        "gotta": ("got", "ta"),
    }
    cuts |= {"yall": ("y", "all"), "y'all": ("y'", "all"), "notve": ("not", "ve"), "not've": ("not", "'ve")}
    for words, endings in _PRONOUNS.items():
        for word in words.split():
            cuts |= {word + end.replace("'", ""): (word, end) for end in endings.split()}
            cuts |= {f"{word}'{end}": (word, end) for end in ("d", "d've", "ll", "ll've", "re", "ve")}
    for word in _AUXILIARIES.split():
        cuts |= {word + end.replace("'", ""): (word, end) for end in ("n't", "n't've")}
        cuts |= {word + end: (word, end) for end in ("n't", "n't've")}
    for word in ("could", "might", "must", "should", "would"):
        cuts |= {word + "ve": (word, "ve"), f"{word}'ve": (word, "'ve")}
    cuts |= {word: (word,) for word in _ABBREVIATIONS.split()}
    cuts |= {_capitalised(chunk): (_capitalised(parts[0]), *parts[1:]) for chunk, parts in cuts.items()}
    return cuts | {chunk.replace("'", "’"): tokens for chunk, tokens in cuts.items()}


def _capitalised(word: str) -> str:
    """Return the word with its first letter, not its first sign, as a capital."""
    return word[:2].upper() + word[2:] if word[0] == "'" else word[:1].upper() + word[1:]


_EXCEPTIONS = _exceptions()


def tokens(title: str) -> list[str]:
    """Return the tokens of a title; affixes of a chunk come before its middle.

    >>> tokens("Scholl's 2-Pack (10oz) Inc.")
    ["'s", 'Scholl', '2', '-', 'Pack', '(', ')', 'oz', '10', 'Inc.']
    """
    return [token for chunk in title.split() for token in _split(chunk)]


def _split(chunk: str) -> list[str]:
    affixes: list[str] = []
    while chunk and chunk not in _EXCEPTIONS:
        prefix, suffix = _PREFIX.match(chunk), _SUFFIX.search(chunk)
        before = chunk
        if prefix and chunk[prefix.end() :] in _EXCEPTIONS:
            affixes.append(prefix.group())
            chunk = chunk[prefix.end() :]
            break
        if suffix and chunk[: suffix.start()] in _EXCEPTIONS:
            affixes.append(suffix.group())
            chunk = chunk[: suffix.start()]
            break
        if prefix and suffix and prefix.end() <= suffix.start():
            affixes += [prefix.group(), suffix.group()]
            chunk = chunk[prefix.end() : suffix.start()]
        elif prefix:
            affixes.append(prefix.group())
            chunk = chunk[prefix.end() :]
        elif suffix:
            affixes.append(suffix.group())
            chunk = chunk[: suffix.start()]
        if chunk == before:
            break
    if chunk in _EXCEPTIONS:
        return [*affixes, *_EXCEPTIONS[chunk]]
    if not chunk or _URL.match(chunk):
        return [*affixes, chunk] if chunk else affixes
    return affixes + _cut(chunk)


def _cut(chunk: str) -> list[str]:
    parts, at = [], 0
    for infix in _INFIX.finditer(chunk):
        if infix.start() == 0:
            continue
        if infix.start() > at:
            parts.append(chunk[at : infix.start()])
        parts.append(infix.group())
        at = infix.end()
    return [*parts, chunk[at:]] if at < len(chunk) else parts
