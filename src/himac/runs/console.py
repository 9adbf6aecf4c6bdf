"""The terminal of a run: one line a step, progress bars on what takes long, and the run's files.

One idea: logging lives at the edge. The loop hands over rows; this writes them to metrics.jsonl and
episodes.jsonl, to the optional sinks, and says the few numbers a person watches.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from himac.runs.episodes import episode_row, evaluation_row
from himac.runs.folder import RunWriter
from himac.runs.sinks import Sink
from himac.types import Episode, Group

_BAR_AFTER_S = 2.0  # anything that takes longer gets a progress bar


class RunConsole:
    """Tells a person, and the run's files, what happens.

    Args:
        save_episodes: whether training episodes go to episodes.jsonl.
        sinks: further places for metrics.
        quiet: say nothing (files are written all the same).
    """

    def __init__(
        self, *, save_episodes: bool = True, sinks: Sequence[Sink] = (), quiet: bool = False
    ) -> None:
        self._rich = Rich(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._save_episodes, self._sinks = save_episodes, sinks
        self._writer: RunWriter | None = None
        self._iterations = 0
        self._bar: _Bar | None = None
        self._spoke_s = 0.0

    def say(self, text: str) -> None:
        """Print one line to stderr."""
        self._close_bar()
        self._rich.print(text, markup=False)

    def attach(self, writer: RunWriter, iterations: int) -> None:
        self._writer, self._iterations = writer, iterations

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Open a progress bar that shows itself after two seconds; return its advance function."""
        self._close_bar()
        self._bar = _Bar(self._rich, title, total)
        return self._bar.advance

    def warm_start(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        """Say a line every few seconds of the warm start."""
        now = time.monotonic()
        if now - self._spoke_s > 5 or step in (1, steps):
            self._spoke_s = now
            self.say(f"warm start {step}/{steps} | loss {metrics['loss']:.4f} | grad {metrics['grad']:.2f}")

    def phase(
        self, row: dict[str, Any], groups: Sequence[Group], advantages: Any, chosen: Sequence[int]
    ) -> None:
        """Write and say one phase of an iteration."""
        self._write(row)
        self.say(phase_line(row, self._iterations))
        if self._save_episodes and self._writer is not None:
            for place, group in enumerate(groups):
                per_role = [by_group[place] for by_group in advantages.values()]
                self._writer.episodes(
                    [
                        episode_row(
                            episode,
                            iteration=row["iteration"],
                            phase=row["phase"],
                            group=place,
                            chosen=bool(chosen) and chosen[place] == episode_place,
                            advantages=_merged([by_episode[episode_place] for by_episode in per_role]),
                        )
                        for episode_place, episode in enumerate(group)
                    ]
                )

    def evaluation(self, row: dict[str, Any], episodes: Sequence[Episode]) -> None:
        """Write and say one evaluation."""
        self._write(row)
        self.say(evaluation_line(row, self._iterations))
        if self._writer is not None:
            told = {"iteration": row["iteration"], "split": row["split"]}
            self._writer.episodes(
                [evaluation_row(episode, group=place, **told) for place, episode in enumerate(episodes)]
            )

    def close(self) -> None:
        self._close_bar()
        for sink in self._sinks:
            sink.close()

    def _write(self, row: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.metrics({k: _rounded(v) for k, v in row.items()})
        for sink in self._sinks:
            sink.write(row)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def phase_line(row: dict[str, Any], iterations: int) -> str:
    """Return the line a person reads of one phase.

    >>> phase_line({"iteration": 3, "phase": "micro", "success": 0.5, "return": 1.25, "turns": 9.0,
    ...     "collect_s": 2.0, "generate_s": 1.5, "train_s": 1.0, "kl": 0.01, "clip": 0.0, "grad": 0.2}, 40)
    'step 3/40 | micro | success 0.50 | return 1.25 | turns 9.0 | kl 0.0100 | clip 0.00 | grad 0.20 | 3.0 s (gen 1.5, train 1.0)'
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
    if not row.get("samples", 1):
        parts.append("no group had signal: nothing learned")
    total = row["collect_s"] + row.get("train_s", 0.0)
    parts.append(f"{total:.1f} s (gen {row['generate_s']:.1f}, train {row.get('train_s', 0.0):.1f})")
    return " | ".join(parts)


def evaluation_line(row: dict[str, Any], iterations: int) -> str:
    """Return the line a person reads of one evaluation."""
    interval = f"[{row['success_low']:.3f}, {row['success_high']:.3f}]"
    return (
        f"eval {row['iteration']}/{iterations} | {row['split']} | success {row['success']:.3f} {interval} "
        f"of {row['episodes']} | return {row['return']:.2f} | steps {row['env_steps']:.1f} | {row['seconds']:.1f} s"
    )


class _Bar:
    """A rich progress bar that stays hidden for the first two seconds."""

    def __init__(self, rich: Rich, title: str, total: int) -> None:
        self._rich, self._title, self._total = rich, title, total
        self._began, self._done = time.monotonic(), 0
        self._progress: Progress | None = None
        self._task: Any = None

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is None and self._is_due():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self._rich, transient=True)
            self._task = self._progress.add_task(self._title, total=self._total)
            self._progress.start()
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _is_due(self) -> bool:
        return sys.stderr.isatty() and time.monotonic() - self._began > _BAR_AFTER_S


def _merged(per_role: Sequence[np.ndarray]) -> list[float | None]:
    """Merge the roles' advantages into one list over the turns; None where a turn was not trained."""
    merged: list[float | None] = []
    for values in zip(*(advantages.tolist() for advantages in per_role), strict=True):
        trained = [value for value in values if math.isfinite(value)]
        merged.append(round(max(trained), 5) if trained else None)
    return merged


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
