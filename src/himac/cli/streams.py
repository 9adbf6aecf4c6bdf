"""What a process is given: streams of any encoding, closed, full or ending early, and signals that end it."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_ASCII = {
    "✓": "+", "✗": "x", "★": "*", "»": ">", "·": "-", "…": "...", "–": "-", "—": "-", "−": "-", "█": "#", "▀": "#",
    "─": "-", "━": "-", "│": "|", "╸": "-", "╺": "-", "✅": "+", "❌": "x",
    "○": "o", "■": "$", "▣": "*", "●": "@", "◉": "+",
    **dict(zip("▁▂▃▄▅▆▇", "._-=+*%", strict=True)),
}  # fmt: skip
"""What stands for our own signs on a console that has none of them."""
_USUAL = (signal.SIG_DFL, signal.default_int_handler)  # who has another, or ignores it, keeps that
_SAME_WISH_S = 1.0
_AGAIN_S = 0.05  # until a signal that got lost is sent anew


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
        self.number = number
        self.status = 128 + number


@contextlib.contextmanager
def interruptible(*, to_the_end: bool = False) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, in order and with a word; who ignores them (nohup) still does.

    The first signal interrupts. More of them within a second are the same wish (a hand that shakes, a launcher that
    passes on what the terminal sent already) and do not disturb the tidying; a later one ends the process at once. A signal
    that falls into a destructor or a callback, from where Python lets no exception out, is sent again.

    Args:
        to_the_end: the process ends with the command, so what comes while it ends is still the same wish.
    """
    asked_s = -math.inf

    def end(number: int, frame: object) -> None:
        nonlocal asked_s
        first, now = asked_s == -math.inf, time.monotonic()
        if first:
            asked_s = now
            raise Ended(number)
        if now - asked_s > _SAME_WISH_S:
            os._exit(128 + number)

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        nonlocal asked_s
        if isinstance(unraisable.exc_value, Ended):
            asked_s = -math.inf
            again = threading.Timer(_AGAIN_S, _send, (unraisable.exc_value.number,))
            again.daemon = True
            again.start()
        else:
            told(unraisable)

    before: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        is_ours = threading.current_thread() is threading.main_thread()
        if number is not None and is_ours and signal.getsignal(number) in _USUAL:
            before[number] = signal.signal(number, end)
    told = sys.unraisablehook
    if before:
        sys.unraisablehook = lost
    try:
        yield
    finally:
        if sys.unraisablehook is lost:
            sys.unraisablehook = told
        if asked_s == -math.inf or not to_the_end:
            _handle(before)
        else:  # Python takes its handlers away while it ends, and then the signal would kill
            atexit.register(_handle, dict.fromkeys(before, signal.SIG_IGN))


def _send(number: int) -> None:
    """Send a signal to the main thread, which wakes where it waits."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)


def _handle(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


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
