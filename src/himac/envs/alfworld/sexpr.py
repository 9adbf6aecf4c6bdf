"""Reading PDDL text as nested lists. PDDL is parentheses and words, case does not matter.

Left out: everything PDDL means. `rules`, `goal` and `game` give the lists their meaning.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from himac.errors import DataError

SExpr: TypeAlias = "str | list[SExpr]"
"""A word, or a list of words and lists."""

_COMMENT = re.compile(r";[^\n]*")
_TOKEN = re.compile(r"[()]|[^\s()]+")


def read(text: str) -> list[SExpr]:
    """Read one parenthesised expression, lower-cased, comments dropped.

    >>> read("(and (atLocation ?a ?l)  ; here")
    Traceback (most recent call last):
    ...
    himac.errors.DataError: 1 parenthesis is not closed
    >>> read("(and (atLocation ?a ?l))")
    ['and', ['atlocation', '?a', '?l']]

    Raises:
        DataError: the parentheses do not match, or nothing stands between them.
    """
    if ";" in text:
        text = _COMMENT.sub("", text)
    top: list[SExpr] = []
    open_lists: list[list[SExpr]] = []
    current = top
    for token in _TOKEN.findall(text.lower()):
        if token == "(":
            inner: list[SExpr] = []
            current.append(inner)
            open_lists.append(current)
            current = inner
        elif token == ")":
            if not open_lists:
                raise DataError("a closing parenthesis has no opening one")
            current = open_lists.pop()
        else:
            current.append(token)
    if open_lists:
        raise DataError(
            f"{len(open_lists)} parenthes{'is is' if len(open_lists) == 1 else 'es are'} not closed"
        )
    if len(top) != 1 or not isinstance(top[0], list):
        raise DataError(f"one expression in parentheses expected, {len(top)} found")
    return top[0]


def section(parts: list[SExpr], name: str) -> list[SExpr]:
    """Return what follows the keyword in `(name ...)` among `parts`.

    Raises:
        DataError: no such section.
    """
    for part in parts:
        if isinstance(part, list) and part and part[0] == name:
            return part[1:]
    raise DataError(f"section ({name} ...) is missing")


def typed(words: list[SExpr]) -> list[tuple[str, str]]:
    """Read a typed list, `a b - kind c - other`, as (name, kind) pairs; `object` where none is given.

    >>> typed(["?o1", "?o2", "-", "object", "?r", "-", "receptacle"])
    [('?o1', 'object'), ('?o2', 'object'), ('?r', 'receptacle')]
    """
    pairs: list[tuple[str, str]] = []
    waiting: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        if not isinstance(word, str):
            raise DataError(f"a name was expected in a typed list, got {word!r}")
        if word == "-" and position + 1 < len(words):
            kind = words[position + 1]
            pairs += [(name, str(kind)) for name in waiting]
            waiting = []
            position += 2
        else:
            waiting.append(word)
            position += 1
    return pairs + [(name, "object") for name in waiting]
