"""The log of a run: rows to its files and sinks, and to a person the few numbers he watches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from himac.runs.console import Console
from himac.runs.episodes import episode_row, evaluation_row
from himac.runs.folder import RunWriter
from himac.runs.sinks import Sink
from himac.types import Episode, Group, Json, Role, Row

_PATIENCE = 3  # phases in trouble before somebody is told what that means
_FAR = 1.0  # nats a token


class RunLog:
    """Writes what happens.

    Args:
        writer: of the run's files; None in a process that does not write, because another one does: it does nothing then.
        console: told one line a row.
        iterations: of the run, for the lines.
        sinks: further places for metrics.
        save_episodes: whether training episodes go to episodes.jsonl; those of evaluations always do.
        ahead: given each row, returns what says, whenever it is asked, how long the run will take; None: nobody is told.
    """

    def __init__(
        self,
        writer: RunWriter | None,
        console: Console,
        *,
        iterations: int,
        sinks: Sequence[Sink] = (),
        save_episodes: bool = True,
        ahead: Callable[[Row], Callable[[], str]] | None = None,
    ) -> None:
        self._writer, self._console, self._sinks = writer, console, sinks
        self._iterations, self._save_episodes, self._ahead = iterations, save_episodes, ahead
        self._troubled: Counter[tuple[str, str]] = Counter()  # phases in a row, until it was explained

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
        if self._writer is None:
            return
        self._write(self._writer, row)
        self._console.say(phase_line(row, self._iterations))
        self._explain(row)
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
        if self._writer is None:
            return
        self._write(self._writer, row)
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
        if self._writer is not None:
            self._writer.close()
        for sink in self._sinks:
            sink.close()

    def _write(self, writer: RunWriter, row: Row) -> None:
        writer.metrics({key: _rounded(value) for key, value in row.items()})
        for sink in self._sinks:
            sink.write(row)
        if self._ahead is not None:
            self._console.note(self._ahead(row))

    def _explain(self, row: Row) -> None:
        """Say once for each phase what it means that no group has signal, that the model has moved far, or not at all."""
        for trouble, (is_so, told) in _TROUBLES.items():
            key = (row["phase"], trouble)
            if self._troubled[key] < _PATIENCE:
                self._troubled[key] = self._troubled[key] + 1 if is_so(row) else 0
                for line in told(row) if self._troubled[key] == _PATIENCE else ():
                    self._console.say(line)


def phase_line(row: Row, iterations: int) -> str:
    """Return the line a person reads of one phase, what matters most first.

    >>> phase_line({"iteration": 3, "phase": "executor", "success": 0.5, "return": 1.25, "turns": 9.0,
    ...     "collect_s": 2.0, "generate_s": 1.5, "train_s": 1.0, "kl": 0.01, "clip": 0.0, "grad": 0.2}, 40)
    'step 3/40 | executor | success 0.50 | return 1.25 | 3.0 s | kl 0.0100 | grad 0.20 | turns 9.0 | clip 0.00 | gen 1.5 s, train 1.0 s'
    """
    parts = [f"step {row['iteration']}/{iterations}", row["phase"]]
    if not row.get("samples", 1):
        parts.append("no group had signal: nothing learned")
    if row.get("gap_max", 0.0) > 0.05 and not row.get(
        "stale_steps"
    ):  # older weights are not the engine's fault
        parts.append(f"WARNING engine/learner gap {row['gap_max']:.3f}")
    if row.get("moved", 1.0) < 0.5:
        parts.append(f"WARNING only {row['moved']:.0%} of the weights moved")
    if row.get("skipped_steps"):
        parts.append(f"WARNING {row['skipped_steps']:.0f} steps skipped: gradient not finite")
    parts += [f"success {row['success']:.2f}", f"return {row['return']:.2f}"]
    parts.append(f"{row['collect_s'] + row.get('train_s', 0.0):.1f} s")
    if row.get("distinct_blueprints"):
        parts.append(f"plans {row['distinct_blueprints']:.1f}")
    for key, form in (("kl", ".4f"), ("grad", ".2f"), ("turns", ".1f"), ("clip", ".2f")):
        if key in row:
            parts.append(f"{key} {row[key]:{form}}")
    parts.append(f"gen {row['generate_s']:.1f} s, train {row.get('train_s', 0.0):.1f} s")
    return " | ".join(parts)


def evaluation_line(row: Row, iterations: int) -> str:
    """Return the line a person reads of one evaluation, what matters most first."""
    interval = f"[{row['success_low']:.3f}, {row['success_high']:.3f}]"
    return (
        f"eval {row['iteration']}/{iterations} | {row['split']} | success {row['success']:.3f} {interval} "
        f"of {row['episodes']} | {row['seconds']:.1f} s | return {row['return']:.2f} | steps {row['env_steps']:.1f}"
    )


def no_signal_lines(row: Row) -> list[str]:
    """Return what it means that a phase found nothing to compare, and what to try; a line each, for a narrow terminal."""
    knob = "rollout.planner_temperature" if row["phase"] == "planner" else "rollout.temperature"
    if row["success"] > 0.9:
        more = "nearly all succeed: the tasks are learned, or too easy"
    elif row["success"] < 0.1:
        more = "nearly all fail: a longer warm start, or easier tasks"
    else:
        more = f"more differing attempts: a higher {knob}"
    return [
        f"no signal, {_PATIENCE} times in a row: all attempts at each task came to the same return,",
        "so there was nothing to compare, and nothing was learned. What helps:",
        f"  - {more}",
        "  - more tasks (rollout.tasks), or others for those (rollout.dynamic_sampling=2)",
    ]


def far_lines(row: Row) -> list[str]:
    """Return what a high KL means, and what to try."""
    times = math.exp(min(row["kl"], 9.0))
    return [
        f"kl {row['kl']:.2f} nats a token, and high {_PATIENCE} times in a row: far from its start, the",
        f"model's tokens are on average some {times:.0f} times as likely as there. That",
        "may do while success rises. If it falls, or plans turn to nonsense, what helps:",
        "  - a higher algo.kl_coef, or a lower optimizer.lr",
    ]


def still_lines(row: Row) -> list[str]:
    """Return what it means that steps do not change the weights, and what to try."""
    return [
        f"{row['moved']:.0%} of the weights with a gradient moved, {_PATIENCE} times in a row: steps are",
        "smaller than the weights' numbers can show. What helps:",
        "  - a higher optimizer.lr, or a schedule or warmup that leaves more of it",
    ]


_TROUBLES: dict[str, tuple[Callable[[Row], bool], Callable[[Row], list[str]]]] = {
    "no signal": (lambda row: not row.get("samples", 1), no_signal_lines),
    "far": (lambda row: row.get("kl", 0.0) >= _FAR, far_lines),
    "still": (lambda row: row.get("moved", 1.0) < 0.5, still_lines),
}


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
