"""Further places for metrics: TensorBoard and Weights & Biases.

A sink takes rows. Each optional package is imported by its sink alone, and its absence is one line
that names the extra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from himac.errors import missing_extra
from himac.plugins import resolve
from himac.types import Row


class Sink(Protocol):
    """Takes the rows that also go to metrics.jsonl."""

    def write(self, row: Row) -> None:
        """Take one row."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def make_sinks(names: Sequence[str], folder: Path) -> list[Sink]:
    """Build the configured sinks for a run.

    Raises:
        ConfigError: unknown name.
        MissingExtraError: its package is not installed.
    """
    makers: list[Callable[[Path], Sink]] = [resolve("sinks", name) for name in names]
    return [make(folder) for make in makers]


class TensorBoard:
    """Writes event files to RUN/tensorboard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing_extra("tensorboard", "tensorboard", "the sink 'tensorboard'") from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, row: Row) -> None:
        """Write the row's numbers."""
        for name, value in _scalars(row):
            self._writer.add_scalar(name, value, row["iteration"])

    def close(self) -> None:
        """Finish."""
        self._writer.close()


class Wandb:
    """Logs to Weights & Biases under the run's name."""

    def __init__(self, folder: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("wandb", "wandb", "the sink 'wandb'") from error
        self._run = wandb.init(
            project="himac", name=folder.name, id=folder.name, resume="allow", dir=str(folder)
        )

    def write(self, row: Row) -> None:
        """Write the row's numbers."""
        self._run.log({**dict(_scalars(row)), "iteration": row["iteration"]})

    def close(self) -> None:
        """Finish."""
        self._run.finish()


def _scalars(row: Row) -> list[tuple[str, float]]:
    prefix = f"{row['phase']}_{row['split']}" if "split" in row else row["phase"]
    skip = {"iteration"}
    return [
        (f"{prefix}/{name}", float(value))
        for name, value in row.items()
        if name not in skip and isinstance(value, int | float)
    ]
