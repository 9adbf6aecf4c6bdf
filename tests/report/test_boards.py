"""Worlds made again from a run's config show what the model saw, or no board and a reason."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted import write_run

from himac.envs.sokoban.text import FORMS, SYMBOLS
from himac.report.boards import Boards, Replay
from himac.report.page import build_report
from himac.report.show import show_episode
from himac.report.terminal import draw_board
from himac.runs.folder import CONFIG, EPISODES, read_rows
from himac.types import Row

OLD = Path(__file__).parents[1] / "runs" / "run-of-0.1.0"
OWN = """
from himac.envs.toy import ToyEnv
from himac.types import EnvSpec
from dataclasses import replace

class Own(ToyEnv):
    def __init__(self, *, mode: str = "good") -> None:
        super().__init__(doors=1, max_steps=8, sizes={"train": 10, "val": 10, "test": 10})
        self.mode = mode
        self.spec = replace(self.spec, deterministic=mode != "chance")

    def board(self) -> str:
        if self.mode == "raises":
            raise RuntimeError("no \\x1b[2Jboard\\ntoday")
        return "x" * 5000 if self.mode == "long" else "ROWS " + super().board()
"""


def _answers(row: Row) -> list[str]:
    """What the world said at the start and after each action."""
    turns = [turn for segment in row["segments"] for turn in segment["turns"] if turn["action"] is not None]
    return [row["instruction"], *(turn["observation"] for turn in turns)]


def _symbols(text: str) -> str:
    """The board of a text that shows one in symbols."""
    lines = ["".join(line.split()) for line in text.split("\n")]
    return "\n".join(line for line in lines if line and set(line) <= set(SYMBOLS))


@pytest.mark.parametrize("form", ["grid", "grid_coord", "near", "published"])
def test_the_board_agrees_with_the_symbols_that_the_model_was_shown(form: str, tmp_path: Path) -> None:
    env = ("env=sokoban", "env.size=[7,7]", "env.boxes=2", f"env.observation={form}")
    folder = write_run(tmp_path / "run", env=env, iterations=1)
    boards, steps = Boards(folder), 0
    for row in read_rows(folder / EPISODES):
        told = [_symbols(text) for text in _answers(row)]
        assert list(boards.of(row).boards) == told and all(told)
        steps += len(told)
    assert steps > 50 and boards.goal == "push every box onto a target"


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"grid", "grid_coord", "near", "published"}))
def test_whatever_the_model_was_shown_the_same_play_gives_the_same_boards(
    form: str, run_folder: Path, tmp_path: Path
) -> None:
    env = ("env=sokoban", "env.size=[6,6]", "env.boxes=1", f"env.observation={form}")
    folder = write_run(tmp_path / "run", env=env, iterations=1)
    boards = Boards(folder)
    shown = [boards.of(row).boards for row in read_rows(folder / EPISODES)]
    seen = [tuple(map(_symbols, _answers(row))) for row in read_rows(run_folder / EPISODES)]
    alike = 5 + 2 * (4 + 3)  # the first evaluation and iteration; there the other run goes on
    assert shown[:alike] == seen[:alike] and len(set(shown[:alike])) > 5


def test_a_run_of_0_1_0_has_boards(tmp_path: Path) -> None:
    boards = Boards(OLD)
    rows = list(read_rows(OLD / EPISODES))
    for row in rows:
        for board, text in zip(boards.of(row).boards, _answers(row), strict=True):
            (here,) = [line for line in board.split("\n") if line.startswith("@")]
            room = text.partition("You are in ")[2].partition(".")[0]
            assert here.split(":")[0].split()[-1] == room
    assert len(rows) == 8


def test_a_world_that_answers_otherwise_today_has_no_board(words_folder: Path) -> None:
    row = next(row for row in read_rows(words_folder / EPISODES) if row["env_steps"] >= 3)
    boards = Boards(words_folder)
    assert len(boards.of(row).boards) == row["env_steps"] + 1
    assert "begins otherwise today" in boards.of({**row, "instruction": "you: elsewhere"}).why
    turns = [turn for segment in row["segments"] for turn in segment["turns"] if turn["action"] is not None]
    turns[2]["reward"] += 1
    changed = boards.of(row)
    assert changed.boards == () and changed.why.startswith("step 3 ends otherwise today")


def test_what_takes_too_long_is_left_out(words_folder: Path) -> None:
    row = next(iter(read_rows(words_folder / EPISODES)))
    assert "takes longer than 0 s" in Boards(words_folder, most_s=0.0).of(row).why


def test_a_report_of_a_damaged_config_or_absent_levels_is_made_and_says_why(
    words_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(words_folder, tmp_path / "run"))
    row = next(iter(read_rows(folder / EPISODES)))
    config = (folder / CONFIG).read_text()
    for text, why in [
        ("[env", "not valid TOML"),
        (config.replace('observation = "words"', 'levels = "/nowhere"'), "no Sokoban level file"),
        (config.replace('observation = "words"', 'observation = "smells"'), "smells"),
    ]:
        (folder / CONFIG).write_text(text)
        assert why in Boards(folder).of(row).why, why
        assert "Every episode" in build_report([folder], tmp_path / "report.html").read_text()
    (folder / CONFIG).unlink()
    assert Boards(folder).of(row).why


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run in a world of one's own, which lies in a module beside it."""
    home = tmp_path_factory.mktemp("own")
    (home / "own_world_of_test.py").write_text(OWN)
    sys.path.insert(0, str(home))
    yield write_run(
        home / "run", env=("env=own_world_of_test:Own",), actions=("go to hall", "take red key"), iterations=1
    )
    sys.path.remove(str(home))
    sys.modules.pop("own_world_of_test", None)


def test_a_world_of_one_s_own_is_imported_on_request_alone(own: Path) -> None:
    row = next(iter(read_rows(own / EPISODES)))
    sys.modules.pop("own_world_of_test", None)
    refused = Boards(own).of(row)
    assert refused.boards == () and "--import-world" in refused.why
    assert "own_world_of_test" not in sys.modules
    shown = Boards(own, imports=True).of(row)
    assert shown.boards[0].startswith("ROWS ") and len(shown.boards) == row["env_steps"] + 1


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("raises", "RuntimeError: no ␛[2Jboard today"),
        ("long", "1 to 4,000 characters"),
        ("chance", "not deterministic"),
    ],
)
def test_a_world_of_one_s_own_may_do_what_it_likes(own: Path, tmp_path: Path, mode: str, why: str) -> None:
    folder = Path(shutil.copytree(own, tmp_path / "run"))
    config = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(config.replace("[env]", f'[env]\nmode = "{mode}"'))
    row = next(iter(read_rows(folder / EPISODES)))
    assert why in Boards(folder, imports=True).of(row).why
    build_report([folder], tmp_path / "report.html", imports=True)


def test_worlds_told_in_words_are_not_made_again(household_folder: Path) -> None:
    row = next(iter(read_rows(household_folder / EPISODES)))
    assert Boards(household_folder).of(row) == Replay()


def _shown(folder: Path, row: Row, boards: str, **console: Any) -> str:
    held = io.StringIO()
    out = Console(file=held, width=80, color_system=None, **console)
    show_episode(row, out, None, Boards(folder).of(row), boards=boards)
    return held.getvalue()


def test_show_draws_the_board_at_the_start_and_under_each_sub_goal(words_folder: Path) -> None:
    row = next(r for r in read_rows(words_folder / EPISODES) if len(r["segments"]) > 1 and r["env_steps"] > 5)
    acting = sum(any(turn["action"] is not None for turn in segment["turns"]) for segment in row["segments"])
    count = lambda text: text.count("●") + text.count("◉") - 2  # noqa: E731 - less the two of the legend
    assert count(_shown(words_folder, row, "start")) == 1
    assert count(_shown(words_folder, row, "subgoal")) == 1 + acting
    assert count(_shown(words_folder, row, "step")) == 1 + row["env_steps"]
    assert "●" not in _shown(words_folder, row, "none")
    assert max(len(line.rstrip()) for line in _shown(words_folder, row, "step").split("\n")) <= 80


def test_show_says_a_board_once(run_folder: Path) -> None:
    row = next(row for row in read_rows(run_folder / EPISODES) if row["env_steps"] > 3)
    assert "# # # # # #" not in _shown(run_folder, row, "step")  # the model was shown nothing else
    assert "# # # # # #" in _shown(run_folder, row, "none")


def test_a_board_of_somebody_s_own_is_given_as_it_is_within_the_width() -> None:
    held = io.StringIO()
    draw_board("[bold]a\t|\n\x1b[2J" + "w" * 200, Console(file=held, width=80, color_system=None))
    first, second, *rest = held.getvalue().split("\n")
    assert first == "[bold]a |" and second.startswith("␛[2Jwww") and len(second) == 80 and rest == [""]
