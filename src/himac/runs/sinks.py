"""Further places for metrics: what a sink is, the guard that no run ends by one, and TensorBoard.

A sink takes rows. Each optional package is imported by its sink alone, and its absence is one line
that names the extra. Services that know a run by a name or an id (W&B, MLflow, trackio) are in `himac.runs.trackers`.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from himac.config import Config
from himac.errors import MissingExtraError, missing_extra
from himac.files import reason
from himac.plugins import resolve
from himac.runs.folder import METRICS, read_rows
from himac.text import line
from himac.types import Row

log = logging.getLogger("himac")

_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 1800.0  # between tries; doubled, for each may block a run while it waits


class Sink(Protocol):
    """Takes the rows that also go to metrics.jsonl."""

    def write(self, row: Row) -> None:
        """Take one row."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def make_sinks(
    names: Sequence[str],
    folder: Path,
    *,
    config: Config | None = None,
    after: int | None = None,
    say: Callable[[str], None] = log.warning,
) -> list[Guarded]:
    """Build the configured sinks for a run.

    A sink is built with the run's folder, and with what else its constructor has a name for: `config`, the run's; `kept`,
    the rows that metrics.jsonl holds already, which a resumed run will not write again.

    Args:
        names: short names, import paths.
        folder: the run's.
        config: the run's.
        after: the iteration that a resumed run goes on after; None: it is new.
        say: told in one line what a sink cannot do.

    Raises:
        ConfigError: unknown name.
        MissingExtraError: its package is not installed.
    """
    path = folder / METRICS
    kept = list(read_rows(path)) if after is not None and path.is_file() else []
    offered = {"config": config, "kept": kept}
    sinks: list[Guarded] = []
    for name in names:
        make: Callable[..., Sink] = resolve("sinks", name)
        takes = inspect.signature(make).parameters
        given = {key: value for key, value in offered.items() if key in takes}
        sinks.append(Guarded(name, partial(make, folder, **given), say))
    return sinks


class Guarded:
    """A sink that ends no run: what fails is said once, and tried again later with the rows that were missed.

    Args:
        name: of the sink, for the line.
        make: builds it.
        say: told in one line that it failed, and that it is well again.

    Raises:
        MissingExtraError: its package is not installed.
    """

    def __init__(self, name: str, make: Callable[[], Sink], say: Callable[[str], None]) -> None:
        self._name, self._make, self._say = name, make, say
        self._sink: Sink | None = None
        self._missed: deque[Row] = deque()
        self._pause, self._not_before = 0.0, 0.0  # seconds; of time.monotonic()
        self._tell()

    def write(self, row: Row) -> None:
        """Take one row, now or later."""
        self._missed.append(row)
        if time.monotonic() >= self._not_before:
            self._tell()

    def close(self) -> None:
        """Finish, with a last try at what was missed."""
        if self._missed:
            self._tell()
        if self._missed:
            self._say(f"WARNING sink {self._name!r}: {len(self._missed)} rows never arrived")
        if self._sink is not None:
            try:
                self._sink.close()
            except Exception as error:
                self._say(f"WARNING sink {self._name!r} did not close: {line(reason(error))}")

    def _tell(self) -> None:
        try:
            if self._sink is None:
                self._sink = self._make()
            while self._missed:
                self._sink.write(self._missed[0])
                self._missed.popleft()
        except MissingExtraError:
            raise
        except (
            Exception
        ) as error:  # a library's, a disk's, a network's: whatever it is, training is worth more
            if not self._pause:
                self._say(
                    f"WARNING sink {self._name!r}: {line(reason(error))}; the run goes on, and it is tried again"
                )
            self._pause = min(2 * self._pause or _PAUSE_S, _LONGEST_PAUSE_S)
            self._not_before = time.monotonic() + self._pause
            return
        if self._pause:
            self._say(f"sink {self._name!r} is well again, and has every row")
            self._pause = 0.0


class TensorBoard:
    """Writes event files to RUN/tensorboard.

    Args:
        folder: the run's.
        kept: rows that were written before, and stay.
    """

    def __init__(self, folder: Path, kept: Sequence[Row] = ()) -> None:
        writer = self.require()
        # readers forget what was written from this step on: what a killed run told after its last checkpoint
        newest = max((row["iteration"] for row in kept), default=None)
        self._writer = writer(str(folder / "tensorboard"), purge_step=newest)
        for row in kept:
            if row["iteration"] == newest:
                self.write(row)

    @staticmethod
    def require() -> Any:
        """Return what writes event files.

        Raises:
            MissingExtraError: the package is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing_extra("tensorboard", "tensorboard", "the sink 'tensorboard'") from error
        return SummaryWriter

    def write(self, row: Row) -> None:
        """Write the row's numbers."""
        for name, value in scalars(row):
            self._writer.add_scalar(name, value, row["iteration"])

    def close(self) -> None:
        """Finish."""
        self._writer.close()


def scalars(row: Row) -> list[tuple[str, float]]:
    """Return a row's numbers, named after its phase and split."""
    prefix = f"{row['phase']}_{row['split']}" if "split" in row else row["phase"]
    skip = {"iteration"}
    return [
        (f"{prefix}/{name}", float(value))
        for name, value in row.items()
        if name not in skip and isinstance(value, int | float)
    ]
