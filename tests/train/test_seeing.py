"""A whole run that sees: a tiny model from nothing, warm-started and trained on pictures alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from himac.config import Config, load_config, override
from himac.envs.base import make_env
from himac.errors import ConfigError
from himac.images import FIRST_ID, TAG, Album
from himac.rollout.episode import state_key
from himac.rollout.evaluate import evaluate
from himac.runs.episodes import read_episode
from himac.runs.folder import EPISODES, IMAGES, METRICS, START, read_images, read_rows
from himac.train.components import Components
from himac.train.run import new_run, train
from himac.train.start import build_start

RECIPE = "sokoban-vision-demo"
SMALL = [
    "sft.demonstrations=6", "sft.describe=8", "sft.batch=2", "rollout.tasks=2", "rollout.group_size=3",
    "rollout.executor_group_size=3", "run.iterations=2", "run.save_every=1", "eval.tasks=3", "eval.every=1", "env.test=3",
    "env.max_steps=4", "agent.planner_tokens=24", "agent.executor_tokens=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(RECIPE, SMALL)


@pytest.fixture(scope="module")
def start(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeing") / "start"
    build_start(config, folder)
    return folder


def _run(folder: Path, config: Config, start: Path) -> Path:
    new_run(folder, config)
    shutil.copytree(start, folder / START)
    return folder


def _numbers(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in row.items() if not k.endswith("_s") and k != "seconds"}
        for row in read_rows(folder / METRICS)
    ]


@pytest.fixture(scope="module")
def whole(config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _run(tmp_path_factory.mktemp("runs") / "whole", config, start)
    train(config, folder)
    return folder


def test_a_run_that_sees_learns_and_its_engine_and_learner_agree(whole: Path) -> None:
    learned = [row for row in _numbers(whole) if row.get("samples")]
    assert learned and all(row["gap_max"] < 1e-4 and row["moved"] > 0.9 for row in learned)


def test_every_picture_that_was_seen_is_kept_once(whole: Path) -> None:
    named = [name for row in read_rows(whole / EPISODES) for name in TAG.findall(str(row))]
    kept = [row["image"] for row in read_rows(whole / IMAGES)]
    assert set(named) == set(kept) and len(kept) == len(set(kept)) < len(named)
    album = read_images(whole)
    assert len(album) == len(kept) and album.array(kept[0]).shape == (96, 96, 3)


def test_pictures_stand_in_the_tokens_that_are_trained_on(whole: Path) -> None:
    for row in list(read_rows(whole / EPISODES))[:8]:
        episode = read_episode(row)
        assert TAG.fullmatch(episode.instruction)
        assert all(TAG.fullmatch(turn.observation) for turn in episode.turns if turn.action is not None)
        for context in episode.contexts:
            shown = context.ids >= FIRST_ID
            assert shown.sum() and shown.sum() % 36 == 0 and not (shown & context.sampled).any()


def test_a_run_that_sees_resumes_to_the_same_numbers_and_pictures(
    config: Config, whole: Path, start: Path, tmp_path: Path
) -> None:
    halves = _run(tmp_path / "halves", config, start)
    train(override(config, run={"iterations": 1}), halves)
    with open(halves / IMAGES, "a", encoding="utf-8") as file:
        file.write('{"image": "half a li')  # killed while writing
    train(config, halves)
    after = [row for row in _numbers(halves) if row["phase"] != "eval"]
    assert after == [row for row in _numbers(whole) if row["phase"] != "eval"]
    assert {row["image"] for row in read_rows(halves / IMAGES)} == {
        row["image"] for row in read_rows(whole / IMAGES)
    }


@pytest.mark.parametrize("method", ["flat", "react"])
def test_flat_agents_see_too(config: Config, start: Path, method: str) -> None:
    parts = Components(override(config, algo={"method": method}), start)
    evaluate(parts.collector, parts.env.tasks("val")[:2], temperature=0.0, seed=0)
    assert len(parts.album) >= 2
    parts.close()


def test_states_are_told_apart_by_their_pictures() -> None:
    env, album = make_env("sokoban", observation="image"), Album()
    first, second = (album.told(env.reset(task)) for task in env.tasks("train")[:2])
    assert env.spec.images and TAG.fullmatch(first.text)
    assert state_key(first) != state_key(second) == state_key(album.told(env.reset(env.tasks("train")[1])))


def test_a_model_that_sees_nothing_is_refused_in_a_world_of_pictures(
    toy_config: Config, start: Path, config: Config, tmp_path: Path
) -> None:
    blind = override(toy_config, env={"name": "toy"})
    build_start(blind, tmp_path / "blind")
    with pytest.raises(ConfigError, match=r"sokoban shows pictures, and the model .* sees none"):
        Components(config, tmp_path / "blind")


def test_a_model_that_sees_learns_in_a_world_of_text_and_its_tower_rests(
    toy_config: Config, start: Path, tmp_path: Path
) -> None:
    text = override(
        toy_config,
        model={"name": str(start)},
        sft={"demonstrations": 0},
        run={"iterations": 1},
        eval={"every": 0},
    )
    new_run(tmp_path / "run", text)
    train(text, tmp_path / "run")
    learned = [row for row in _numbers(tmp_path / "run") if row.get("samples")]
    assert learned and all(row["gap_max"] < 1e-4 for row in learned)
    before = load_file(start / "model.safetensors")
    after = load_file(max((tmp_path / "run").rglob("model.safetensors")))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved and not any("visual" in name for name in moved)


def test_describing_needs_pictures_and_words_for_them(toy_config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sft\.describe is 4, but toy shows no pictures"):
        build_start(override(toy_config, sft={"describe": 4}), tmp_path / "start")


@pytest.mark.parametrize("pixels", [8, 16, 28, 32])
def test_a_cell_is_as_large_as_was_asked_for(pixels: int) -> None:
    env = make_env("sokoban", observation="image", cell_pixels=pixels)
    image = env.reset(env.tasks("train")[0]).image
    assert image is not None and image.shape == (6 * pixels, 6 * pixels, 3)
    small = make_env("sokoban", observation="image").reset(env.tasks("train")[0]).image
    if pixels == 32:
        np.testing.assert_array_equal(image[::2, ::2], small)
