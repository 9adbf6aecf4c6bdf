"""TextArena's games in himac: real ones, which need no data."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("textarena", reason="textarena is not installed: make adapters-test")

from himac.envs.base import Env, make_env
from himac.envs.check import check_env
from himac.errors import ConfigError, EnvError

HANOI = ["A C", "A B", "C B", "A C", "B A", "B C", "A C"]


def game(name: str, **settings: Any) -> Env:
    said = {"rules": "Play.", "example_subgoals": ["begin"], "max_steps": 12}
    return make_env("textarena", id=name, **said, **settings)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("TowerOfHanoi-v0", ("A C", "A B", "B C")),
        ("LightsOut-v0", ("0 0", "1 3", "4 4")),
        ("GuessTheNumber-v0", ("3", "12", "17")),
        ("Sokoban-v0", ("up", "down", "left", "right")),
        ("FrozenLake-v0", ("up", "down", "left", "right")),
        ("2048-v0", ("Up", "Down", "Left", "Right")),
    ],
)
def test_games_keep_the_protocol_and_their_seed_says_all(name: str, moves: tuple[str, ...]) -> None:
    check_env(game(name, deterministic=True), actions=moves)


def test_a_game_is_won_and_a_refused_move_costs_a_step_alone() -> None:
    env = game("TowerOfHanoi-v0")
    first = env.reset(env.tasks("train")[0])
    assert first.text.startswith("You are playing Tower of Hanoi") and "A: [3, 2, 1]" in first.text
    for refused in ("B A", "nonsense", ""):
        nothing = env.step(refused)
        assert not nothing.valid and not nothing.terminated and "A: [3, 2, 1]" in nothing.observation.text
    results = [env.step(move) for move in HANOI]
    assert all(r.valid for r in results) and "Tower of Hanoi" not in results[0].observation.text
    assert results[-1].success and results[-1].terminated and results[-1].reward == 1.0
    with pytest.raises(EnvError, match="step called before reset or after"):
        env.step("A C")


def test_a_game_without_a_board_shows_all_it_has_said() -> None:
    env = game("GuessTheNumber-v0")
    env.reset(env.tasks("train")[0])
    texts = [env.step(number).observation.text for number in ("1", "20")]
    assert texts[1].startswith(texts[0]) and len(texts[1]) > len(texts[0]) > 0


def test_games_throw_dice_of_their_own() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    one, two = game("2048-v0"), game("2048-v0")
    task = one.tasks("train")[0]
    assert one.reset(task) == two.reset(task)
    answers = [(one.step(move).observation, two.step(move).observation) for move in ("Up", "Left", "Down")]
    assert all(ours == theirs for ours, theirs in answers)
    assert random.random() == expected  # and nobody else's were touched


def test_what_is_no_game_for_one_is_refused_in_a_line() -> None:
    with pytest.raises(
        ConfigError, match=r"TextArena has no game 'TowerOfHanoy-v0'.*did you mean 'TowerOfHanoi-v0'"
    ):
        game("TowerOfHanoy-v0")
    env = game("TicTacToe-v0")
    with pytest.raises(EnvError, match="TicTacToe-v0 cannot begin for one player"):
        env.reset(env.tasks("train")[0])
