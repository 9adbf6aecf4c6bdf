"""Panels: what another program reads there are the tasks that himac plays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.envs.alfworld.generate import write_games
from himac.envs.base import make_env
from himac.envs.sokoban.levels import board_identity, read_levels


def _told(folder: Path) -> dict[str, dict[str, object]]:
    told = json.loads((folder / "panel.json").read_text())["splits"]
    for split in told.values():
        assert hashlib.sha256((folder / str(split["file"])).read_bytes()).hexdigest() == split["sha256"]
    return dict(told)


def test_sokoban_s_panel_reads_back_to_the_very_boards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["env.train=20", "env.val=6", "env.test=8", "env.boxes=2", "env.size=[7,7]"]
    assert main(["panel", "export", "sokoban", *words, "--out", str(tmp_path / "p")]) == 0
    assert "8 tasks" in capsys.readouterr().out
    env = make_env("sokoban", train=20, val=6, test=8, boxes=2, size=(7, 7))
    for split, told in _told(tmp_path / "p").items():
        levels = read_levels(tmp_path / "p" / str(told["file"]))
        ours = [env.level(task) for task in env.tasks(split)]  # type: ignore[attr-defined]
        assert told["tasks"] == len(levels) and levels == ours
        assert [board_identity(a) for a in levels] == [board_identity(b) for b in ours]
    assert not (tmp_path / "p" / "sealed.txt").exists()


def test_webshop_s_panel_has_every_goal_in_order(tmp_path: Path) -> None:
    assert (
        main(["panel", "export", "webshop", "env.generated=700", "env.plain=true", "--out", str(tmp_path)])
        == 0
    )
    env = make_env("webshop", generated=700, plain=True)
    for split, told in _told(tmp_path).items():
        rows = [json.loads(line) for line in (tmp_path / str(told["file"])).read_text().splitlines()]
        assert told["tasks"] == len(rows) == len(env.tasks(split))
        assert rows[3]["instruction"] in env.reset(env.tasks(split)[3]).text


def test_a_panel_of_other_than_official_games_overlaps_or_toys_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_games(tmp_path / "games", 2, split="train")
    for words, told in (
        (["alfworld", "env.path=generated"], "needs the official games (train 3553, valid_seen 140, valid_unseen 134), got generated"),
        (["alfworld", f"env.path={tmp_path / 'games'}"], "needs the official games"),
        (["webshop", "env.generated=20", "env.protocol=verl-agent"], "share a task"),
        (["toy"], "no panel of 'toy'"),
    ):  # fmt: skip
        assert main(["panel", "export", *words, "--out", str(tmp_path / "out")]) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
