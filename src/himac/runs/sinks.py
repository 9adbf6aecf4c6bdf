"""Further places for metrics: TensorBoard and Weights & Biases.

A sink takes rows. Each optional package is imported by its sink alone, and its absence is one line
that names the extra.
"""

from __future__ import annotations

import inspect
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from himac.config import Config
from himac.errors import missing_extra
from himac.files import read_text, write_text
from himac.plugins import resolve
from himac.runs.folder import METRICS, read_rows
from himac.types import Row

_WANDB_ID = "wandb-id"


class Sink(Protocol):
    """Takes the rows that also go to metrics.jsonl."""

    def write(self, row: Row) -> None:
        """Take one row."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def make_sinks(
    names: Sequence[str], folder: Path, *, config: Config | None = None, after: int | None = None
) -> list[Sink]:
    """Build the configured sinks for a run.

    A sink is built with the run's folder, and with what else its constructor has a name for: `config`, the run's; `kept`,
    the rows that metrics.jsonl holds already, which a resumed run will not write again.

    Args:
        names: short names, import paths.
        folder: the run's.
        config: the run's.
        after: the iteration that a resumed run goes on after; None: it is new.

    Raises:
        ConfigError: unknown name.
        MissingExtraError: its package is not installed.
    """
    path = folder / METRICS
    kept = list(read_rows(path)) if after is not None and path.is_file() else []
    offered = {"config": config, "kept": kept}
    sinks: list[Sink] = []
    for name in names:
        make: Callable[..., Sink] = resolve("sinks", name)
        takes = inspect.signature(make).parameters
        sinks.append(make(folder, **{key: value for key, value in offered.items() if key in takes}))
    return sinks


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
        for name, value in _scalars(row):
            self._writer.add_scalar(name, value, row["iteration"])

    def close(self) -> None:
        """Finish."""
        self._writer.close()


class Wandb:
    """Logs to Weights & Biases: the run's name, its config, an id of its own that a resumed run finds again.

    Project, entity and group are W&B's own environment variables: WANDB_PROJECT, WANDB_ENTITY, WANDB_RUN_GROUP.

    Args:
        folder: the run's.
        config: the run's.
        kept: rows that were written before: a step that W&B has seen is not counted again.
    """

    def __init__(self, folder: Path, config: Config | None = None, kept: Sequence[Row] = ()) -> None:
        wandb = self.require()
        path = folder / _WANDB_ID
        if not path.is_file():
            write_text(path, f"{uuid.uuid4().hex[:12]}\n")
        told = asdict(config) if config is not None else {}
        tags = [config.env.name, config.algo.method, config.algo.estimator] if config is not None else []
        self._step = len(kept)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "himac"), name=folder.resolve().name, id=read_text(path).strip(),
            resume="allow", dir=str(folder), config=told, tags=tags,
        )  # fmt: skip

    @staticmethod
    def require() -> Any:
        """Return the package.

        Raises:
            MissingExtraError: it is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("wandb", "wandb", "the sink 'wandb'") from error
        return wandb

    def write(self, row: Row) -> None:
        """Write the row's numbers, as the step that is its place in metrics.jsonl."""
        self._run.log({**dict(_scalars(row)), "iteration": row["iteration"]}, step=self._step)
        self._step += 1

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
