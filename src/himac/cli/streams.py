"""What a process is given: streams of any encoding, closed, full or ending early, and signals that end it."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_ASCII = {
    "✓": "+", "✗": "x", "★": "*", "»": ">", "·": "-", "…": "...", "–": "-", "—": "-", "−": "-", "█": "#", "▀": "#",
    "─": "-", "━": "-", "│": "|", "╸": "-", "╺": "-", "✅": "+", "❌": "x",
    "○": "o", "■": "$", "▣": "*", "●": "@", "◉": "+",
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


class Ended(KeyboardInterrupt):
    """The process was asked to end: by a scheduler, a shutdown, a terminal that closed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, in order and with a word; who ignores them (nohup) still does."""
    taken = []
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        is_ours = threading.current_thread() is threading.main_thread()
        if number is not None and is_ours and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: object) -> None:
    raise Ended(number)


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
