"""What a model's words mean: blueprints, actions, `<sub_done>`, notes.

Write one form, read many. Prompts ask for the tags; the readers below accept what language
models really write around and instead of them, and say when they could not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from himac.chat.thoughts import answer_of
from himac.types import Blueprint

SUB_DONE = "<sub_done>"
_BLUEPRINT = re.compile(r"<blueprint>(.*?)(</blueprint>|\Z)", re.DOTALL | re.IGNORECASE)
_ACTION = re.compile(r"<(/?)action>", re.IGNORECASE)
_SUB_DONE = re.compile(r"<sub_done\s*/?>|</sub_done>", re.IGNORECASE)
_ITEM = re.compile(r"^\s*(?:(?:step|sub-?goal)\s*)?(?:\d{1,3}\s*[.):-]|[-*\u2022+])\s*(.*)$", re.IGNORECASE)
_MAX_SUBGOAL_CHARS = 300
_MAX_NOTE_CHARS = 1000
_MAX_READ_CHARS = 20_000  # a runaway completion is not worth searching further


def write_blueprint(subgoals: Sequence[str]) -> str:
    """Return the canonical form.

    >>> print(write_blueprint(["find the key", "open the door"]))
    <blueprint>
    1. find the key
    2. open the door
    </blueprint>
    """
    lines = [f"{number}. {subgoal}" for number, subgoal in enumerate(subgoals, 1)]
    return "\n".join(["<blueprint>", *lines, "</blueprint>"])


def read_blueprint(text: str, *, fallback: str, max_subgoals: int) -> Blueprint:
    r"""Read a blueprint from what a model wrote.

    Inside the tag every non-empty line is a sub-goal, numbered or not; without the tag, only numbered or
    bulleted lines count. Nothing readable gives the one-sub-goal blueprint `fallback`, marked malformed.

    >>> read_blueprint("Sure! - find key\n- open door", fallback="the task", max_subgoals=8).subgoals
    ('open door',)
    >>> read_blueprint("<blueprint>find key\n2) open door", fallback="the task", max_subgoals=8).subgoals
    ('find key', 'open door')
    >>> read_blueprint("I cannot plan.", fallback="the task", max_subgoals=8)
    Blueprint(subgoals=('the task',), malformed=True)
    """
    subgoals = tuple(subgoal for _, subgoal in _subgoals(text))
    if not subgoals:
        return Blueprint(subgoals=(fallback,), malformed=True)
    return Blueprint(subgoals=subgoals[:max_subgoals])


def subgoal_lines(text: str) -> list[int]:
    r"""Return which line of a text each sub-goal stands in, from 0.

    >>> subgoal_lines("<think>first\nlast</think>\n<blueprint>\n1. find the key\n\n2. open the door\n</blueprint>")
    [3, 5]
    """
    return [line for line, _ in _subgoals(text)]


def _subgoals(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of the line, sub-goal)."""
    body = _answer(text)
    tagged = _BLUEPRINT.search(body)
    inside = tagged.group(1) if tagged else body
    first = body[: tagged.start(1)].count("\n") if tagged else 0
    for number, line in enumerate(inside.split("\n"), first):
        item = _ITEM.match(line)
        if item is None and tagged is None:
            continue
        subgoal = _clean(item.group(1) if item else line)
        if subgoal:
            yield number, subgoal


def read_turn(text: str, *, both: bool = False) -> tuple[str | None, bool]:
    """Read an executor's turn as (action, sub_done); (None, False) when it is neither.

    Whichever of the two comes first after the thought counts; with `both`, a `<sub_done>` behind an action counts too.

    >>> read_turn("<think>the key is east</think><action> go east </action>")
    ('go east', False)
    >>> read_turn("<sub_done>")
    (None, True)
    >>> read_turn("go east")
    (None, False)
    >>> read_turn("<action>go east</action><sub_done>"), read_turn("<action>go east</action><sub_done>", both=True)
    (('go east', False), ('go east', True))
    """
    body = _answer(text)
    action, done = _find_action(body), _SUB_DONE.search(body)
    if done and (action is None or done.start() < action[0]):
        return None, True
    if action is None:
        return None, False
    words = _printable(action[1]).strip()
    return (words, both and done is not None) if words else (None, False)


def _find_action(body: str) -> tuple[int, str] | None:
    """Return (where it begins, its words) of the first action that is closed.

    Two searches and no pattern over both tags: of a thousand tags that nothing closes, such a pattern tries each.
    """
    begin = next((tag for tag in _ACTION.finditer(body) if not tag[1]), None)
    if begin is None:
        return None
    end = next((tag for tag in _ACTION.finditer(body, begin.end()) if tag[1]), None)
    return None if end is None else (begin.start(), body[begin.end() : end.start()])


def read_note(text: str) -> str:
    r"""Read what a model noted after a failed attempt, as one line; "" when there is nothing to read.

    >>> read_note("<think>hm</think>I took\nthe wrong key. <action>go</action>")
    'I took the wrong key. go'
    """
    body = _answer(text)
    bare = re.sub(r"</?\w{1,20}\s*/?>", " ", _printable(body))
    return " ".join(bare.split())[:_MAX_NOTE_CHARS].strip()


def _answer(text: str) -> str:
    """Take the thoughts out of what a model wrote, and no more than can be worth reading."""
    return answer_of(text)[:_MAX_READ_CHARS]


def _clean(line: str) -> str:
    """Strip markdown, nested tags and control characters from one sub-goal."""
    bare = re.sub(r"</?\w{1,20}\s*/?>", " ", _printable(line))
    return " ".join(bare.split()).strip("*_`#").strip()[:_MAX_SUBGOAL_CHARS]


def _printable(text: str) -> str:
    return "".join(ch if ch.isprintable() else " " for ch in text)
