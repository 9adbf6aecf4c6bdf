"""A rehearsal: one real iteration of a recipe at reduced size, and what the whole run would take on this machine.

Everything is real but the number of tasks and the warm start, which is left out: the model is the recipe's, and so are
its prompts, limits, packs, engine and optimizer. Nothing is written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from himac.config import Config, override
from himac.errors import ConfigError
from himac.learner.checkpoint import TrainState
from himac.learner.credit import PerRole
from himac.remote import connected
from himac.report.run_status import duration
from himac.runs.console import Console, Silent
from himac.train.components import Components
from himac.train.memory import Memory, in_parts, memory_of
from himac.types import Group, Row

_RANKS = (2, 4, 8, 16, 64)  # that the memory of sharded weights is counted for


def rehearse(config: Config, *, tasks: int = 2, console: Console | None = None) -> dict[str, str]:
    """Run one iteration of a recipe on a few tasks and return, in words by topic, what a whole run takes.

    Args:
        config: the recipe; its warm start is left out.
        tasks: of the iteration.
        console: shows the collections' progress.

    Raises:
        ConfigError: the recipe starts from nothing: there is no model to rehearse with.
        RunError: Ray has no room for the collectors.
    """
    if config.model.name == "tiny":
        raise ConfigError(
            'model.name = "tiny" has no model before its warm start',
            hint="himac sft RECIPE, then model=RUN/start",
        )
    with connected(config.parallel):
        pass  # there is room for the collectors; what they take to start would be most of a small iteration
    few = min(tasks, config.rollout.tasks)
    reduced = override(config, rollout={"tasks": few}, sft={"demonstrations": 0}, parallel={"collectors": 0})
    before = resident()
    parts = Components(reduced, config.model.name)
    expected = memory_of(parts.policy, reduced)
    if config.algo.has_kl:
        parts.policy.freeze_reference()
    log = Noted(console)
    if parts.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(parts.device)
    with Peak(parts.device) as peak:
        parts.loop(parts.learner(), log=log, outside=log).iterate(TrainState())
    parts.close()
    told = _told(config, few, log.rows, expected, peak.bytes - (before if parts.device.type == "cpu" else 0))
    if config.parallel.collectors:
        told["collectors"] = (
            f"there is room for {config.parallel.collectors}; rehearsed without them, in one process"
        )
    if config.parallel.shard:
        shared = [(ranks, in_parts(expected, parts.policy, ranks)) for ranks in _RANKS]
        told["a rank"] = ", ".join(f"{_gb(memory.most)} with {ranks}" for ranks, memory in shared)
        told["of 8"] = (
            f"learning {_gb(dict(shared)[8].learning)}, collecting {_gb(dict(shared)[8].collecting)}; by calculation"
        )
    return told


class Noted:
    """A log that keeps its rows, and an outside that evaluates nothing and saves nothing."""

    def __init__(self, console: Console | None = None) -> None:
        self.rows: list[Row] = []
        self._console, self._began = console or Silent(), time.perf_counter()
        self._processor = time.process_time()

    def phase(
        self, row: Row, groups: Sequence[Group], advantages: PerRole, chosen: Sequence[int] = ()
    ) -> None:
        """Keep the row."""
        self.rows.append(row)

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Show progress."""
        return self._console.collecting(title, total)

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        began, self._began = self._began, time.perf_counter()
        return self._began - began

    def processor_s(self) -> float:
        """Return the seconds of processor cores since this was last asked."""
        began, self._processor = self._processor, time.process_time()
        return self._processor - began

    def out_of_time(self, state: TrainState) -> bool:
        """Never."""
        return False

    def evaluate(self, state: TrainState) -> TrainState:
        """Evaluate nothing."""
        return state

    def save(self, state: TrainState, *, is_best: bool) -> TrainState:
        """Save nothing."""
        return state


class Peak:
    """The largest memory in use within a `with`: a GPU's allocator knows; a process is looked at now and then."""

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device
        self._stop: Any = None

    def __enter__(self) -> Peak:
        if self._device.type == "cpu":
            import threading

            self._stop = threading.Event()
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop is not None:
            self._stop.set()
        elif self._device.type == "cuda":
            self.bytes = int(torch.cuda.max_memory_allocated(self._device))

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.bytes = max(self.bytes, resident())


def resident() -> int:
    """Return the bytes of memory that this process holds; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _told(config: Config, few: int, rows: Sequence[Row], expected: Memory, peak: int) -> dict[str, str]:
    collect_s, learn_s = (sum(row[key] for row in rows) for key in ("collect_s", "learn_s"))
    tokens, episodes = (
        sum(row["tokens"] * row["episodes"] for row in rows),
        sum(row["episodes"] for row in rows),
    )
    turns = sum(row["turns"] * row["episodes"] for row in rows)
    share = config.rollout.tasks / few
    iteration_s = (collect_s + learn_s) * share
    learned = [row for row in rows if row.get("samples")]
    told = {
        "rehearsed": f"{few} of {config.rollout.tasks} tasks: {episodes:.0f} episodes, {turns / max(episodes, 1):.1f} turns, "
        f"{tokens / max(turns, 1):.0f} tokens a turn",
        "collecting": f"{collect_s:.1f} s, {tokens / max(collect_s, 1e-9):,.0f} tokens/s",
        "learning": f"{learn_s:.1f} s, {_rate(learned)}",
        "readable": ", ".join(_readable(row) for row in rows),
        "iteration": f"{duration(iteration_s)}; {config.run.iterations} take {duration(iteration_s * config.run.iterations)}, "
        "evaluations not counted",
        "memory": f"{_gb(peak)} at most here; by calculation {_gb(expected.most)}"
        if peak
        else _gb(expected.most),
        "of which": breakdown(expected),
    }
    if learned:
        told["gap"] = f"{max(row['gap_max'] for row in learned):.1e} nats at most, engine against learner"
        told["moved"] = f"{min(row['moved'] for row in learned):.0%} of the weights that had a gradient"
    else:
        told["learned"] = "nothing: no group had variance, or none had a KL term to hold to"
    return told


def breakdown(memory: Memory) -> str:
    """Return what the memory of an iteration is for, in words, what is nothing left out."""
    names = (
        "weights",
        "masters",
        "optimizer",
        "reference",
        "gradients",
        "activations",
        "layer",
        "logits",
        "cache",
        "prefill",
    )
    return ", ".join(f"{name} {_gb(getattr(memory, name))}" for name in names if getattr(memory, name))


def _readable(row: Row) -> str:
    bad = row.get("malformed", 0.0) if row["phase"] == "planner" else row.get("unreadable", 0.0)
    return f"{1 - bad:.0%} of the {'blueprints' if row['phase'] == 'planner' else 'turns'} ({row['phase']})"


def _rate(rows: Sequence[Row]) -> str:
    seconds = sum(row["train_s"] for row in rows)
    return (
        f"{sum(row['packed_tokens'] for row in rows) / max(seconds, 1e-9):,.0f} packed tokens/s"
        if rows
        else "-"
    )


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.0f} MB"
