"""What a person sees of a run: lines on stderr, and a progress bar on what takes long.

In a terminal a line is as wide as the terminal: what does not fit is left out from its end, part by part, so the parts
stand in the order of their importance. A file that stderr goes to gets all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console as Rich
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from himac.files import drop
from himac.text import clean

_BAR_AFTER_S = 2.0  # anything that takes longer gets a progress bar
_BETWEEN = " | "


class Console(Protocol):
    """Receives what is meant for a person."""

    def say(self, text: str) -> None:
        """Take one line."""
        ...

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a progress callback for something of `total` parts."""
        ...

    def note(self, told: Callable[[], str]) -> None:
        """Take what says, whenever it is asked, what stands beside every bar from now on: how long the whole run will take."""
        ...


class Silent:
    """Says nothing, for notebooks and programs."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a callback that does nothing."""
        return lambda count: None

    def note(self, told: Callable[[], str]) -> None:
        """Drop it."""


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
        self._note: Callable[[], str] = str

    def say(self, text: str) -> None:
        """Print one line, above the progress bar where there is one."""
        width = self._rich.width if self._rich.is_terminal else 0
        self._rich.print(fitted(clean(text), width), markup=False)

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Open a progress bar that shows itself after two seconds; return its advance function."""
        self.close()
        self._bar = _Bar(self._rich, title, total, self._note)
        return self._bar.advance

    def note(self, told: Callable[[], str]) -> None:
        """Show what it says beside the bars that are opened from now on, and ask again as they go on."""
        self._note = told

    def close(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def fitted(line: str, width: int) -> str:
    """Leave out the last parts of a line, as many as do not fit; the first one stays. A width of 0 takes all.

    >>> fitted("step 3/40 | success 0.50 | turns 9.0", 26)
    'step 3/40 | success 0.50'
    """
    while 0 < width < len(line) and _BETWEEN in line:
        line = line.rpartition(_BETWEEN)[0]
    return line


class _Note(ProgressColumn):
    """What a bar's note says at this moment."""

    def render(self, task: Task) -> Text:
        return Text(clean(task.fields["note"]()), style="dim")


class _Bar:
    """A rich progress bar that stays hidden for the first two seconds, and goes when all is done."""

    def __init__(self, rich: Rich, title: str, total: int, note: Callable[[], str]) -> None:
        self._rich, self._title, self._total, self._note = rich, title, total, note
        self._began, self._done = time.monotonic(), 0
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is None and self._is_due():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                _Note(),
            )
            self._progress = Progress(*columns, console=self._rich, transient=True)
            self._task = self._progress.add_task(self._title, total=self._total, note=self._note)
            self._progress.start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done)
            if self._done >= self._total:
                self.close()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _is_due(self) -> bool:
        is_late = time.monotonic() - self._began > _BAR_AFTER_S
        return self._rich.is_terminal and is_late and self._done < self._total
