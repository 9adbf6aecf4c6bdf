"""The example with a world of gymnasium: it keeps its promises, and every verb takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed: pip install 'himac[gym]'")

from himac.config import load_config
from himac.envs.base import make_env, make_expert
from himac.envs.check import check_env, check_expert
from himac.train.checks import check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_taxi_keeps_the_protocol_and_its_driver_can_be_imitated() -> None:
    check_env(make_env("gym_taxi:Taxi"))
    env = make_env("gym_taxi:Taxi")
    check_expert(env, make_expert("taxi", env), num_tasks=20)


def test_the_driver_takes_a_shortest_way_and_each_ride_is_a_sub_goal() -> None:
    env = make_env("gym_taxi:Taxi")
    task = env.tasks("val")[3]
    demo = make_expert("taxi", env).demonstrate(task, seed=0, noise=0.0)
    assert demo is not None
    first = env.reset(task).text
    place, goal = first.split("Passenger at ")[1][0], first[-2]
    assert demo.subgoals == (f"pick up at {place}", f"drop off at {goal}")
    assert demo.actions[-1] == "drop off" and demo.actions.count("pick up") == 1
    results = [env.step(action) for action in demo.actions]
    assert results[-1].success and sum(r.reward for r in results) == 21 - len(demo.actions)


def test_its_recipe_is_one_that_can_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    assert check(load_config("gym_taxi.toml")).env.name == "gym_taxi:Taxi"
