"""The run directory: its names, its writers, its readers. Layer 1.

    runs/NAME/
      config.toml        the resolved config
      recipe.toml        the recipe it came from (when there was one)
      machine.json       where it was started: processor, cores, versions
      metrics.jsonl      one line an iteration and an evaluation
      episodes.jsonl     one line an episode: turns, token ids, masks, log-probabilities, advantages
      evaluations/       one JSON per `himac eval`
      checkpoints/       iteration-000010/ ..., best -> which, last -> which
      curve.png          success over iterations

One idea: both .jsonl files only grow, and a checkpoint remembers how long they were. Resuming cuts them back
to that length, so a killed run leaves no half-told iteration behind. Readers stream and skip a broken
last line.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from himac.errors import MissingFileError, RunError
from himac.types import Blueprint, Context, Episode, Segment, StopReason, Task, Turn

CONFIG, RECIPE, METRICS, EPISODES = "config.toml", "recipe.toml", "metrics.jsonl", "episodes.jsonl"
MACHINE, CHECKPOINTS, EVALUATIONS, CURVE = "machine.json", "checkpoints", "evaluations", "curve.png"
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RunWriter:
    """Writes one run. What is appended is flushed at once, so a reader beside it sees whole lines.

    Args:
        folder: the run directory, made when absent.
        lengths: {file name: bytes} to cut the growing files back to; None starts them anew.

    Raises:
        RunError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, lengths: dict[str, int] | None = None) -> None:
        self.folder = folder
        self._files: dict[str, TextIO] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, EPISODES):
                path = folder / name
                path.touch()
                cut_back(path, (lengths or {}).get(name, 0))
                self._files[name] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise RunError(f"cannot write the run folder {str(folder)!r}: {error}") from error

    def metrics(self, row: dict[str, Any]) -> None:
        """Append one line of metrics."""
        self._append(METRICS, row)

    def episodes(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append episodes (see `episode_row`), a line each."""
        self._append(EPISODES, *rows)

    def lengths(self) -> dict[str, int]:
        """Flush, and return how long each growing file is, in bytes."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: (self.folder / name).stat().st_size for name in self._files}

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _append(self, name: str, *rows: dict[str, Any]) -> None:
        try:
            self._files[name].write("".join(_to_json(row) + "\n" for row in rows))
            self._files[name].flush()
        except OSError as error:
            raise RunError(
                f"cannot write {str(self.folder / name)!r}: {error}",
                hint="free some space and go on with himac train --resume; the last checkpoint is whole",
            ) from error


def cut_back(path: Path, length: int | None = None) -> None:
    """Cut a file of lines to a length; without one, or where the file is shorter, to its last whole line."""
    with open(path, "rb+") as file:
        if length is None or path.stat().st_size < length:
            length = file.read().rfind(b"\n") + 1
        file.truncate(length)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically: it is either the old one or the new one, whole.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(f"cannot write {str(path)!r}: {error}") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Stream the rows of a .jsonl file; a broken line (a run killed while writing) is skipped."""
    if not path.is_file():
        raise MissingFileError(f"no {path.name} in {str(path.parent)!r}", hint="is this a run directory?")
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                yield row


def describe_machine() -> dict[str, str]:
    """Return what a reader needs to judge a run's times: system, processor, cores, versions."""
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
    }
    for package in ("himac", "torch", "transformers", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    """Return the processor's model where Linux tells it, else what Python knows."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def find_run(name: str | Path, root: str | Path = "runs") -> Path:
    """Return a run's directory, given its path or its name under `root`.

    Raises:
        MissingFileError: there is none.
    """
    for path in (Path(name), Path(root) / name):
        if (path / CONFIG).is_file():
            return path
    known = sorted(p.parent.name for p in Path(root).glob(f"*/{CONFIG}"))
    hint = f"runs here: {', '.join(known[-5:])}" if known else ""
    raise MissingFileError(f"no run at {str(name)!r}", hint=hint)


def episode_row(episode: Episode, **labels: Any) -> dict[str, Any]:
    """Return an episode as JSON-ready dicts.

    Args:
        episode: what to write.
        **labels: what else to say about it: iteration, phase, group, advantages, chosen, ...
    """
    return {
        **labels,
        "task": _fields(episode.task),
        "replica": episode.replica,
        "instruction": episode.instruction,
        "blueprint": None if episode.blueprint is None else _fields(episode.blueprint),
        "plan": None if episode.plan is None else _fields(episode.plan),
        "segments": [
            {**_fields(segment), "turns": [_fields(turn) for turn in segment.turns]}
            for segment in episode.segments
        ],
        "contexts": [_context_row(context) for context in episode.contexts],
        **{
            key: getattr(episode, key)
            for key in ("env_return", "penalty", "success", "score", "stop", "env_steps", "calls", "tokens")
        },
        "is_copy": episode.is_copy,
        "error": episode.error,
    }


def evaluation_row(episode: Episode, *, iteration: int, group: int, split: str) -> dict[str, Any]:
    """Return an evaluation's episode as JSON-ready dicts; what tells rows apart comes first, where readers look for it."""
    labels = {"iteration": iteration, "phase": "eval", "group": group, "chosen": False, "split": split}
    return episode_row(episode, **labels, advantages=None)


def read_episode(row: dict[str, Any]) -> Episode:
    """Return the Episode that `episode_row` wrote, to float rounding of the log-probabilities."""
    return Episode(
        task=Task(**row["task"]),
        replica=row["replica"],
        instruction=row["instruction"],
        blueprint=None if row["blueprint"] is None else _blueprint(row["blueprint"]),
        plan=None if row["plan"] is None else Turn(**row["plan"]),
        segments=tuple(_segment(s) for s in row["segments"]),
        contexts=tuple(_context(c) for c in row["contexts"]),
        env_return=row["env_return"],
        penalty=row["penalty"],
        success=row["success"],
        score=row["score"],
        stop=StopReason(row["stop"]),
        env_steps=row["env_steps"],
        calls=row["calls"],
        tokens=row["tokens"],
        is_copy=row["is_copy"],
        error=row["error"],
    )


def _fields(value: Task | Blueprint | Segment | Turn) -> dict[str, Any]:
    """Return a dataclass as a dict that shares its values, where `asdict` would copy each of them."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _context_row(context: Context) -> dict[str, Any]:
    """Ids, the sampled spans, and the log-probabilities of the sampled tokens alone."""
    return {
        "ids": context.ids.tolist(),
        "sampled": _spans(context.sampled),
        "logps": context.logps[context.sampled].astype(np.float64).round(5).tolist(),
    }


def _context(row: dict[str, Any]) -> Context:
    ids = np.asarray(row["ids"], np.int32)
    sampled, logps = np.zeros(len(ids), bool), np.zeros(len(ids), np.float32)
    for start, end in row["sampled"]:
        sampled[start:end] = True
    logps[sampled] = row["logps"]
    return Context(ids=ids, sampled=sampled, logps=logps)


def _spans(mask_T: np.ndarray) -> list[list[int]]:
    """Return [start, end) of each run of True.

    >>> _spans(np.array([0, 1, 1, 0, 1], bool))
    [[1, 3], [4, 5]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_T.astype(np.int8), [0]])))
    return edges.reshape(-1, 2).tolist()


def _blueprint(row: dict[str, Any]) -> Blueprint:
    return Blueprint(subgoals=tuple(row["subgoals"]), malformed=row["malformed"])


def _segment(row: dict[str, Any]) -> Segment:
    turns: Sequence[Turn] = tuple(Turn(**turn) for turn in row["turns"])
    rest = {key: row[key] for key in ("index", "subgoal", "trimmed")}
    return Segment(turns=tuple(turns), stop=StopReason(row["stop"]), **rest)
