"""Where a model's thought ends and its answer begins: the one place that knows.

A thought stands between <think> and </think>. Where a chat template opens it, the model writes only its end, so what
stands before a first </think> is thought, whoever opened it; and a text that goes on from an opened thought says so.
"""

from __future__ import annotations

import re

THINK, UNTHINK = "<think>", "</think>"
_MARK = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


def answer_of(text: str) -> str:
    r"""Return a text with its thoughts taken out; of each, the line breaks are left, so that lines keep their numbers.

    >>> answer_of("<think>not <action></think><action>go"), answer_of("not <action>\n</think>\n<action>go")
    ('<action>go', '\n\n<action>go')
    >>> answer_of("go <think>or not"), answer_of("go")
    ('go ', 'go')
    """
    kept: list[str] = []
    start, inside, is_first = 0, False, True
    for mark in _MARK.finditer(text):
        closes = bool(mark[1])
        if closes and (inside or is_first):
            kept.append("\n" * text.count("\n", start, mark.start()))
            start, inside = mark.end(), False
        elif not closes and not inside:
            kept.append(text[start : mark.start()])
            start, inside = mark.start(), True
        is_first = False
    rest = text[start:]
    return "".join([*kept, "\n" * rest.count("\n") if inside else rest])


def thought_is_open(text: str, *, began: bool = False) -> bool:
    """Whether a text ends in the midst of a thought, where tags are still only thought of.

    Args:
        text: what a model has written so far.
        began: its prompt ended inside a thought.

    >>> thought_is_open("<think>not <action>"), thought_is_open("<think>so</think>"), thought_is_open("<action>")
    (True, False, False)
    >>> thought_is_open("not <action>", began=True), thought_is_open("so</think>", began=True)
    (True, False)
    """
    inside = began
    for mark in _MARK.finditer(text):
        inside = not mark[1]
    return inside


def answer_start(text: str) -> int:
    """Return where the words after the last closed thought begin; 0 where none was closed.

    >>> answer_start("<think>so</think>go"), answer_start("go")
    (17, 0)
    """
    return max((mark.end() for mark in _MARK.finditer(text) if mark[1]), default=0)


def is_mark(text: str) -> bool:
    """Whether a token is what opens or closes a thought."""
    return _MARK.fullmatch(text) is not None
