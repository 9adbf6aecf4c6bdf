"""Runs that several processes train: begun behind a warm start, and compared by their numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from himac.config import Config
from himac.runs.folder import METRICS, START, read_rows
from himac.train.run import new_run


def new(folder: Path, config: Config, start: Path) -> Path:
    """Make a run that has its warm start behind it."""
    new_run(folder, config)
    shutil.copytree(start, folder / START)
    return folder


def numbers(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a run without its times."""
    times = ("seconds", "total_train_s", "total_processor_s")
    return [
        {k: v for k, v in row.items() if not k.endswith("_s") and k not in times}
        for row in read_rows(folder / METRICS)
    ]
