"""The warm start: which tasks are demonstrated, and how carefully."""

from __future__ import annotations

import pytest

from himac.config import Config, load_config
from himac.envs.base import Env, make_env, make_expert
from himac.errors import ConfigError
from himac.train.sft import demo_texts, demonstrations, script

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


WORLDS = {
    "toy": {"doors": 1},
    "sokoban": {"size": (6, 6), "boxes": 1},
    "alfworld": WORLD,
    "webshop": {"generated": 60, "num_types": 12, "max_options": 1},
}


@pytest.mark.parametrize("name", WORLDS)
def test_a_careless_expert_misses_what_the_task_asks_for(name: str) -> None:
    env = make_env(name, **WORLDS[name])
    expert = make_expert(name, env)
    tasks = env.tasks("test" if name == "webshop" else "train")[:40]  # a small shop has no goals to train on
    pairs = [
        (expert.demonstrate(task, seed=0, noise=0.0), expert.careless(task, seed=0, noise=0.0))
        for task in tasks
    ]
    short = [(full, less) for full, less in pairs if full and less and less.careless]
    assert len(short) >= 5
    for full, less in short:
        assert name == "sokoban" or set(less.subgoals) < set(full.subgoals)
        assert set(less.segment_of) - {len(less.subgoals)} == set(range(len(less.subgoals)))
        env.reset(less.task)
        results = [env.step(action) for action in less.actions]
        assert not results[-1].success, (full.subgoals, less.subgoals)


def test_a_share_of_the_demonstrations_is_careless() -> None:
    env = make_env("sokoban", **WORLDS["sokoban"])
    expert = make_expert("sokoban", env)
    for share, least, most in ((0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)):
        config = load_config(None, ["env=sokoban", "sft.demonstrations=100", f"sft.careless={share}"])
        shown = demonstrations(config, env, expert)
        assert least <= sum(demo.careless for demo in shown) <= most


def test_who_is_careless_says_the_plan_is_done_and_idles() -> None:
    env = make_env("alfworld", **WORLD)
    expert = make_expert("alfworld", env)
    demos = [expert.careless(task, seed=0, noise=0.0) for task in env.tasks("train")[:40]]
    demo = next(demo for demo in demos if demo and demo.careless)
    assert demo.segment_of[-1] == len(demo.subgoals)
    idle = [("<action>look</action>", True)] * 3
    assert script(demo, flat=False)[-4:] == [("<sub_done>", True), *idle]


def test_a_careless_plan_ends_with_sub_done() -> None:
    env = make_env("sokoban", **WORLDS["sokoban"])
    expert = make_expert("sokoban", env)
    demo = next(filter(None, (expert.careless(task, seed=0, noise=0.0) for task in env.tasks("train"))))
    assert script(demo, flat=False)[-1] == ("<sub_done>", True)


def test_a_flat_agent_is_spared_the_careless_ones() -> None:
    env = make_env("sokoban", **WORLDS["sokoban"])
    demos = [make_expert("sokoban", env).careless(task, seed=0, noise=0.0) for task in env.tasks("train")[:9]]
    config = load_config(None, ["env=sokoban", 'sft.style="flat"'])
    assert any(demos) and demo_texts(config, [demo for demo in demos if demo], env) == []


class Thorough:
    """An expert that brings no `careless`."""

    def __init__(self, env: Env) -> None:
        self.demonstrate = make_expert("toy", env).demonstrate


def test_an_expert_that_misses_nothing_is_named() -> None:
    env = make_env("toy")
    config = load_config(None, ["env=toy", "sft.demonstrations=4", "sft.careless=1"])
    with pytest.raises(ConfigError, match="the expert of 'toy' misses nothing"):
        demonstrations(config, env, Thorough(env))
