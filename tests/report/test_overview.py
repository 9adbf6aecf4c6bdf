"""`himac runs`: what is said of the runs in a folder."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

from himac.cli.main import main
from himac.files import LOCK, holder, owned
from himac.report.overview import line_of, list_runs, told

OLD = Path(__file__).parents[1] / "runs" / "run-of-0.1.0"


def _run(root: Path, name: str) -> Path:
    return Path(shutil.copytree(OLD, root / name))


def test_a_run_is_named_with_its_state_success_and_size(tmp_path: Path) -> None:
    folder = _run(tmp_path, "a")
    line = line_of(folder, tmp_path)
    last = [
        row
        for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        if row["phase"] == "eval"
    ][-1]
    assert (line.name, line.success, line.split) == ("a", last["success"], last["split"])
    assert line.size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert line.state.startswith(("done", "stopped"))


def test_a_run_that_somebody_is_at_work_in_is_not_stopped(tmp_path: Path) -> None:
    folder = _run(tmp_path, "a")
    (folder / "metrics.jsonl").write_text("")
    assert line_of(folder, tmp_path).state == "stopped"
    with owned(folder, "himac train"):
        assert holder(folder) == "himac train"
        assert line_of(folder, tmp_path).state == "starting"
    assert holder(folder) == ""


def test_a_lock_that_a_dead_process_left_holds_nothing(tmp_path: Path) -> None:
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    told_by = {"doing": "himac train", "pid": gone, "host": platform.node(), "since": "then"}
    (tmp_path / LOCK).write_text(json.dumps(told_by))
    assert holder(tmp_path) == ""
    (tmp_path / LOCK).write_text(json.dumps(told_by | {"pid": os.getpid()}))
    assert holder(tmp_path) == "himac train"
    (tmp_path / LOCK).write_text("half of")
    assert holder(tmp_path) == ""


def test_a_damaged_run_is_told_as_such_and_hides_no_other(tmp_path: Path) -> None:
    _run(tmp_path, "a")
    (_run(tmp_path, "b") / "config.toml").write_text("[run\n")
    states = {line.name: line.state for line in list_runs(tmp_path)}
    assert states["b"].startswith("unreadable: ") and not states["a"].startswith("unreadable")


def test_no_line_is_wider_than_the_terminal(tmp_path: Path) -> None:
    for name in ("a" * 60, "comparison/" + "b" * 40):
        _run(tmp_path, name)
    lines = told(list_runs(tmp_path), width=80)
    assert len(lines) == 3 and max(map(len, lines)) <= 80


def test_the_verb_prints_them_also_for_programs(tmp_path: Path, capsys) -> None:
    _run(tmp_path, "a")
    assert main(["runs", str(tmp_path), "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["a"]
    assert main(["runs", str(tmp_path / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err
