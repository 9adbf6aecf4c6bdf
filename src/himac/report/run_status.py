"""How far a run is, what it is doing, how long it will take: from its config and metrics.jsonl alone.

A run is a list of known parts (iterations, evaluations every so often, one at the end), so what is left is
what is left of that list, each part at the pace it lately had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from himac.config import Config, load_config
from himac.errors import ConfigError
from himac.report.reading import read_toml
from himac.runs.folder import CONFIG
from himac.toml import write_value
from himac.types import Row

_PLAN = (
    "run.iterations", "budget.minutes", "budget.env_steps", "budget.tokens", "eval.every", "eval.split", "eval.final",
)  # fmt: skip
_RECENT = 10  # iterations that tell the pace: late ones are often shorter or longer than the first
_CLOSING = ("executor", "flat", "joint")  # the phase that ends an iteration

EvalComponents = Literal["starting", "training", "evaluating", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run at one moment."""

    iteration: int  # the last one that is whole
    iterations: int  # planned
    stage: EvalComponents  # "starting": before the first iteration; "evaluating": the final evaluation
    spent_s: float  # seconds of the training and the evaluations told so far
    pace_s: float  # seconds an iteration lately took; 0 before there is one
    part_s: float  # seconds the part under way should take, the longest it can be; 0 when not known
    left_s: float | None  # seconds, estimated; None while nothing can be told
    limit: str = ""  # the budget that ended training before its last iteration; "" when none did


def read_status(rows: Sequence[Row], config: Config, *, since_s: float = 0.0) -> RunStatus:
    """Tell how far a run is.

    Args:
        rows: its metrics.
        config: its config.
        since_s: seconds since the last row was written.

    >>> from himac.config import load_config
    >>> config = load_config(None, ["run.iterations=4", "eval.every=0", "eval.final=test"])
    >>> start = {"phase": "eval", "split": "test", "iteration": 0, "seconds": 30.0}
    >>> train = [{"phase": "executor", "iteration": i, "collect_s": 8.0, "learn_s": 2.0} for i in (1, 2, 3)]
    >>> read_status([start, *train], config).left_s  # an iteration of 10 s, an evaluation of 30 s
    40.0
    """
    trained = [row for row in rows if row["phase"] != "eval"]
    evaluated = [row for row in rows if row["phase"] == "eval"]
    iteration = max((row["iteration"] for row in trained if row["phase"] in _CLOSING), default=0)
    train_s = sum(map(_seconds, trained))
    pace_s = _pace(trained, iteration)
    limit = _limit(config, evaluated, iteration, train_s)
    is_trained = bool(limit) or iteration >= config.run.iterations
    wanted = _wanted(config, iteration) if is_trained else []
    for row in evaluated:
        if row["iteration"] == iteration and row["split"] in wanted:
            wanted.remove(row["split"])
    stage: EvalComponents = "training" if iteration else "starting"
    if is_trained:
        stage = "evaluating" if wanted else "done"
    takes_s = {row["split"]: row["seconds"] for row in evaluated}
    part_s = max(
        [takes_s.get(split, 0.0) for split in wanted or (config.eval.split,)]
        + ([] if is_trained else [pace_s])
    )
    return RunStatus(
        iteration=iteration,
        iterations=config.run.iterations,
        stage=stage,
        spent_s=train_s + sum(row["seconds"] for row in evaluated),
        pace_s=pace_s,
        part_s=part_s,
        left_s=_left(config, iteration, wanted if is_trained else None, pace_s, train_s, takes_s, since_s),
        limit="" if iteration >= config.run.iterations else limit,
    )


def duration(seconds: float) -> str:
    """Return seconds as a person says them.

    >>> duration(40), duration(840), duration(9000)
    ('40 s', '14 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plan_of(folder: Path) -> Config:
    """Return what the run's config says about its length; a config of another version may hold more than we know."""
    told = read_toml(folder / CONFIG)
    words = []
    for key in _PLAN:
        if key in told:
            word = f"{key}={write_value(told[key])}"
            with contextlib.suppress(ConfigError):
                load_config(None, [word])
                words.append(word)
    return load_config(None, words)


def _wanted(config: Config, iteration: int) -> list[str]:
    """Return the splits that are evaluated after the last iteration, once for each time."""
    is_due = config.eval.every and iteration % config.eval.every == 0
    return [split for split in (config.eval.split if is_due else "", config.eval.final) if split]


def _limit(config: Config, evaluated: Sequence[Row], iteration: int, train_s: float) -> str:
    """Return which budget is spent; an evaluation's row tells totals exactly, the other rows nearly."""
    budget, now = config.budget, [row for row in evaluated if row["iteration"] == iteration and iteration]
    known_s = max([train_s, *(row.get("total_train_s", 0.0) for row in now)])
    if budget.minutes and known_s >= budget.minutes * 60:
        return f"limit of {budget.minutes:g} min"
    for key, most, what in (
        ("total_env_steps", budget.env_steps, "environment steps"),
        ("total_tokens", budget.tokens, "generated tokens"),
        ("total_processed_tokens", budget.processed_tokens, "processed tokens"),
        ("total_processor_s", budget.processor_s, "processor seconds"),
    ):
        if most and any(row.get(key, 0) >= most for row in now):
            return f"limit of {most:,} {what}"
    return ""


def _pace(trained: Sequence[Row], iteration: int) -> float:
    first = max(iteration - _RECENT, 0)
    recent = [row for row in trained if first < row["iteration"] <= iteration]
    return sum(map(_seconds, recent)) / (iteration - first) if recent else 0.0


def _left(
    config: Config,
    iteration: int,
    wanted: list[str] | None,  # evaluations still to come; None while iterations are
    pace_s: float,
    train_s: float,
    takes_s: dict[str, float],
    since_s: float,
) -> float | None:
    if wanted is not None:
        return max(sum(takes_s.get(split, 0.0) for split in wanted) - since_s, 0.0) if wanted else 0.0
    if not pace_s:
        return None
    more = float(config.run.iterations - iteration)
    if config.budget.minutes:
        more = min(more, max((config.budget.minutes * 60 - train_s) / pace_s, 0.0))
    every = config.eval.every
    rounds = (iteration + int(more)) // every - iteration // every if every else 0
    evaluations_s = rounds * takes_s.get(config.eval.split, 0.0) + takes_s.get(config.eval.final, 0.0)
    return max(more * pace_s - min(since_s, pace_s), 0.0) + evaluations_s


def _seconds(row: Row) -> float:
    return float(row["collect_s"] + row["learn_s"])
