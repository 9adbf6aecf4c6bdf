"""Bounds for a program that came with a model: its chat template may ask for more memory or time than a machine has.

jinja's sandbox keeps a template from the system, not from `'a' * 10 ** 10`. So it is tried under limits before it is used:
memory by the system's own limit where there is one (Linux), time by a look at the clock at each line, which reaches loops
but not one long sum. What makes such sums is refused before: powers, and products of two unknowns.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

MOST_S = 5.0
"""Seconds that all probes of a template may take; ordinary ones take milliseconds."""
MOST_BYTES = 2**30
"""Memory that it may take."""


class TooMuchError(Exception):
    """A template took more than it may."""


def refuse_growth(template: str) -> None:
    """Refuse what no chat needs and a processor never ends.

    Raises:
        TooMuchError: it raises to powers, or multiplies what is not known with what is not known.

    >>> refuse_growth("{{ 10 ** 10 }}")
    Traceback (most recent call last):
    himac.chat.bounds.TooMuchError: it raises to powers
    """
    from jinja2 import Environment, TemplateError, nodes
    from jinja2.ext import do, loopcontrols

    text = template.replace("generation %}", "if true %}").replace("endgeneration", "endif")
    try:
        tree = Environment(extensions=[loopcontrols, do]).parse(text)
    except (TemplateError, RecursionError):
        return  # whoever compiles it says so
    if tree.find(nodes.Pow) is not None:
        raise TooMuchError("it raises to powers")
    if any(
        not any(isinstance(side, nodes.Const) for side in (p.left, p.right)) for p in tree.find_all(nodes.Mul)
    ):
        raise TooMuchError("it multiplies what is not known with what is not known")


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bound the memory and time of what is done inside.

    Raises:
        TooMuchError: it took more.
    """
    until, before = time.monotonic() + MOST_S, sys.gettrace()

    def watch(frame: FrameType, event: str, arg: Any) -> Any:
        if time.monotonic() > until:
            raise TooMuchError(f"it takes more than {MOST_S:.0f} s")
        return watch

    with _bounded_memory():
        sys.settrace(watch)
        try:
            yield
        except MemoryError:
            raise TooMuchError(f"it takes more than {MOST_BYTES / 2**30:.0f} GiB of memory") from None
        finally:
            sys.settrace(before)


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    """Bound what the process may take beyond what it has, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MOST_BYTES
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
