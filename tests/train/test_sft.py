"""The warm start: which tasks are demonstrated."""

from __future__ import annotations

import pytest

from himac.config import Config, load_config
from himac.envs.base import make_env, make_expert
from himac.errors import ConfigError
from himac.train.sft import demonstrations

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
