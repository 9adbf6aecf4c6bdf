"""check_env passes what keeps the protocol and names each breach of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from himac.envs.base import make_env
from himac.envs.check import check_env
from himac.envs.toy import ToyEnv
from himac.errors import ConfigError, EnvError
from himac.types import Observation, StepResult


@pytest.mark.parametrize("name", ["toy", "sokoban"])
def test_our_own_worlds_pass(name: str):
    env = make_env(name, train=20, val=20, test=20)
    check_env(env, num_tasks=8, identity=env.layout if name == "toy" else env.level)


@pytest.mark.parametrize(
    "observation", ["grid", "coord", "grid_coord", "near", "words", "published", "image"]
)
def test_every_form_of_sokoban_passes(observation: str):
    check_env(make_env("sokoban", boxes=2, observation=observation, image=True))


class Broken(ToyEnv):
    """A toy world of ten tasks a split, to be spoilt in one place."""

    def __init__(self) -> None:
        super().__init__(doors=2, max_steps=12, sizes={"train": 10, "val": 10, "test": 10})


class SpoilsResult(Broken):
    """Replaces fields of every step's result."""

    fields: dict = {}  # noqa: RUF012

    def step(self, action: str) -> StepResult:
        return replace(super().step(action), **self.fields)


class SpoilsObservation(Broken):
    """Replaces every observation."""

    observation: object = None

    def reset(self, task, *, seed=0):
        super().reset(task, seed=seed)
        return self.observation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reward": float("nan")}, "reward must be a finite number, got nan"),
        ({"score": 1.5}, r"score must lie between 0 and 1, got 1\.5"),
        ({"success": 1}, "success must be a bool, got 1"),
        ({"terminated": np.bool_(False)}, "terminated must be a bool"),
        ({"terminated": True, "truncated": True}, "either terminated or truncated, got both"),
        ({"valid": True}, "the action is nonsense but was reported with valid=True"),
        ({"valid": False}, "the action is listed as admissible but was reported with valid=False"),
        ({"observation": "text"}, "expected an Observation, got str"),
    ],
)
def test_a_spoilt_step_result_is_named(fields, message: str):
    env = SpoilsResult()
    env.fields = fields
    with pytest.raises(EnvError, match=message):
        check_env(env)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (Observation(), "needs a text or an image, got neither"),
        (Observation(text=7), "text must be a str, got int"),
        (Observation(text="a", image=np.zeros((2, 2))), r"must be uint8 \(H, W, 3\), got float64 \(2, 2\)"),
        (Observation(text="a", admissible=["x"]), "must be a tuple of non-empty str"),
        (Observation(text="a", admissible=("x", "y", "x")), "names 'x' twice"),
    ],
)
def test_a_spoilt_observation_is_named(observation, message: str):
    env = SpoilsObservation()
    env.observation = observation
    with pytest.raises(EnvError, match=message):
        check_env(env)


class Forgetful(Broken):
    """Gives another result each time it is played."""

    num_resets = 0

    def reset(self, task, *, seed=0):
        self.num_resets += 1
        return super().reset(task, seed=seed)

    def step(self, action: str) -> StepResult:
        return replace(super().step(action), reward=float(self.num_resets))


def test_a_world_that_is_not_deterministic_must_say_so():
    env = Forgetful()
    with pytest.raises(EnvError, match="train task 0, step 1: the same actions give another reward"):
        check_env(env)
    env.spec = replace(env.spec, deterministic=False)
    check_env(env)


class Fragile(Broken):
    """Raises on an action it does not know."""

    def step(self, action: str) -> StepResult:
        result = super().step(action)
        if not result.valid:
            raise KeyError(action)
        return result


class Endless(Broken):
    """Goes on after the end."""

    last: StepResult

    def step(self, action: str) -> StepResult:
        with suppress(EnvError):
            self.last = super().step(action)
        return self.last


def test_a_step_must_never_raise_but_after_the_end():
    with pytest.raises(EnvError, match="step must not raise, whatever the action, got KeyError"):
        check_env(Fragile(), num_tasks=10)
    with pytest.raises(EnvError, match="a step after the end must raise EnvError, got a result"):
        check_env(Endless())


class WrongTasks(Broken):
    """Counts its tasks from one."""

    def tasks(self, split: str):
        return [replace(task, index=task.index + 1) for task in super().tasks(split)]


class AnySplit(Broken):
    """Takes any split's name."""

    def tasks(self, split: str):
        try:
            return super().tasks(split)
        except ConfigError:
            return []


class Leaky(Broken):
    """Serves training houses in every split."""

    def layout(self, task):
        return super().layout(replace(task, split="train"))


def test_spoilt_tasks_are_named():
    with pytest.raises(EnvError, match=r"tasks\('train'\)\[0\] must be env 'toy', split 'train', index 0"):
        check_env(WrongTasks())
    with pytest.raises(EnvError, match="an unknown split must raise ConfigError, got a result"):
        check_env(AnySplit())
    leaky = Leaky()
    with pytest.raises(EnvError, match="toy val task 0 is the same problem as toy train task 0"):
        check_env(leaky, identity=leaky.layout)


def test_a_spoilt_spec_is_named():
    env = Broken()
    env.spec = replace(env.spec, rules="")
    with pytest.raises(EnvError, match=r"env\.spec\.rules is empty"):
        check_env(env)
    with pytest.raises(EnvError, match="object is not an Env: it has no spec, tasks, reset, step, close"):
        check_env(object())


@pytest.mark.parametrize(
    ("board", "message"),
    [
        (lambda self: "", "board must return a str of 1 to 4,000 characters, got 0 characters"),
        (lambda self: "#" * 4001, "got 4,001 characters"),
        (lambda self: [["#"]], "got list"),
        (lambda self: 1 / 0, "board must not raise, got ZeroDivisionError"),
    ],
)
def test_a_board_that_nobody_can_show_is_named(board: object, message: str):
    check_env(Broken(), num_tasks=2)
    with pytest.raises(EnvError, match=message):
        check_env(type("BadBoard", (Broken,), {"board": board})(), num_tasks=2)
