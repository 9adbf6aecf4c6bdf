"""Iterations of training without a run around them."""

from __future__ import annotations

from typing import Any

from himac.learner.checkpoint import TrainState
from himac.learner.learner import Learner
from himac.train.components import Components
from himac.train.rehearse import Noted as Rows
from himac.types import PhaseSpec

ONCE = PhaseSpec(name="flat", roles=("executor",), temperature=1.0)
"""One epoch, one step, over what was sampled at temperature 1."""
JOINT = PhaseSpec(name="joint", roles=("planner", "executor"), temperature=1.0)


def iterate(parts: Components, learner: Learner, log: Rows, count: int = 1) -> TrainState:
    """Run some iterations of training."""
    state, loop = TrainState(), parts.loop(learner, log=log, outside=log)
    for _ in range(count):
        state = loop.iterate(state)
    return state


class Groups(Rows):
    """A log that keeps the groups."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[Any] = []

    def phase(self, row: dict[str, Any], groups: Any, advantages: Any, chosen: Any = ()) -> None:
        self.groups.append(groups)
