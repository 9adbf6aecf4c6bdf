"""Checkpoints: whole or not there, and known when they are damaged later.

Write everything into a `.part` folder, flush it to disk, then rename it. A kill, a full disk or a power cut at any
moment leaves the older checkpoints as they were. A checkpoint holds an ordinary Hugging Face folder
(`model/`), the optimizer, how long the run's growing files were, and the size and sum of each of its files: a disk
that lost some of it is noticed before it is trained on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from himac.config import BudgetConfig
from himac.errors import ConfigError, DataError, HimacError
from himac.files import read_json, reason, sync, sync_tree, write_text, writing
from himac.parallel import ALONE, Ranks
from himac.runs.folder import CHECKPOINTS
from himac.toml import build
from himac.types import Row

KEPT = 2  # newest checkpoints
MODEL = "model"  # folder of the weights
_STATE, _FILES, _SUM = "state.json", "files", "sum"


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


def save(run: Path, state: TrainState, learner: Saves, *, is_best: bool, ranks: Ranks = ALONE) -> Path:
    """Write a checkpoint atomically and drop those no longer wanted: all but the two newest and the best.

    All ranks call this, and return when it is written.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    root = run / CHECKPOINTS
    final = root / f"iteration-{state.iteration:06d}"
    seal(final, learner.save, asdict(state), ranks=ranks)
    if not ranks.is_first:
        return final
    if is_best:
        write_text(root / "best", final.name)
    write_text(root / "last", final.name)
    drop_old(run)
    return final


def seal(final: Path, write: Callable[[Path], None], told: Row, *, ranks: Ranks = ALONE) -> None:
    """Write a folder that is whole or not there, and that tells later whether it still is.

    Args:
        final: the folder; one of that name is replaced.
        write: writes its files into the folder it is given.
        told: kept beside them, as `read_sealed` returns it.
        ranks: who writes into it; the first one makes and seals it.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    part = final.with_name(f".part-{final.name}")
    hint = "free some space; himac train --resume goes on from the last whole checkpoint"
    # torch.save reports a full disk as RuntimeError, safetensors as an error of its own
    with writing(final, hint=hint, also=(RuntimeError, SafetensorError)):
        try:
            if ranks.is_first:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
            ranks.wait()
            write(part)
            ranks.wait()
            if not ranks.is_first:
                return
            files = {str(path.relative_to(part).as_posix()): _sum(path) for path in _files(part)}
            tree = {**told, _FILES: files}
            (part / _STATE).write_text(json.dumps({**tree, _SUM: _sum_of(tree)}, indent=1), encoding="utf-8")
            sync_tree(part)
            if final.exists():
                shutil.rmtree(final)
            os.replace(part, final)
            sync(final.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def damage(sealed: Path) -> str:
    """Return what is wrong with a folder that `seal` wrote: a file missing, cut or changed. "" where nothing is."""
    try:
        tree = read_json(sealed / _STATE)
        if tree.pop(_SUM, None) not in (_sum_of(tree), None):
            return f"{_STATE} is not what was written"
        for name, (size, crc) in tree.get(_FILES, {}).items():
            path = sealed / str(name)
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
            if _sum(path)[1] != crc:
                return f"{name} is not what was written"
    except (HimacError, OSError, AttributeError, TypeError, ValueError) as error:
        return reason(error)
    return ""


def set_aside(checkpoint: Path) -> Path:
    """Take a damaged checkpoint out of the way, under a name that nobody looks for; return where it is now.

    Raises:
        RunError: the folder cannot be written.
    """
    names = (f"damaged-{checkpoint.name}{end}" for end in chain([""], (f"-{n}" for n in count(2))))
    aside = next(path for path in map(checkpoint.with_name, names) if not path.exists())
    with writing(aside):
        checkpoint.rename(aside)
        sync(aside.parent)
    return aside


def find(run: Path, which: str = "last") -> Path | None:
    """Return the checkpoint called "last" or "best", or None when there is none yet."""
    root = run / CHECKPOINTS
    named = _pointed(root / which)
    if named and (root / named / _STATE).is_file():
        return root / named
    whole = sorted(p.parent for p in root.glob(f"iteration-*/{_STATE}"))
    return whole[-1] if whole and which == "last" else None


def damaged(run: Path) -> list[Path]:
    """Return the checkpoints that were set aside."""
    return sorted((run / CHECKPOINTS).glob("damaged-*"))


def model_folder(checkpoint: Path) -> Path:
    """Return the Hugging Face folder inside a checkpoint."""
    return checkpoint / MODEL


def read_state(checkpoint: Path) -> TrainState:
    """Read how far a checkpoint had come.

    Raises:
        DataError: the file is damaged.
    """
    try:
        state: TrainState = build(TrainState, read_told(checkpoint), _STATE)
    except ConfigError as error:
        raise DataError(f"{str(checkpoint / _STATE)!r} is damaged: {reason(error)}") from error
    return state


def read_told(sealed: Path) -> Row:
    """Return what `seal` was told to keep.

    Raises:
        DataError: the file is damaged.
    """
    tree = read_json(sealed / _STATE)
    if not isinstance(tree, dict):
        raise DataError(f"{str(sealed / _STATE)!r} is damaged: no table")
    return {key: value for key, value in tree.items() if key not in (_FILES, _SUM)}


def is_sealed(folder: Path) -> bool:
    """Whether a checkpoint holds the sums of its files; those of himac before 0.2.0 do not."""
    try:
        return _FILES in read_json(folder / _STATE)
    except (DataError, TypeError):
        return False


def _sum_of(tree: Row) -> int:
    """CRC-32 of what state.json says."""
    return zlib.crc32(json.dumps(tree, sort_keys=True).encode())


def _sum(path: Path) -> tuple[int, int]:
    """Return (bytes, CRC-32) of a file."""
    crc = size = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return size, crc


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _pointed(pointer: Path) -> str:
    """Return the name that "last" or "best" holds; "" where it holds none: a damaged one leads nowhere else."""
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
    return name if re.fullmatch(r"iteration-\d+", name) else ""


def drop_old(run: Path) -> None:
    """Drop the checkpoints of a run that are no longer wanted: all but the two newest and the best."""
    root = run / CHECKPOINTS
    best = _pointed(root / "best")
    for path in sorted(root.glob("iteration-*"))[:-KEPT]:
        if path.name != best:
            shutil.rmtree(path, ignore_errors=True)
    for path in root.glob(".part-*"):
        shutil.rmtree(path, ignore_errors=True)
