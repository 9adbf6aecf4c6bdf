"""The warm start: which tasks are demonstrated."""

from __future__ import annotations

import pytest

from himac.config import Config, load_config
from himac.envs.base import make_env, make_expert
from himac.errors import ConfigError
from himac.train.sft import demonstrations, script
from himac.types import Demonstration, Task

WORLD = {"path": "generated", "rooms": ("kitchen",), "receptacles": 6, "objects": 8, "games": 40}


def _config(*words: str) -> Config:
    return load_config(None, ["env=alfworld", "sft.demonstrations=12", *words])


def test_all_task_types_are_demonstrated_unless_some_are_named() -> None:
    env = make_env("alfworld", **WORLD)
    expert = make_expert("alfworld", env)
    assert len({demo.task.kind for demo in demonstrations(_config(), env, expert)}) > 2
    some = demonstrations(_config('sft.kinds=["pick", "cool"]'), env, expert)
    assert {demo.task.kind for demo in some} == {"pick", "cool"}


def test_an_unknown_task_type_names_those_that_the_training_tasks_have() -> None:
    env = make_env("alfworld", **WORLD)
    config = _config('sft.kinds=["pik"]')
    with pytest.raises(ConfigError, match="clean, cool, heat, pick, pick2; did you mean 'pick'"):
        demonstrations(config, env, make_expert("alfworld", env))


def test_random_actions_are_seen_and_imitated_only_when_asked_for() -> None:
    demo = Demonstration(
        task=Task(env="toy", split="train", index=0), subgoals=("a",), actions=("x", "y", "z"),
        segment_of=(0, 0, 0), is_noise=(False, True, False),
    )  # fmt: skip
    for flat in (True, False):
        plain = script(demo, flat=flat)[-3:]
        clumsy = script(demo, flat=flat, imitate_noise=True)[-3:]
        assert [text for text, _ in plain] == [text for text, _ in clumsy]
        assert [imitated for _, imitated in plain] == [True, False, True]
        assert all(imitated for _, imitated in clumsy)
