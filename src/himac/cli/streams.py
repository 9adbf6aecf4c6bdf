"""The standard streams, fit for anything: consoles of any encoding, closed ones, full ones, pipes that end early."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_ASCII = {
    "✓": "+", "✗": "x", "★": "*", "»": ">", "·": "-", "…": "...", "–": "-", "—": "-", "−": "-", "█": "#", "▀": "#",
    "─": "-", "━": "-", "│": "|", "╸": "-", "╺": "-", "✅": "+", "❌": "x",
    **dict(zip("▁▂▃▄▅▆▇", "._-=+*%", strict=True)),
}  # fmt: skip
"""What stands for our own signs on a console that has none of them."""


def make_fit() -> None:
    """Give stdin, stdout and stderr something to be where they are closed, and an answer to every character."""
    with contextlib.suppress(LookupError, ValueError):
        codecs.register_error("himac", _plain)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="himac")


def drop(name: str) -> None:
    """Let a stream that cannot be written lead nowhere, so that the interpreter does not try again at its end."""
    stream = getattr(sys, name)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def screen() -> Console:
    """Return what prints to stdout in colour; a reader who leaves early ends it as any program's end."""
    from rich.console import Console as Rich

    class Screen(Rich):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            raise BrokenPipeError

    return Screen(highlight=False)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in text), error.end
