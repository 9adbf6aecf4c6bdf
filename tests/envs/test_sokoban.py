"""Sokoban as an environment: rules, rewards, texts, pictures, endings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from himac.envs.base import make_env
from himac.envs.sokoban.images import TILE, draw, draw_codes
from himac.envs.sokoban.rules import State, play, reward
from himac.envs.sokoban.text import coord, grid, grid_coord, near, parse_level, published, words
from himac.errors import ConfigError, DataError, EnvError
from himac.types import Task

BOARD = parse_level(["#######", "#@$ . #", "# * $ #", "#  .  #", "#######"])


def cell(row: int, column: int) -> int:
    return (row - 1) * 7 + column - 1


def walk(*actions: str) -> State:
    state = BOARD.start
    for action in actions:
        state = play(BOARD, state, action)
    return state


def test_a_push_moves_the_box_and_the_player():
    state = walk("right")
    assert state.player == cell(2, 3)
    assert state.boxes >> cell(2, 4) & 1 and not state.boxes >> cell(2, 3) & 1


def test_walls_stop_the_player_and_the_boxes():
    assert walk("up") == BOARD.start
    assert walk("left") == BOARD.start
    assert walk("right", "right", "right").player == cell(2, 5)
    at_wall = walk("right", "right", "right")
    assert play(BOARD, at_wall, "right") == at_wall


def test_a_box_stops_a_box():
    beside = parse_level(["######", "#@$$.#", "#   .#", "######"])
    assert play(beside, beside.start, "right") == beside.start


def test_a_box_cannot_be_pulled():
    state = walk("right")
    assert play(BOARD, state, "left").boxes == state.boxes


def test_rewards_are_those_of_gym_sokoban():
    steps = [("right", -0.1), ("right", 0.9), ("right", -1.1)]  # plain push, onto the target, off it again
    state = BOARD.start
    for action, expected in steps:
        after = play(BOARD, state, action)
        assert reward(BOARD, state, after) == pytest.approx(expected)
        state = after
    last = parse_level(["#####", "#@$.#", "#####"])
    solved = play(last, last.start, "right")
    assert reward(last, last.start, solved) == pytest.approx(10.9)


def test_the_grid_shows_every_symbol():
    board = parse_level(["######", "#+ * #", "# $. #", "#  $ #", "######"])
    assert grid(board, board.start) == ("# # # # # #\n# S _ √ _ #\n# _ X O _ #\n# _ _ X _ #\n# # # # # #")
    assert grid(BOARD, BOARD.start).splitlines()[1] == "# P X _ O _ #"


def test_the_published_form_is_verl_agents():
    # langfengQ/verl-agent, sokoban/env.py: cells " # \t" joined by nothing, rows by one newline
    small = parse_level(["####", "#@##", "#$.#", "####"])
    assert published(small, small.start).splitlines()[1] == " # \t P \t # \t # \t"
    assert published(small, small.start).count("\n") == 3


def test_coordinates_count_from_one_at_the_top_left():
    assert coord(BOARD, BOARD.start) == (
        "player: row 2 column 2\n"
        "boxes: row 2 column 3, row 3 column 5\n"
        "targets: row 2 column 5, row 4 column 4\n"
        "boxes on target: row 3 column 3\n"
        "open row 2: columns 2 3 4 5 6\n"
        "open row 3: columns 2 3 4 5 6\n"
        "open row 4: columns 2 3 4 5 6"
    )
    both = grid_coord(BOARD, BOARD.start)
    assert both.startswith(grid(BOARD, BOARD.start)) and both.endswith("boxes on target: row 3 column 3")


def test_near_says_where_things_are_as_the_player_sees_them():
    lines = near(BOARD, BOARD.start).splitlines()
    assert parse_level(lines[:5]) == BOARD
    assert lines[5:] == [
        "player: row 2 column 2, up wall, down free, left wall, right box",
        "boxes: row 2 column 3, 1 right; row 3 column 5, 1 down 3 right",
        "targets: row 2 column 5, 3 right; row 4 column 4, 2 down 2 right",
        "boxes on target: row 3 column 3, 1 down 1 right",
    ]
    standing = play(BOARD, walk("down", "down", "right", "right"), "right")
    assert "under you" not in near(BOARD, standing)
    assert "row 4 column 4, under you" in near(BOARD, walk("down", "down", "right", "right"))


def test_near_says_how_far_the_last_box_has_to_go():
    board = parse_level(["######", "#P___#", "#_X__#", "#____#", "#___O#", "######"])
    assert near(board, board.start).splitlines()[-1] == "from box to target: 2 down 2 right"
    state = play(board, play(board, board.start, "right"), "down")
    assert near(board, state).splitlines()[-1] == "from box to target: 1 down 2 right"


def test_words_say_what_is_beside_and_how_far_things_are_apart():
    assert words(BOARD, BOARD.start).splitlines() == [
        "you: row 2 column 2, up wall down free left wall right box",
        "box: row 2 column 3, up wall down box left you right free",
        "you to box: 1 right",
        "box: row 3 column 5, up free down free left free right free",
        "you to box: 1 down 3 right",
        "target: row 2 column 5",
        "target: row 4 column 4",
        "box on target: row 3 column 3",
    ]


def test_words_say_how_far_the_last_box_has_to_go():
    board = parse_level(["######", "#P___#", "#_X__#", "#____#", "#___O#", "######"])
    assert words(board, board.start).splitlines()[-1] == "box to target: 2 down 2 right"
    state = play(board, play(board, board.start, "right"), "down")
    assert words(board, state).splitlines()[-1] == "box to target: 1 down 2 right"


def test_a_board_read_from_its_own_grid_is_the_same_board():
    lines = grid(BOARD, BOARD.start).replace(" ", "").splitlines()
    assert parse_level(lines) == BOARD


def test_space_outside_the_walls_is_wall():
    level = parse_level(["  ####", "###  #", "#@$. #", "######"])
    assert grid(level, level.start) == ("# # # # # #\n# # # _ _ #\n# P X O _ #\n# # # # # #")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["####", "#$.#", "####"], "exactly one player, got 0"),
        (["#####", "#@@$#", "#####"], "exactly one player, got 2"),
        (["#####", "#@$ #", "#####"], "got 1 boxes and 0 targets"),
        (["#####", "#@ .$", "#####"], "no wall at row 2 column 5"),
        (["#####", "#@$z#", "#####"], "unknown symbol 'z' at row 2 column 4"),
    ],
)
def test_a_damaged_board_is_named(lines: list[str], message: str):
    with pytest.raises(DataError, match=message):
        parse_level(lines)


def test_a_picture_is_sixteen_pixels_a_cell_and_each_code_has_its_own_tile():
    picture = draw(BOARD, BOARD.start)
    assert picture.shape == (5 * TILE, 7 * TILE, 3) and picture.dtype == np.uint8
    tiles = draw_codes(np.arange(7, dtype=np.uint8)[:, None, None])
    assert len({tile.tobytes() for tile in tiles}) == 7
    assert np.array_equal(picture[:TILE, :TILE], tiles[0])
    assert np.array_equal(picture[TILE : 2 * TILE, TILE : 2 * TILE], tiles[5])


def level_file(tmp_path, *boards: list[str]) -> str:
    path = tmp_path / "levels.txt"
    path.write_text("\n\n".join("\n".join(board) for board in boards))
    return str(path)


@pytest.fixture
def one_push(tmp_path):
    """An environment whose only level is solved by one push to the right, and its task."""
    env = make_env("sokoban", levels=level_file(tmp_path, ["#######", "#@ $. #", "#     #", "#######"]))
    split = next(split for split in env.spec.splits if env.tasks(split))
    return env, env.tasks(split)[0]


def test_a_solved_level_terminates_and_shows_the_final_board(one_push):
    env, task = one_push
    env.reset(task)
    assert not env.step("right").terminated
    result = env.step("right")
    assert (result.terminated, result.truncated, result.success, result.score) == (True, False, True, 1.0)
    assert result.reward == pytest.approx(10.9)
    assert result.observation.text.splitlines()[1] == "# _ _ P √ _ #"
    with pytest.raises(EnvError, match="after the episode's end"):
        env.step("left")


def test_the_step_limit_truncates(one_push):
    env, task = one_push
    env.reset(task)
    results = [env.step("down" if i % 2 else "up") for i in range(15)]
    assert [r.truncated for r in results] == [False] * 14 + [True]
    assert not results[-1].terminated and not results[-1].success and results[-1].score == 0.0


def test_a_blocked_direction_is_a_legal_step_and_an_unknown_word_is_not(one_push):
    env, task = one_push
    first = env.reset(task)
    blocked = env.step("up")
    assert blocked.valid and blocked.reward == pytest.approx(-0.1)
    unknown = env.step("push the box right")
    assert not unknown.valid and unknown.reward == pytest.approx(-0.1)
    assert first.text == blocked.observation.text == unknown.observation.text
    assert env.step(" Right\n").valid
    assert first.admissible == ("up", "down", "left", "right")


@given(st.text())
def test_whatever_is_said_is_a_step(action: str):
    env = make_env("sokoban", train=1)
    first = env.reset(env.tasks("train")[0])
    result = env.step(action)
    assert result.valid == (action.strip().lower() in first.admissible)
    assert result.valid or (result.observation, result.reward) == (first, -0.1)


def test_images_come_when_asked_for():
    task = Task(env="sokoban", split="train", index=0)
    assert make_env("sokoban").reset(task).image is None
    assert make_env("sokoban", image=True).reset(task).image.shape == (96, 96, 3)


def test_the_rules_fit_the_observation():
    assert "√" in make_env("sokoban").spec.rules
    assert "√" not in make_env("sokoban", observation="coord").spec.rules


def test_a_users_mistakes_are_one_clear_line():
    with pytest.raises(ConfigError, match=r"env\.observation must be one of 'grid', .*did you mean 'grid'"):
        make_env("sokoban", observation="gird")
    for size, said in (
        ((4, 9), r"env\.size\[0\] must be at least 5, got 4"),
        (6, r"env\.size must be a list of 2: int, int, got 6"),
        ((6, 6, 6), r"env\.size must be a list of 2"),
        (("6", "6"), r"env\.size\[0\] must be int, got '6'"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_env("sokoban", size=size)
    with pytest.raises(ConfigError, match=r"env\.boxes must be at least 1, got 0"):
        make_env("sokoban", boxes=0)
    with pytest.raises(ConfigError, match="found no 5x5 Sokoban level with 9 boxes"):
        make_env("sokoban", size=(5, 5), boxes=9).reset(Task(env="sokoban", split="train", index=0))
    with pytest.raises(EnvError, match="before reset"):
        make_env("sokoban").step("up")
    with pytest.raises(ConfigError, match="no task 256 in split 'val': it has 256 tasks"):
        make_env("sokoban").reset(Task(env="sokoban", split="val", index=256))
