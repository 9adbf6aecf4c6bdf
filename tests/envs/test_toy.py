"""The toy world: its rules, its splits, its expert, and why it is a good test of learning."""

from __future__ import annotations

import random

import pytest

from himac.envs.base import make_env, make_expert
from himac.envs.toy import Door, Layout, State, ToyEnv, admissible, apply, describe, shortest_play
from himac.errors import ConfigError, EnvError
from himac.types import Task

# hall - porch; red door hall|attic (needed), blue door hall|barn (decoy)
HOUSE = Layout(
    start="hall",
    passages=(("hall", "porch"),),
    doors=(Door(colour="blue", near="hall", far="barn"), Door(colour="red", near="hall", far="attic")),
    items=(("blue key", "hall"), ("red key", "porch"), ("treasure", "attic")),
    needed=("red",),
)
START = State(room="hall")


def test_the_text_shows_the_whole_world():
    assert describe(HOUSE, START) == (
        "Ways: hall - porch.\n"
        "Locked: blue door between hall and barn, red door between hall and attic.\n"
        "Things: blue key in hall, red key in porch, treasure in attic.\n"
        "You are in hall. You carry nothing."
    )


def test_the_shortest_play_meets_the_subgoals_in_their_only_order():
    play = ("go to porch", "take red key", "go to hall", "open red door", "go to attic", "take treasure")
    assert shortest_play(HOUSE, START) == play
    state = START
    for action in play:
        assert action in admissible(HOUSE, state)
        state = apply(state, action)
    assert state.carrying == "treasure"


def test_hands_hold_one_thing_and_the_decoy_key_must_be_used_up_first():
    state = apply(apply(START, "take blue key"), "go to porch")
    assert admissible(HOUSE, state) == ("go to hall",)
    state = apply(apply(state, "go to hall"), "open blue door")
    assert state.carrying == ""
    assert admissible(HOUSE, state) == ("go to porch", "go to barn")


def test_a_right_plan_always_solves_every_task():
    env = make_env("toy", train=300)
    expert = make_expert("toy", env)
    for task in env.tasks("train"):
        shown = expert.demonstrate(task, seed=0, noise=0.0)
        assert shown is not None and 9 <= len(shown.actions) <= 20
        env.reset(task)
        results = [env.step(action) for action in shown.actions]
        assert [r.success for r in results] == [False] * (len(results) - 1) + [True]
        assert sum(r.reward for r in results) == 10.0
        assert results[-1].score == 1.0 and results[-1].terminated and not results[-1].truncated


def test_random_play_almost_never_solves_a_task():
    env = make_env("toy", train=500)
    rng = random.Random(0)
    solved = 0
    for task in env.tasks("train"):
        observation, over = env.reset(task), False
        while not over:
            result = env.step(rng.choice(observation.admissible))
            observation, over = result.observation, result.terminated or result.truncated
            solved += result.success
    assert solved <= 10  # 2 %


def test_noise_wanders_and_the_blueprint_still_holds():
    env = make_env("toy", train=100)
    expert = make_expert("toy", env)
    num_noisy = 0
    for task in env.tasks("train"):
        clean = expert.demonstrate(task, seed=0, noise=0.0)
        noisy = expert.demonstrate(task, seed=7, noise=0.4)
        assert noisy == expert.demonstrate(task, seed=7, noise=0.4)
        assert noisy.subgoals == clean.subgoals
        env.reset(task)
        reached = []
        for action, segment, is_noise in zip(noisy.actions, noisy.segment_of, noisy.is_noise):
            result = env.step(action)
            assert result.valid
            if is_noise:
                assert action.startswith("go to ")
            elif not action.startswith("go to "):
                verb, thing = action.split(" ", 1)
                name = "get" if verb == "take" and thing != "treasure" else verb
                assert noisy.subgoals[segment] == f"{name} the {thing}"
                reached.append(segment)
        assert result.success and reached == list(range(len(noisy.subgoals)))
        num_noisy += sum(noisy.is_noise)
    assert num_noisy > 100


def test_no_house_is_in_two_splits():
    env = make_env("toy", train=400, val=200, test=200)
    houses = {split: {env.layout(task) for task in env.tasks(split)} for split in env.spec.splits}
    assert not houses["train"] & houses["val"]
    assert not houses["train"] & houses["test"]
    assert not houses["val"] & houses["test"]


def test_the_first_house_is_the_same_on_every_machine():
    assert make_env("toy").reset(Task(env="toy", split="val", index=0)).text == (
        "Ways: cellar - kitchen, tower - garden.\n"
        "Locked: black door between tower and cellar, green door between study and attic, "
        "red door between study and library, white door between kitchen and study.\n"
        "Things: black key in tower, green key in garden, red key in study, treasure in library, "
        "white key in cellar.\n"
        "You are in tower. You carry nothing."
    )


def test_an_inadmissible_action_changes_nothing_and_costs_a_step():
    env = make_env("toy", max_steps=2)
    first = env.reset(env.tasks("val")[0])
    result = env.step("take treasure")
    assert not result.valid and result.reward == 0.0
    assert result.observation.text == "Nothing happens.\n" + first.text
    assert result.observation.admissible == first.admissible
    assert env.step(first.admissible[0].upper()).truncated
    with pytest.raises(EnvError, match="after the episode's end"):
        env.step(first.admissible[0])


def test_a_users_mistakes_are_one_clear_line():
    with pytest.raises(EnvError, match="before reset"):
        make_env("toy").step("go to hall")
    with pytest.raises(ConfigError, match=r"env\.doors must be at most 4, got 5"):
        make_env("toy", doors=5)
    with pytest.raises(ConfigError, match=r"env\.val must be int, got '9'"):
        make_env("toy", val="9")
    with pytest.raises(ConfigError, match=r"unknown split 'trian' of toy; .*did you mean 'train'"):
        make_env("toy").tasks("trian")
    with pytest.raises(ConfigError, match="has 200 tasks, got index 200"):
        make_env("toy").reset(Task(env="toy", split="val", index=200))


def test_houses_of_several_numbers_of_doors_take_turns_and_keep_apart() -> None:
    env = make_env("toy", doors=3, least_doors=1, train=60, val=12, test=12)
    assert isinstance(env, ToyEnv)
    houses = [env.layout(task) for task in env.tasks("val")]
    assert [len(house.needed) for house in houses] == [1, 2, 3] * 4
    assert [task.kind for task in env.tasks("val")[:3]] == ["doors1", "doors2", "doors3"]
    alone = make_env("toy", doors=2, val=12)
    assert isinstance(alone, ToyEnv)
    assert alone.layout(alone.tasks("val")[4]) == houses[4] and alone.tasks("val")[0].kind == ""
    sealed = [env.layout(task) for task in env.sealed()]
    assert [len(house.needed) for house in sealed] == [1, 2, 3] * 4
    assert not {h.identity for h in sealed} & {
        env.layout(t).identity for s in env.spec.splits for t in env.tasks(s)
    }
    with pytest.raises(ConfigError, match=r"least_doors must be at most env.doors, 2, got 3"):
        make_env("toy", doors=2, least_doors=3)
