"""The log of a run: rows to its files and sinks, and to a person the few numbers he watches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from himac.runs.console import Console
from himac.runs.episodes import episode_row, evaluation_row
from himac.runs.folder import RunWriter
from himac.runs.sinks import Sink
from himac.types import Episode, Group, Json, Role, Row


class RunLog:
    """Writes what happens.

    Args:
        writer: of the run's files.
        console: told one line a row.
        iterations: of the run, for the lines.
        sinks: further places for metrics.
        save_episodes: whether training episodes go to episodes.jsonl; those of evaluations always do.
    """

    def __init__(
        self,
        writer: RunWriter,
        console: Console,
        *,
        iterations: int,
        sinks: Sequence[Sink] = (),
        save_episodes: bool = True,
    ) -> None:
        self._writer, self._console, self._sinks = writer, console, sinks
        self._iterations, self._save_episodes = iterations, save_episodes

    def phase(
        self,
        row: Row,
        groups: Sequence[Group],
        advantages: dict[Role, list[list[np.ndarray]]],
        chosen: Sequence[int] = (),
    ) -> None:
        """Write and say one phase of an iteration.

        Args:
            row: its metrics.
            groups: its episodes.
            advantages: for each role, group and episode, (N,) over the episode's turns; NaN where not trained.
            chosen: index of the blueprint in each group that is carried out next; empty: none is.
        """
        self._write(row)
        self._console.say(phase_line(row, self._iterations))
        if not self._save_episodes:
            return
        for number, group in enumerate(groups):
            per_role = [per_group[number] for per_group in advantages.values()]
            self._writer.episodes(
                [
                    episode_row(
                        episode,
                        iteration=row["iteration"],
                        phase=row["phase"],
                        group=number,
                        chosen=bool(chosen) and chosen[number] == index,
                        advantages=_merged([per_episode[index] for per_episode in per_role]),
                    )
                    for index, episode in enumerate(group)
                ]
            )

    def evaluation(self, row: Row, episodes: Sequence[Episode]) -> None:
        """Write and say one evaluation."""
        self._write(row)
        self._console.say(evaluation_line(row, self._iterations))
        labels = {"iteration": row["iteration"], "split": row["split"]}
        self._writer.episodes(
            [evaluation_row(episode, group=index, **labels) for index, episode in enumerate(episodes)]
        )

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a progress callback for a collection of `total` episodes."""
        return self._console.collecting(title, total)

    def close(self) -> None:
        """Close the files and the sinks."""
        self._writer.close()
        for sink in self._sinks:
            sink.close()

    def _write(self, row: Row) -> None:
        self._writer.metrics({key: _rounded(value) for key, value in row.items()})
        for sink in self._sinks:
            sink.write(row)


class NoLog:
    """The log of a process that does not write: another one does."""

    def phase(
        self,
        row: Row,
        groups: Sequence[Group],
        advantages: dict[Role, list[list[np.ndarray]]],
        chosen: Sequence[int] = (),
    ) -> None:
        """Nothing."""

    def evaluation(self, row: Row, episodes: Sequence[Episode]) -> None:
        """Nothing."""

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a callback that does nothing."""
        return lambda count: None

    def close(self) -> None:
        """Nothing."""


def phase_line(row: Row, iterations: int) -> str:
    """Return the line a person reads of one phase.

    >>> phase_line({"iteration": 3, "phase": "executor", "success": 0.5, "return": 1.25, "turns": 9.0,
    ...     "collect_s": 2.0, "generate_s": 1.5, "train_s": 1.0, "kl": 0.01, "clip": 0.0, "grad": 0.2}, 40)
    'step 3/40 | executor | success 0.50 | return 1.25 | turns 9.0 | kl 0.0100 | clip 0.00 | grad 0.20 | 3.0 s (gen 1.5, train 1.0)'
    """
    parts = [f"step {row['iteration']}/{iterations}", row["phase"]]
    parts += [f"success {row['success']:.2f}", f"return {row['return']:.2f}", f"turns {row['turns']:.1f}"]
    for key, form in (("kl", ".4f"), ("clip", ".2f"), ("grad", ".2f")):
        if key in row:
            parts.append(f"{key} {row[key]:{form}}")
    if row.get("distinct_blueprints"):
        parts.append(f"plans {row['distinct_blueprints']:.1f}")
    if row.get("gap_max", 0.0) > 0.05:
        parts.append(f"WARNING engine/learner gap {row['gap_max']:.3f}")
    if row.get("moved", 1.0) < 0.5:
        parts.append(f"WARNING only {row['moved']:.0%} of the weights moved")
    if row.get("skipped_steps"):
        parts.append(f"WARNING {row['skipped_steps']:.0f} steps skipped: gradient not finite")
    if not row.get("samples", 1):
        parts.append("no group had signal: nothing learned")
    total = row["collect_s"] + row.get("train_s", 0.0)
    parts.append(f"{total:.1f} s (gen {row['generate_s']:.1f}, train {row.get('train_s', 0.0):.1f})")
    return " | ".join(parts)


def evaluation_line(row: Row, iterations: int) -> str:
    """Return the line a person reads of one evaluation."""
    interval = f"[{row['success_low']:.3f}, {row['success_high']:.3f}]"
    return (
        f"eval {row['iteration']}/{iterations} | {row['split']} | success {row['success']:.3f} {interval} "
        f"of {row['episodes']} | return {row['return']:.2f} | steps {row['env_steps']:.1f} | {row['seconds']:.1f} s"
    )


def _merged(per_role: Sequence[np.ndarray]) -> list[float | None]:
    """Merge the roles' advantages into one list over the turns; None where a turn was not trained."""
    merged: list[float | None] = []
    for values in zip(*(advantages.tolist() for advantages in per_role), strict=True):
        trained = [value for value in values if math.isfinite(value)]
        merged.append(round(max(trained), 5) if trained else None)
    return merged


def _rounded(value: Json) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None  # JSON has no word for infinity
    return value
