"""The plays shown to ReAct are real: each world's own text, and a win."""

from __future__ import annotations

from typing import Any

import pytest

from himac.agents.grammar import read_turn
from himac.envs.base import env_names, make_env
from himac.plugins import KNOWN

SOURCES: dict[str, tuple[dict[str, Any], int]] = {  # settings and index in "train" of the task that is shown
    "toy": ({"doors": 1}, 1),
    "sokoban": ({}, 3),
    "alfworld": ({}, 219),
    "webshop": ({}, 0),
}


def test_every_world_has_an_example() -> None:
    paths = {name: KNOWN["envs"][name] for name in env_names()}
    others = "himac.envs.adapters."  # worlds of other libraries; and others' tests register more
    shipped = [
        name for name, path in paths.items() if path.startswith("himac.") and not path.startswith(others)
    ]
    assert set(SOURCES) == set(shipped)


@pytest.mark.parametrize("name", SOURCES)
def test_the_example_is_what_the_world_says_and_wins(name: str) -> None:
    settings, index = SOURCES[name]
    env = make_env(name, **settings)
    observation = env.reset(env.tasks("train")[index])
    assert env.spec.example_play
    for seen, answer in env.spec.example_play:
        shown, cut, _ = seen.partition(" ...")
        assert observation.text.startswith(shown) if cut else observation.text == shown
        action, _ = read_turn(answer)
        assert answer.startswith("<think>") and action is not None
        result = env.step(action)
        observation = result.observation
        assert result.valid
    assert result.success and result.terminated


def test_forms_of_the_board_that_the_example_does_not_show_go_without() -> None:
    assert make_env("sokoban", observation="coord").spec.example_play == ()
