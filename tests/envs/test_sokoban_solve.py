"""The solver is right, and the expert's words are what happens."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

import pytest

from himac.envs.base import make_env, make_expert
from himac.envs.sokoban.expert import name_runs, straight_runs
from himac.envs.sokoban.levels import read_levels
from himac.envs.sokoban.rules import ACTIONS, Level, is_solved, play
from himac.envs.sokoban.solve import solve, walk
from himac.envs.sokoban.text import parse_level
from himac.types import Demonstration, StepResult


def replay(level: Level, moves: tuple[str, ...]) -> bool:
    state = level.start
    for move in moves:
        after = play(level, state, move)
        assert after != state, "a move of a solution is blocked"
        state = after
    return is_solved(level, state)


def fewest(level: Level, *, count_walks: bool) -> int | None:
    """Fewest steps, or fewest pushes, by breadth-first search over single steps."""
    queue, seen = deque([(level.start, 0)]), {}
    while queue:
        state, cost = queue.popleft()
        if seen.setdefault(state, cost) < cost:
            continue
        if is_solved(level, state):
            return cost
        for action in ACTIONS:
            after = play(level, state, action)
            pushed = after.boxes != state.boxes
            price = 1 if pushed or count_walks else 0
            if seen.get(after, 1 << 30) > cost + price:
                seen[after] = cost + price
                (queue.append if price else queue.appendleft)((after, cost + price))
    return None


@pytest.mark.parametrize(("size", "boxes", "num"), [((6, 6), 1, 60), ((6, 6), 2, 60), ((7, 7), 3, 8)])
def test_solutions_are_the_shortest_in_moves_and_in_pushes(size, boxes, num):
    env = make_env("sokoban", size=size, boxes=boxes)
    for task in env.tasks("train")[:num]:
        level = env.level(task)
        by_moves, by_pushes = solve(level), solve(level, minimize="pushes")
        assert replay(level, by_moves.moves) and replay(level, by_pushes.moves)
        assert len(by_moves.moves) == fewest(level, count_walks=True)
        assert len(by_pushes.pushes) == fewest(level, count_walks=False)
        assert len(by_pushes.pushes) <= len(by_moves.pushes) <= len(by_moves.moves)


@pytest.mark.parametrize(
    "lines",
    [
        ["######", "#$ @ #", "#   .#", "######"],  # in a corner
        ["######", "# $$ #", "# @. #", "#  . #", "######"],  # two boxes freeze one another at the wall
        ["#######", "#@# $.#", "#######"],  # no way to the box
    ],
)
def test_a_lost_level_has_no_solution_and_is_given_up_at_once(lines):
    level = parse_level(lines)
    assert solve(level) is None
    assert solve(level, minimize="pushes") is None
    assert fewest(level, count_walks=True) is None


def test_deadlock_detection_never_gives_up_a_solvable_level():
    env = make_env("sokoban", size=(6, 7), boxes=3, search_depth=60)
    for task in env.tasks("val")[:80]:
        assert solve(env.level(task), minimize="pushes") is not None


def test_the_search_is_bounded():
    env = make_env("sokoban", size=(8, 8), boxes=3)
    level = env.level(env.tasks("train")[0])
    assert solve(level, max_nodes=1) is None


def test_a_walk_is_the_shortest_and_never_pushes():
    level = parse_level(["#######", "#@$   #", "#     #", "#    .#", "#######"])
    assert walk(level, level.start, 2 * 7 - 4) == ("down", "right", "right", "up")
    assert walk(level, level.start, level.start.player) == ()
    assert walk(level, level.start, 0) is None


@pytest.mark.parametrize("folder", ["unfiltered/valid/000.txt", "medium/valid/000.txt", "hard/000.txt"])
def test_boxoban_levels_are_solved(shared_data: Path, folder: str):
    for level in read_levels(shared_data / "boxoban" / folder)[:6]:
        assert replay(level, solve(level, minimize="pushes").moves)


def test_subgoals_are_straight_runs_in_words():
    level = parse_level(["########", "#      #", "#@$    #", "#      #", "#    . #", "########"])
    solution = solve(level)
    assert solution.moves == ("right", "right", "right", "up", "right", "down", "down")
    assert name_runs(level, straight_runs(level, solution.pushes)) == [
        "push the box right to column 6",
        "push the box down onto the target",
    ]


def test_with_several_boxes_it_is_said_which_and_where():
    level = parse_level(["#######", "#@$  .#", "#  $ .#", "#######"])
    names = name_runs(level, straight_runs(level, solve(level).pushes))
    assert sorted(names) == [
        "push the box at row 2 column 3 right onto the target at row 2 column 6",
        "push the box at row 3 column 4 right onto the target at row 3 column 6",
    ]


WORDS = re.compile(
    r"push the box(?: at row (\d+) column (\d+))? (up|down|left|right) "
    r"(?:to (row|column) (\d+)|onto the target(?: at row (\d+) column (\d+))?)"
)


def play_and_compare(env, task, shown: Demonstration) -> StepResult:
    """Play a demonstration; its sub-goals say exactly what their segments do. Return the last result."""
    level = env.level(task)
    env.reset(task)
    state, result = level.start, None
    for index, subgoal in enumerate(shown.subgoals):
        before = state
        for action, segment, is_noise in zip(shown.actions, shown.segment_of, shown.is_noise):
            if segment != index:
                continue
            after = play(level, state, action)
            assert not is_noise or after.boxes == state.boxes
            state, result = after, env.step(action)
        words = WORDS.fullmatch(subgoal).groups()
        gone, come = before.boxes & ~state.boxes, state.boxes & ~before.boxes
        assert gone.bit_count() == come.bit_count() == 1
        assert (words[0] is None) == (level.num_boxes == 1)
        if words[0]:
            assert level.row_column(gone.bit_length() - 1) == (int(words[0]), int(words[1]))
        row, column = level.row_column(come.bit_length() - 1)
        if words[3]:
            assert int(words[4]) == (row if words[3] == "row" else column)
            assert (words[3] == "row") == (words[2] in ("up", "down"))
        else:
            assert come & level.targets
            assert words[5] is None or (row, column) == (int(words[5]), int(words[6]))
    return result


@pytest.mark.parametrize(("size", "boxes", "steps"), [((6, 6), 1, 15), ((6, 6), 2, 25), ((8, 8), 3, 60)])
def test_every_subgoal_says_exactly_what_its_segment_does(size, boxes, steps):
    env = make_env("sokoban", size=size, boxes=boxes, max_steps=steps)
    expert = make_expert("sokoban", env)
    num_noisy = num_shown = 0
    for task in env.tasks("train")[:80]:
        shown = expert.demonstrate(task, seed=3, noise=0.3)
        if shown is None:
            continue
        num_shown += 1
        assert shown == expert.demonstrate(task, seed=3, noise=0.3)
        assert shown.subgoals == expert.demonstrate(task, seed=4, noise=0.0).subgoals
        assert play_and_compare(env, task, shown).success and len(shown.actions) <= steps
        num_noisy += sum(shown.is_noise)
    assert num_shown > 70 and num_noisy > num_shown / 2


@pytest.mark.parametrize(("size", "boxes", "steps"), [((8, 8), 1, 25), ((8, 8), 3, 60)])
def test_a_careless_player_pushes_straight_on(size, boxes, steps):
    env = make_env("sokoban", size=size, boxes=boxes, max_steps=steps)
    expert = make_expert("sokoban", env)
    outcomes = []
    for task in env.tasks("train")[:60]:
        shown = expert.careless(task, seed=3, noise=0.1)
        assert len(shown.subgoals) <= boxes
        won = play_and_compare(env, task, shown).success
        level = env.level(task)
        runs = straight_runs(level, solve(level).pushes)
        if boxes == 1:  # where one run does, it is the run of the careful player; elsewhere the box is lost
            assert won == (len(runs) == 1)
            assert (list(shown.subgoals) == name_runs(level, runs)) == won
        outcomes.append(won)
    assert 0 < sum(outcomes) < len(outcomes)


def test_the_expert_declines_what_does_not_fit_the_step_limit():
    env = make_env("sokoban", size=(8, 8), boxes=3, max_steps=3)
    expert = make_expert("sokoban", env)
    assert expert.demonstrate(env.tasks("train")[0], seed=0, noise=0.0) is None
