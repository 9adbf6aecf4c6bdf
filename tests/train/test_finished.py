"""A finished run that is resumed says so and touches nothing; one that lacks anything goes on as ever."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.config import Config, override
from himac.runs.folder import CURVE, EPISODES, METRICS, START, read_rows
from himac.runs.formats import load_saved
from himac.train.finished import finished
from himac.train.run import new_run


@pytest.fixture(scope="module")
def ended(toy_config: Config, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one iteration, trained to its end by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "ended"
    words = {"run": {"iterations": 1}, "eval": {"every": 0, "final": "val"}}
    new_run(folder, override(toy_config, env={"settings": {"doors": 1, "val": 6}}, **words))
    shutil.copytree(start, folder / START)
    assert main(["train", "--resume", str(folder)]) == 0
    return folder


def _times(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    }


def test_a_finished_run_says_so_and_is_left_alone(ended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _times(ended)
    assert main(["train", "--resume", str(ended)]) == 0
    assert f"{ended} is finished: iteration 1 of 1; nothing is left to do" in capsys.readouterr().out
    assert _times(ended) == before


def _without_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _of_another(path: Path) -> None:
    *kept, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join([*kept, json.dumps(json.loads(last) | {"iteration": 7})]) + "\n", encoding="utf-8"
    )


def _doubled(path: Path) -> None:
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])


CHECKPOINT = "checkpoints/iteration-000001"
LACKS: dict[str, Callable[[Path], object]] = {
    "no curve": lambda run: (run / CURVE).unlink(),
    "an empty table": lambda run: os.truncate(run / "table.md", 0),
    "no final evaluation": lambda run: _without_last_line(run / METRICS),
    "a row that is cut": lambda run: os.truncate(run / METRICS, (run / METRICS).stat().st_size - 1),
    "a second row": lambda run: _doubled(run / METRICS),
    "a row of another iteration": lambda run: _of_another(run / METRICS),
    "an episode less": lambda run: _without_last_line(run / EPISODES),
    "an episode more": lambda run: _doubled(run / EPISODES),
    "an episode of another iteration": lambda run: _of_another(run / EPISODES),
    "files that are shorter than they were": lambda run: os.truncate(run / METRICS, 10),
    "no metrics": lambda run: (run / METRICS).unlink(),
    "a damaged checkpoint": lambda run: os.truncate(run / CHECKPOINT / "optimizer.pt", 10),
    "a damaged state": lambda run: (run / CHECKPOINT / "state.json").write_text('{"iteration": "x"}'),
    "no checkpoint": lambda run: shutil.rmtree(run / "checkpoints"),
}


@pytest.mark.parametrize("lack", LACKS.values(), ids=LACKS)
def test_whatever_lacks_anything_is_not_finished(
    ended: Path, tmp_path: Path, lack: Callable[[Path], object]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(ended, run)
    config = load_saved(run / "config.toml")
    state = finished(run, config)
    assert state is not None and state.iteration == 1
    assert finished(run, override(config, run={"iterations": 2})) is None  # it may go on
    lack(run)
    assert finished(run, config) is None


def test_what_was_lost_of_the_last_evaluation_comes_back(ended: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(ended, run)
    _without_last_line(run / EPISODES)
    (run / CURVE).unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / EPISODES).read_bytes() == (ended / EPISODES).read_bytes() and (run / CURVE).stat().st_size
    numbers = [[(row["iteration"], row["success"]) for row in read_rows(f / METRICS)] for f in (run, ended)]
    assert numbers[0] == numbers[1]
    assert finished(run, load_saved(run / "config.toml")) is not None


def test_a_run_without_a_final_evaluation_is_finished_by_its_last_checkpoint(
    toy_config: Config, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, config = (
        tmp_path / "run",
        override(toy_config, run={"iterations": 50}, budget={"tokens": 1}, eval={"every": 0}),
    )
    new_run(run, config)
    shutil.copytree(start, run / START)
    assert main(["train", "--resume", str(run)]) == 0
    assert capsys.readouterr().out.startswith("no evaluation (eval.every, eval.final)\n")
    assert main(["train", "--resume", str(run)]) == 0
    assert "is finished: iteration 1 of 50, where a budget was spent; nothing" in capsys.readouterr().out
    _doubled(run / EPISODES)
    assert finished(run, config) is None
