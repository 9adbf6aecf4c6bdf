"""Checkpoints: whole or not there.

Write everything into a `.part` folder, flush it to disk, then rename it. A kill or a full disk at any
moment leaves the older checkpoints as they were. A checkpoint holds an ordinary Hugging Face folder
(`model/`), the optimizer, and how long the run's growing files were.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from himac.config import BudgetConfig
from himac.errors import DataError, RunError
from himac.runs.folder import CHECKPOINTS, write_text

KEPT = 2  # newest checkpoints
MODEL = "model"  # folder of the weights
_STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """How far a run has come: all that a resumed run needs besides weights and optimizer."""

    iteration: int = 0  # finished iterations
    env_steps: int = 0  # environment steps of training so far
    tokens: int = 0  # tokens generated in training so far
    processed_tokens: int = 0  # and read or generated, each context's once
    train_s: float = 0.0  # seconds of training so far
    processor_s: float = 0.0  # and of processor cores
    best_success: float = -1.0  # best evaluation so far; -1 before the first
    evaluated: int = -1  # iteration of the newest evaluation; -1 before the first
    lengths: dict[str, int] = field(default_factory=dict)  # bytes of the run's growing files

    def done(self, iterations: int, budget: BudgetConfig) -> bool:
        """Whether the iterations, or one of the limits on steps and tokens, are used up. Time is counted outside."""
        return self.iteration >= iterations or any(
            count >= most for count, most in self._counted(budget) if most
        )

    def spent(self, iterations: int, budget: BudgetConfig) -> float:
        """Return the share of the run's budget that is spent, 0 to 1, by whichever limit is nearest.

        Time does not count: a schedule that follows it would not be the same twice.

        >>> TrainState(iteration=3, env_steps=50).spent(10, BudgetConfig(env_steps=100))
        0.5
        """
        done = ((self.iteration, iterations), *self._counted(budget))
        return min(max((count / most for count, most in done if most), default=0.0), 1.0)

    def out_of_time(self, budget: BudgetConfig) -> bool:
        """Whether the run has trained for as long as it may."""
        limits = ((self.train_s, 60 * budget.minutes), (self.processor_s, budget.processor_s))
        return any(count >= most for count, most in limits if most)

    def totals(self) -> dict[str, float]:
        """Return what training has cost so far, as an evaluation's row has it."""
        return {
            "total_env_steps": self.env_steps,
            "total_tokens": self.tokens,
            "total_processed_tokens": self.processed_tokens,
            "total_train_s": round(self.train_s, 2),
            "total_processor_s": round(self.processor_s, 2),
        }

    def _counted(self, budget: BudgetConfig) -> tuple[tuple[int, int], ...]:
        return (
            (self.env_steps, budget.env_steps),
            (self.tokens, budget.tokens),
            (self.processed_tokens, budget.processed_tokens),
        )


class Saves(Protocol):
    """What a checkpoint holds besides the run's state: a learner."""

    def save(self, folder: Path) -> None:
        """Write into a folder."""
        ...


def save(run: Path, state: TrainState, learner: Saves, *, is_best: bool) -> Path:
    """Write a checkpoint atomically and drop those no longer wanted: all but the two newest and the best.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    root = run / CHECKPOINTS
    final = root / f"iteration-{state.iteration:06d}"
    part = root / f".part-{final.name}"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        learner.save(part)
        (part / _STATE).write_text(json.dumps(asdict(state), indent=1))
        _flush(part)
        if final.exists():
            shutil.rmtree(final)
        os.replace(part, final)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        shutil.rmtree(part, ignore_errors=True)
        raise RunError(
            f"cannot write the checkpoint {str(final)!r}: {error}",
            hint="free some space; himac train --resume goes on from the last whole checkpoint",
        ) from error
    if is_best:
        write_text(root / "best", final.name)
    write_text(root / "last", final.name)
    _drop_old(root)
    return final


def find(run: Path, which: str = "last") -> Path | None:
    """Return the checkpoint called "last" or "best", or None when there is none yet."""
    root = run / CHECKPOINTS
    pointer = root / which
    if pointer.is_file() and (root / pointer.read_text().strip() / _STATE).is_file():
        return root / pointer.read_text().strip()
    whole = sorted(p.parent for p in root.glob(f"iteration-*/{_STATE}"))
    return whole[-1] if whole and which == "last" else None


def model_folder(checkpoint: Path) -> Path:
    """Return the Hugging Face folder inside a checkpoint."""
    return checkpoint / MODEL


def read_state(checkpoint: Path) -> TrainState:
    """Read how far a checkpoint had come.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return TrainState(**json.loads((checkpoint / _STATE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read {str(checkpoint / _STATE)!r}: {error}") from error


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _drop_old(root: Path) -> None:
    best = (root / "best").read_text().strip() if (root / "best").is_file() else ""
    for path in sorted(root.glob("iteration-*"))[:-KEPT]:
        if path.name != best:
            shutil.rmtree(path, ignore_errors=True)
    for path in root.glob(".part-*"):
        shutil.rmtree(path, ignore_errors=True)
