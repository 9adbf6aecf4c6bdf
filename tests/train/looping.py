"""Iterations of training without a run around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from himac.learner.checkpoint import TrainState
from himac.learner.learner import Learner
from himac.train.components import Components
from himac.types import PhaseSpec

ONCE = PhaseSpec(name="flat", roles=("executor",), temperature=1.0)
"""One epoch, one step, over what was sampled at temperature 1."""
JOINT = PhaseSpec(name="joint", roles=("planner", "executor"), temperature=1.0)


class Rows:
    """A log that keeps its rows, and an outside that evaluates nothing and saves nothing."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._began = time.perf_counter()

    def phase(self, row: dict[str, Any], groups: Any, advantages: Any, chosen: Any = ()) -> None:
        self.rows.append(row)

    def collecting(self, title: str, total: int) -> Callable[[int], None]:
        return lambda count: None

    def lap(self) -> float:
        began, self._began = self._began, time.perf_counter()
        return self._began - began

    def out_of_time(self, state: TrainState) -> bool:
        return False

    def evaluate(self, state: TrainState) -> TrainState:
        return state

    def save(self, state: TrainState, *, is_best: bool) -> TrainState:
        return state


def iterate(parts: Components, learner: Learner, log: Rows, count: int = 1) -> TrainState:
    """Run some iterations of training."""
    state, loop = TrainState(), parts.loop(learner, log=log, outside=log)
    for _ in range(count):
        state = loop.iterate(state)
    return state
