"""The warm start: which tasks are demonstrated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from himac.config import Config, load_config
from himac.envs.base import Env, Expert, make_env, make_expert
from himac.errors import ConfigError, MissingFileError
from himac.runs.folder import START
from himac.train.evaluate import find_model
from himac.train.run import new_run
from himac.train.warm_start import demonstrations, script
from himac.types import Demonstration, Task

WORLD = {"path": "generated", "rooms": ("kitchen",), "receptacles": 6, "objects": 8, "games": 40}


def _config(*words: str) -> Config:
    return load_config(None, ["env=alfworld", "sft.demonstrations=12", *words])


def _demonstrate(config: Config, env: Env, expert: Expert) -> list[Demonstration]:
    return demonstrations(env, expert, config.sft, split=env.spec.train_split, seed=config.run.seed)


def test_all_task_types_are_demonstrated_unless_some_are_named() -> None:
    env = make_env("alfworld", **WORLD)
    expert = make_expert("alfworld", env)
    assert len({demo.task.kind for demo in _demonstrate(_config(), env, expert)}) > 2
    some = _demonstrate(_config('sft.kinds=["pick", "cool"]'), env, expert)
    assert {demo.task.kind for demo in some} == {"pick", "cool"}


def test_an_unknown_task_type_names_those_that_the_training_tasks_have() -> None:
    env = make_env("alfworld", **WORLD)
    config = _config('sft.kinds=["pik"]')
    with pytest.raises(ConfigError, match="clean, cool, heat, pick, pick2; did you mean 'pick'"):
        _demonstrate(config, env, make_expert("alfworld", env))


def test_random_actions_are_seen_and_not_imitated() -> None:
    demo = Demonstration(
        task=Task(env="toy", split="train", index=0), subgoals=("a",), actions=("x", "y", "z"),
        segment_of=(0, 0, 0), is_noise=(False, True, False),
    )  # fmt: skip
    for flat in (True, False):
        assert [imitated for _, imitated in script(demo, flat=flat)[-3:]] == [True, False, True]


def _shown(careless: float) -> list[Demonstration]:
    env = make_env("webshop", generated=700, num_types=12, plain=True)
    config = load_config(None, ["env=webshop", "sft.demonstrations=60", f"sft.careless={careless}"])
    return _demonstrate(config, env, make_expert("webshop", env))


def test_a_careless_shopper_buys_without_choosing() -> None:
    def chooses(demo: Demonstration) -> bool:
        assert demo.subgoals[-1] == "buy it" and demo.actions[-1] == "click[buy now]"
        assert demo.segment_of[-1] == len(demo.subgoals) - 1
        return any(subgoal.startswith("choose ") for subgoal in demo.subgoals)

    assert all(map(chooses, _shown(0.0)))
    assert not any(map(chooses, _shown(1.0)))
    assert 0.3 < sum(map(chooses, _shown(0.5))) / 60 < 0.7
    careful, hurried = _shown(0.0)[0], _shown(1.0)[0]
    assert careful.task == hurried.task and careful.actions[0] == hurried.actions[0]


def test_an_expert_that_leaves_nothing_out_says_so() -> None:
    env = make_env("toy")
    config = load_config(None, ["env=toy", "sft.demonstrations=4", "sft.careless=0.5"])
    with pytest.raises(ConfigError, match=r"sft.careless is 0.5, but the expert of 'toy' leaves nothing out"):
        _demonstrate(config, env, make_expert("toy", env))


def test_what_sft_made_is_evaluated_without_further_words(
    start: Path, toy_config: Config, tmp_path: Path
) -> None:
    new_run(tmp_path / "made", toy_config)
    shutil.copytree(start, tmp_path / "made" / START)
    name, config, run = find_model(str(tmp_path / "made"), [], "last")
    assert (name, run) == (str(tmp_path / "made" / START), tmp_path / "made")
    (
        tmp_path / "made" / "checkpoints"
    ).mkdir()  # a run of himac train whose first checkpoint is not there yet
    with pytest.raises(MissingFileError, match="has no checkpoint 'last' yet"):
        find_model(str(tmp_path / "made"), [], "last")
    assert config.env.name == "toy"
