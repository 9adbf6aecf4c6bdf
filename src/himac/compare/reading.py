"""A run's folder as what a comparison needs of it.

A run is its config, its evaluations with the outcome of every task, and its machine. Evaluations come from
metrics.jsonl; where an older run did not keep outcomes there, they are read from the evaluations' episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from himac.config import Config
from himac.errors import DataError
from himac.report.reading import read_machine, read_metrics
from himac.runs.folder import CONFIG, EPISODES, EVALUATIONS
from himac.runs.formats import load_saved, read_line
from himac.runs.rows import Broken, is_outcome, pieces
from himac.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation, and what training had cost by then."""

    iteration: int
    env_steps: int  # environment steps of training so far
    tokens: int  # tokens generated in training so far
    train_s: float  # seconds of training so far
    processed_tokens: int = 0  # tokens read and generated in training so far; 0: not counted
    processor_s: float = 0.0  # seconds of all processor cores in training so far; 0: not counted
    row: Row  # the whole row of metrics.jsonl
    index_T: np.ndarray | None  # (T,) the tasks' places in the split; None: outcomes were not kept
    success_T: np.ndarray  # (T,) 0.0 or 1.0; the mean alone where outcomes were not kept
    score_T: np.ndarray  # (T,) in [0, 1]

    @property
    def success(self) -> float:
        """The success rate."""
        return float(self.row["success"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run, read."""

    folder: Path
    config: Config
    machine: dict[str, str]  # machine.json; empty when there is none
    before: Evaluation | None  # of the final split at iteration 0
    final: Evaluation | None  # of the final split at the end; None: unfinished, or the run has no final split
    curve: tuple[Evaluation, ...]  # of the validation split, by iteration

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.run.seed

    @property
    def start(self) -> str:
        """What the run started from, as its config says it."""
        model, sft = self.config.model, self.config.sft
        warm = f", {sft.demonstrations} demonstrations" if sft.demonstrations else ""
        return f"{model.name}{warm}"


def read_run(folder: Path, broken: Broken | None = None) -> RunRecord:
    """Read one run. `broken` counts the lines that cannot be read.

    Raises:
        DataError: it has no evaluation to compare.
    """
    config = load_saved(folder / CONFIG)
    rows = [row for row in read_metrics(folder, broken) if row["phase"] == "eval"]
    if not rows:
        raise DataError(f"run {str(folder)!r} has no evaluation to compare", hint="is it still warming up?")
    lacking: Counter[tuple[int, str]] = Counter()
    for row in rows:  # a split can be judged twice in an iteration: for the curve, and in the end
        if "outcomes" not in row:
            lacking[row["iteration"], row["split"]] += row["episodes"]
    told = _outcomes_of_episodes(folder / EPISODES, lacking) if lacking else {}
    evaluations = [_evaluation(row, told) for row in rows]
    settings = config.eval
    whole = [e for e in evaluations if e.row["split"] == settings.final and not _is_of_curve(e, config)]
    ended = [e for e in whole if e.iteration > 0 and e.iteration == evaluations[-1].iteration]
    curve = {e.iteration: e for e in evaluations if _is_of_curve(e, config)}
    return RunRecord(
        folder=folder,
        config=config,
        machine=read_machine(folder),
        before=next((e for e in whole if e.iteration == 0), None),
        final=ended[-1] if ended else None,
        curve=tuple(curve[iteration] for iteration in sorted(curve)),
    )


def find_folders(given: list[Path]) -> list[Path]:
    """Return run folders: each given one that is a run, and those found in the ones that are not.

    A folder whose run has written no metrics (a warm start) is passed over, and so are evaluations that a run keeps.
    """
    found: list[Path] = []
    for path in given:
        inside = [path] if (path / CONFIG).is_file() else [p.parent for p in sorted(path.rglob(CONFIG))]
        found += [p for p in inside if p == path or (p.parent.name != EVALUATIONS and read_metrics(p))]
    return list(dict.fromkeys(found))


def _is_of_curve(evaluation: Evaluation, config: Config) -> bool:
    """Tell a validation from a final evaluation; on a shared split, the final one has more tasks."""
    settings, row = config.eval, evaluation.row
    is_small = bool(settings.tasks) and row["episodes"] <= settings.tasks
    return row["split"] == settings.split and (settings.final != settings.split or is_small)


def _evaluation(row: Row, told: dict[tuple[int, str], Iterator[Row]]) -> Evaluation:
    kept = row.get("outcomes") or _from_episodes(row, told)
    success_T = np.array([float(c) for c in kept["success"]]) if kept else np.array([row["success"]])
    score_T = np.array(kept["score"], float) if kept and "score" in kept else success_T
    if not kept:
        score_T = np.array([row.get("score", row["success"])], float)
    return Evaluation(
        iteration=row["iteration"],
        env_steps=row.get("total_env_steps", 0),
        tokens=row.get("total_tokens", 0),
        train_s=row.get("total_train_s", 0.0),
        processed_tokens=row.get("total_processed_tokens", 0),
        processor_s=row.get("total_processor_s", 0.0),
        row=row,
        index_T=np.array(kept["index"], int) if kept else None,
        success_T=success_T,
        score_T=score_T,
    )


def _from_episodes(row: Row, told: dict[tuple[int, str], Iterator[Row]]) -> Row | None:
    """Take as many episodes as the evaluation had; None where the file does not have them."""
    episodes = told.get((row["iteration"], row["split"]))
    taken = [e for _, e in zip(range(row["episodes"]), episodes)] if episodes is not None else []
    if len(taken) != row["episodes"] or not np.isclose(
        np.mean([e["success"] for e in taken]), row["success"], atol=1e-4
    ):
        return None
    return {
        "index": [e["task"]["index"] for e in taken],
        "success": [e["success"] for e in taken],
        "score": [e["score"] for e in taken],
    }


def _outcomes_of_episodes(
    path: Path, wanted: Counter[tuple[int, str]]
) -> dict[tuple[int, str], Iterator[Row]]:
    """Return {(iteration, split): its evaluations' episodes, in order}, as many as `wanted` has of each.

    Other lines are passed over unparsed, others' episodes are not kept: the file may have gigabytes.
    """
    found: dict[tuple[int, str], list[Row]] = {}
    if path.is_file():
        with open(path, "rb") as file:
            for line in pieces(file):
                if b'"phase":"eval"' not in line[:80]:
                    continue
                row = read_line(line)
                if row is not None and is_outcome(row):
                    of_key = found.setdefault((row["iteration"], row["split"]), [])
                    if len(of_key) < wanted[row["iteration"], row["split"]]:
                        of_key.append({key: row[key] for key in ("task", "success", "score")})
    return {key: iter(rows) for key, rows in found.items()}
