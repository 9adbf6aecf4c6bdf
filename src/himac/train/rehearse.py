"""A rehearsal: one real iteration of a recipe at reduced size, and what the whole run would take on this machine.

Everything is real but how many: tasks of the iteration, demonstrations of a warm start. The model is the recipe's, and so
are its prompts, limits, packs, engine and optimizer. A model that learned from a few demonstrations plays worse, and so
longer, than the run's will: what is told of time is an upper bound. Nothing is kept.
"""

from __future__ import annotations

import gc
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from himac.config import Config, override
from himac.learner.checkpoint import TrainState
from himac.learner.credit import PerRole
from himac.remote import connected
from himac.report.run_status import duration
from himac.rollout.evaluate import subset
from himac.runs.console import Console, Silent
from himac.train.components import Components
from himac.train.describing import BATCH
from himac.train.memory import Memory, in_parts, memory_of
from himac.train.start import ASKING, DESCRIBING, IMITATING, REPLAYING, build_start, check_begins, imitated
from himac.types import Group, Row

_RANKS = (2, 4, 8, 16, 64)  # that the memory of sharded weights is counted for
_DEMONSTRATIONS = 400  # that a tiny model is made from


def rehearse(config: Config, *, tasks: int = 0, console: Console | None = None) -> dict[str, str]:
    """Run one iteration of a recipe on a few tasks and return, in words by topic, what a whole run takes.

    Args:
        config: the recipe.
        tasks: of the iteration; 0: two, and of a tiny model, which computes many at once, a quarter of the recipe's.
        console: shows the warm start's and the collections' progress.

    Raises:
        ConfigError: the recipe starts from nothing: a tiny model without demonstrations.
        RunError: Ray has no room for the collectors.
    """
    check_begins(config)
    with connected(config.parallel):
        pass  # there is room for the collectors; what they take to start would be most of a small iteration
    is_tiny = config.model.name == "tiny"
    few = min(tasks or max(2, config.rollout.tasks // 4 if is_tiny else 2), config.rollout.tasks)
    reduced = override(config, rollout={"tasks": few}, sft={"demonstrations": 0}, parallel={"collectors": 0})
    before, log, stages = resident(), Noted(console), Timed(console or Silent())
    with tempfile.TemporaryDirectory(prefix="himac-check-") as folder:
        start = _rehearse_start(config, Path(folder) / "start", stages)
        parts = Components(reduced, start)
    expected = memory_of(parts.policy, reduced)
    if config.algo.has_kl:
        parts.policy.freeze_reference()
    if parts.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(parts.device)
    with Peak(parts.device) as peak:
        state = parts.loop(parts.learner(), log=log, outside=log).iterate(TrainState())
    parts.close()
    most = peak.bytes - (before if parts.device.type == "cpu" else 0)
    told = _told(config, few, log.rows, expected, most) | _whole_run(
        config, parts, state, few, log.rows, stages
    )
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


def _rehearse_start(config: Config, target: Path, stages: Timed) -> str | Path:
    """Imitate a few demonstrations where the recipe has some; return what the iteration is rehearsed with.

    A named model goes on as it is: what a few steps have made of it would have to be saved, merged and loaded.
    """
    sft, is_tiny = config.sft, config.model.name == "tiny"
    if not sft.demonstrations:
        return config.model.name
    few = {
        "demonstrations": min(sft.demonstrations, _DEMONSTRATIONS if is_tiny else 3 * sft.batch),
        "epochs": min(sft.epochs, 1.0),
        "describe": min(sft.describe, 3 * BATCH),
    }
    reduced = override(config, sft=few)
    if is_tiny:
        build_start(reduced, target, stages)
    else:
        imitated(reduced, target, stages).close()
    gc.collect()  # else its model and optimizer count in what the iteration takes
    return target if is_tiny else config.model.name


class Timed:
    """A console that shows what another one would, and knows how long a part of it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}  # when a title's first part was done
        self._ended: dict[str, float] = {}
        self.parts: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Pass it on."""
        self._console.say(text)

    def note(self, told: Callable[[], str]) -> None:
        """Pass it on."""
        self._console.note(told)

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        """Return a progress callback that looks at the clock."""
        tick = self._console.collecting(title, total)

        def advance(count: int) -> None:
            tick(count)
            self._ended[title] = time.perf_counter()
            self._began.setdefault(title, self._ended[title])
            self.parts[title] = self.parts.get(title, 0) + count

        return advance

    def each_s(self, title: str) -> float:
        """Return the seconds of a part, the first one not counted: it may have been on its way, or warming up."""
        others = self.parts.get(title, 0) - 1
        return (self._ended[title] - self._began[title]) / others if others > 0 else 0.0


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
    learned = [row for row in rows if row.get("samples")]
    told = {
        "rehearsed": f"{few} of {config.rollout.tasks} tasks: {episodes:.0f} episodes, {turns / max(episodes, 1):.1f} turns, "
        f"{tokens / max(turns, 1):.0f} tokens a turn",
        "collecting": f"{collect_s:.1f} s, {tokens / max(collect_s, 1e-9):,.0f} tokens/s",
        "learning": f"{learn_s:.1f} s, {_rate(learned)}",
        "readable": ", ".join(_readable(row) for row in rows),
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


def _whole_run(
    config: Config, parts: Components, state: TrainState, few: int, rows: Sequence[Row], stages: Timed
) -> dict[str, str]:
    """Say how long the whole run would take: its warm start, its iterations, its evaluations."""
    share, told = config.rollout.tasks / few, {}
    start_s = 0.0
    if sft := (config.sft if config.sft.demonstrations else None):
        whole = {
            ASKING: sft.demonstrations,
            REPLAYING: sft.demonstrations,
            DESCRIBING: round(sft.describe / BATCH),
            IMITATING: sft.steps,
        }
        start_s = sum(stages.each_s(title) * count for title, count in whole.items())
        told["warm start"] = (
            f"{stages.parts[ASKING]} of {sft.demonstrations:,} demonstrations, {stages.parts[IMITATING]} of {sft.steps:,} steps; "
            f"all of it takes {duration(start_s)}"
        )
    iteration_s = state.train_s * share
    count, budget = _iterations(config, state, share)
    spent = f", then {budget} is spent" if budget else ""
    told["iteration"] = f"{duration(iteration_s)}; {count} take {duration(iteration_s * count)}{spent}"
    evaluations, episodes = _evaluations(config, parts, count)
    # an episode of an evaluation is one of phase A's: a plan, and its execution
    evaluate_s = episodes * max(row["collect_s"] / max(row["episodes"], 1) for row in rows)
    if evaluations:
        plural = "s" if evaluations > 1 else ""
        told["evaluating"] = (
            f"{evaluations} time{plural}, {episodes:,} episodes; they take {duration(evaluate_s)}"
        )
    told["whole run"] = f"at most about {duration(start_s + iteration_s * count + evaluate_s)}"
    return told


def _iterations(config: Config, state: TrainState, share: float) -> tuple[int, str]:
    """Return (iterations that the run will do, the budget that ends it before all are done)."""
    spent = asdict(state) | {"minutes": state.train_s / 60}
    count, by = config.run.iterations, ""
    for name, most in asdict(config.budget).items():
        if most and spent[name] and (until := math.ceil(most / (spent[name] * share))) < count:
            count, by = until, f"budget.{name}"
    return count, by


def _evaluations(config: Config, parts: Components, iterations: int) -> tuple[int, int]:
    """Return (evaluations of a run, their episodes in all)."""
    settings, env = config.eval, parts.env
    times = {settings.split: 1 + iterations // settings.every} if settings.every else {}
    episodes = sum(n * len(subset(env.tasks(split), settings.tasks)) for split, n in times.items())
    if settings.final:
        return sum(times.values()) + 2, episodes + 2 * len(env.tasks(settings.final))
    return sum(times.values()), episodes


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
