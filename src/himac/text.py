"""Text from outside, made harmless before a person's terminal sees it.

What models, servers, worlds and received files say may hold escape sequences that move the cursor, name the window or
hide what stands beside them. Whatever is printed of them goes through `clean`.
"""

from __future__ import annotations

_HIDING = frozenset(
    "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff"
)
"""Marks that turn the direction of a line or end it, without being seen."""


def clean(text: str) -> str:
    r"""Return text whose control characters are visible and harmless; newlines and tabs stay.

    >>> clean("\\x1b[2Jgone")
    '␛[2Jgone'
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def whole(text: str) -> str:
    r"""Return a text that can be written down: JSON and worlds can carry half a surrogate pair, files cannot.

    >>> whole("go \ud800 east")
    'go ? east'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def line(text: str) -> str:
    r"""Return text as one harmless line.

    >>> line("a\\nb")
    'a b'
    """
    return " ".join(clean(text).split())


def _visible(character: str) -> str:
    code = ord(character)
    if code < 32:
        return character if character in "\n\t" else chr(0x2400 + code)
    hides = 127 <= code < 160 or 0xD800 <= code < 0xE000 or character in _HIDING
    return "\ufffd" if hides else character
