"""`check_expert` passes the experts of every world, and names what is wrong with a bad one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from himac.envs.base import Expert, make_env
from himac.envs.check import check_expert
from himac.errors import EnvError
from himac.types import Demonstration, Task

SMALL: dict[str, dict[str, Any]] = {
    "toy": {},
    "sokoban": {},
    "alfworld": {"path": "generated", "games": 6, "rooms": ("kitchen",)},
    "webshop": {"generated": 700, "num_types": 12},
}


@pytest.mark.parametrize("world", SMALL)
def test_the_expert_of_every_world_can_be_imitated(world: str) -> None:
    env = make_env(world, **SMALL[world])
    check_expert(env, env.expert(), num_tasks=3)  # type: ignore[attr-defined]


class _Bad:
    """The toy world's expert with a fault."""

    def __init__(self, expert: Expert, **changes: Any) -> None:
        self._expert, self._changes, self._calls = expert, changes, 0

    def demonstrate(self, task: Task, *, seed: int, noise: float) -> Demonstration | None:
        demo = self._expert.demonstrate(task, seed=seed, noise=noise)
        self._calls += 1
        if self._changes.get("declines"):
            return None
        if demo is None:
            return None
        if self._changes.get("moody"):
            return replace(demo, subgoals=(*demo.subgoals[:-1], f"mood {self._calls}"))
        return self._spoil(demo)

    def _spoil(self, demo: Demonstration) -> Demonstration:
        n = len(demo.actions)
        spoilt: dict[str, dict[str, Any]] = {
            "stops": {"actions": demo.actions[:-1], "segment_of": demo.segment_of[:-1], "is_noise": demo.is_noise[:-1]},
            "invalid": {"actions": ("fly away", *demo.actions[1:])},
            "late": {"actions": (*demo.actions, "wait"), "segment_of": (*demo.segment_of, demo.segment_of[-1]), "is_noise": (*demo.is_noise, False)},
            "backwards": {"segment_of": tuple(reversed(demo.segment_of))},
            "idle": {"subgoals": (*demo.subgoals, "do nothing")},
            "beyond": {"segment_of": (*demo.segment_of[:-1], 99)},
            "short": {"segment_of": demo.segment_of[:-1]},
            "noisy": {"is_noise": (True,) * n},
            "nameless": {"subgoals": (" ", *demo.subgoals[1:])},
            "empty": {"actions": (), "segment_of": (), "is_noise": ()},
            "elsewhere": {"task": replace(demo.task, index=demo.task.index + 1)},
        }  # fmt: skip
        return replace(demo, **spoilt[self._changes["fault"]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fault": "stops"}, "do not solve the task"),
        ({"fault": "invalid"}, "does not take the expert's action 1, 'fly away'"),
        ({"fault": "late"}, "the episode ends before the expert's action"),
        ({"fault": "backwards"}, "segment_of must never decrease"),
        ({"fault": "idle"}, "sub-goal 'do nothing' has no action"),
        ({"fault": "beyond"}, "has no action|goes beyond"),
        ({"fault": "short"}, "must be equal"),
        ({"fault": "noisy"}, "marked as noise, and none was asked for"),
        ({"fault": "nameless"}, "a sub-goal is empty"),
        ({"fault": "empty"}, "without actions"),
        ({"fault": "elsewhere"}, "the expert demonstrated"),
        ({"moody": True}, "plays otherwise when it is asked again"),
        ({"declines": True}, "demonstrated none of 3 tasks"),
    ],
)
def test_each_fault_of_an_expert_is_found(changes: dict[str, Any], message: str) -> None:
    env = make_env("toy")
    with pytest.raises(EnvError, match=message):
        check_expert(env, _Bad(env.expert(), **changes), num_tasks=3)  # type: ignore[attr-defined]
