"""For the API reference: what our docstrings and comments say, in the sections that the reader of docstrings knows.

The comment behind a dataclass's field becomes a row of its class's table of attributes, and a doctest becomes an example.
"""

from __future__ import annotations

import io
import re
import textwrap
import tokenize
from typing import Any

import griffe

_TAG = re.compile(r"</?[a-z_]+>")
_DOCTEST = re.compile(r"^(>>> .*?)(?=\n\n(?!>>>)|\Z)", re.DOTALL | re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrite docstrings as they are loaded."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Give a doctest the heading of an example."""
        if obj.docstring is not None:
            obj.docstring.value = with_examples(with_tags(obj.docstring.value))

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Write the fields' comments into the class's docstring."""
        fields = []
        for name, member in cls.members.items():
            if isinstance(member, griffe.Attribute) and not name.startswith("_") and member.docstring is None:
                lines = member.lines_collection[member.filepath][member.lineno - 1 : member.endlineno]
                fields.append((name, comment_of("\n".join(lines))))
        if cls.docstring is not None and any(comment for _, comment in fields):
            rows = "\n".join(
                f"    {name}: {with_tags(comment) or '(its name says it)'}" for name, comment in fields
            )
            cls.docstring.value += f"\n\nAttributes:\n{rows}\n"


def comment_of(lines: str) -> str:
    """Return the last comment of a statement, without its mark; "" where there is none.

    >>> comment_of('name: str = "#"  # "sokoban"')
    '"sokoban"'
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(lines.strip() + "\n").readline))
    except (tokenize.TokenError, IndentationError):
        return ""
    comments = [t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT]
    return comments[-1] if comments else ""


def with_tags(text: str) -> str:
    """Return text whose tags are shown, not obeyed: `<sub_done>` is a word of ours and none of HTML's.

    >>> with_tags("the executor said <sub_done>"), with_tags("`<sub_done>`")
    ('the executor said `<sub_done>`', '`<sub_done>`')
    """
    lines = (
        line if line.startswith((" ", ">>>")) or "`" in line else _TAG.sub(r"`\g<0>`", line)
        for line in text.split("\n")
    )
    return "\n".join(lines)


def with_examples(text: str) -> str:
    r"""Return a docstring whose doctests stand under "Examples:".

    >>> with_examples("Say one.\n\n>>> one()\n1")
    'Say one.\n\nExamples:\n    >>> one()\n    1'
    """
    return _DOCTEST.sub(lambda found: "Examples:\n" + textwrap.indent(found[1], "    "), text)
