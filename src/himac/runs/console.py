"""What a person sees of a run: lines on stderr, and progress bars on what takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from himac.files import drop
from himac.text import clean

_BAR_AFTER_S = 2.0  # anything that takes longer gets a progress bar


class Console(Protocol):
    """Receives what is meant for a person."""

    def say(self, text: str) -> None:
        """Take one line."""
        ...

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a progress callback for something of `total` parts."""
        ...


class Silent:
    """Says nothing, for notebooks and programs."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a callback that does nothing."""
        return lambda count: None


class Lasting(Rich):
    """A console on stderr for work that outlasts its reader: a pipe that is closed or a full disk ends the words alone."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True)

    def print(self, *objects: Any, **given: Any) -> None:
        """Print, as long as somebody takes it."""
        try:
            super().print(*objects, **given)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Be silent from now on; rich would end the program."""
        self.quiet = True
        drop("stderr")


class Terminal:
    """Prints to stderr."""

    def __init__(self) -> None:
        self._rich = Lasting()
        self._bar: _Bar | None = None

    def say(self, text: str) -> None:
        """Print one line."""
        self.close()
        self._rich.print(clean(text), markup=False)

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Open a progress bar that shows itself after two seconds; return its advance function."""
        self.close()
        self._bar = _Bar(self._rich, title, total)
        return self._bar.advance

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar:
    """A rich progress bar that stays hidden for the first two seconds."""

    def __init__(self, rich: Rich, title: str, total: int) -> None:
        self._rich, self._title, self._total = rich, title, total
        self._began, self._done = time.monotonic(), 0
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is None and self._is_due():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self._rich, transient=True)
            self._task = self._progress.add_task(self._title, total=self._total)
            self._progress.start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _is_due(self) -> bool:
        return sys.stderr.isatty() and time.monotonic() - self._began > _BAR_AFTER_S
