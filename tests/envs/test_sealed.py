"""The sealed split: none of its tasks is a task of another split, and nothing but the end of a comparison gets it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from himac.config import load_config
from himac.envs.adapters.gymnasium import FromGym
from himac.envs.alfworld.generate import layout_pool, write_games
from himac.envs.base import Env, make_env, tasks_of
from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.levels import board_identity
from himac.envs.splits import SEALED
from himac.envs.toy import ToyEnv
from himac.errors import ConfigError
from himac.train.checks import check
from himac.types import Task

WORLDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("toy", {"doors": 2, "train": 300, "val": 60, "test": 60}),
    ("sokoban", {"size": (6, 6), "train": 300, "val": 60, "test": 60}),
    ("alfworld", {"path": "generated", "games": 40, "eval_games": 12}),
    ("webshop", {"generated": 600, "num_types": 12, "plain": True, "max_wanted": 1}),
)


def _held(env: Env) -> Iterable[Task]:
    return (task for split in env.spec.splits for task in env.tasks(split))


@pytest.mark.parametrize(("name", "settings"), WORLDS)
def test_the_split_is_refused_to_whoever_asks_for_it_by_name(name: str, settings: dict[str, object]) -> None:
    env = make_env(name, **settings)
    assert SEALED not in env.spec.splits
    with pytest.raises(ConfigError, match=r"'sealed' of .* is drawn at the end of a comparison") as caught:
        env.tasks(SEALED)
    assert caught.value.hint == "himac compare PLAN --unseal"
    tasks = tasks_of(env, SEALED)
    assert tasks == make_env(name, **settings).sealed()  # type: ignore[attr-defined]
    assert {task.split for task in tasks} == {SEALED} and env.reset(tasks[-1]).text
    assert env.reset(tasks[0]) == make_env(name, **settings).reset(tasks[0])


def test_no_sealed_house_or_board_is_in_another_split() -> None:
    toy = make_env("toy", doors=1, train=300, val=100, test=100)
    assert isinstance(toy, ToyEnv)
    houses = {toy.layout(task).identity for task in toy.sealed()}
    assert len(toy.sealed()) == 100 and not houses & {toy.layout(task).identity for task in _held(toy)}
    boxes = make_env("sokoban", size=(6, 6), train=400, val=100, test=200)
    assert isinstance(boxes, SokobanEnv)
    boards = {board_identity(boxes.level(task)) for task in boxes.sealed()}
    assert len(boxes.sealed()) == 200
    assert not boards & {board_identity(boxes.level(task)) for task in _held(boxes)}


def test_sealed_kitchens_have_layouts_that_no_other_split_has() -> None:
    env = make_env(
        "alfworld", path="generated", rooms=["kitchen"], receptacles=8, objects=8, layouts=60, eval_games=8
    )
    source = env.source  # type: ignore[attr-defined]
    assert len(env.sealed()) == 8  # type: ignore[attr-defined]

    def looks(settings: object, unseen: bool) -> set[str]:
        pool = layout_pool(settings, "kitchen", unseen)  # type: ignore[arg-type]
        return {str(sorted((r.kind, r.openable) for r in layout.receptacles)) for layout in pool}

    sealed = looks(source._sealed, True)
    assert sealed and not sealed & (looks(source.settings, True) | looks(source.settings, False))


def test_sealed_goals_are_of_another_shop_and_worded_as_none_of_this_one() -> None:
    env = make_env(*WORLDS[3][:1], **WORLDS[3][1])
    own = {env.reset(task).text for task in _held(env)}
    assert own and not own & {env.reset(task).text for task in env.sealed()}  # type: ignore[attr-defined]
    seeds = [
        env.reset(task) and env.provenance["catalogue"] for task in (env.sealed()[0], env.tasks("test")[0])
    ]  # type: ignore[attr-defined]
    assert seeds[0] != seeds[1] and "generated from seed 0" in str(seeds[1])


def test_worlds_of_files_have_no_sealed_split_and_say_so(tmp_path: Path) -> None:
    write_games(tmp_path / "games", 2, split="train")
    (tmp_path / "one.txt").write_text("#####\n#@$.#\n#####\n")
    for env in (
        make_env("alfworld", path=str(tmp_path / "games")),
        make_env("sokoban", levels=str(tmp_path / "one.txt")),
    ):
        with pytest.raises(ConfigError, match=r"no sealed split: its (games|levels) come from files"):
            tasks_of(env, SEALED)
        with pytest.raises(ConfigError):
            env.reset(Task(env=env.spec.name, split=SEALED, index=0))


def test_a_world_without_a_sealed_split_is_told_how_to_have_one() -> None:
    class Plain:
        spec = make_env("toy").spec

    with pytest.raises(ConfigError, match="toy has no sealed split"):
        tasks_of(Plain(), SEALED)  # type: ignore[arg-type]
    assert not hasattr(FromGym, "sealed")


@pytest.mark.parametrize("key", ["eval.split", "eval.final"])
def test_training_and_evaluating_refuse_it_in_one_line(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} cannot be 'sealed'"):
        check(load_config("taste", [f"{key}=sealed"]))
