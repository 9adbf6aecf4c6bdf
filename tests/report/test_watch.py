"""Following a run: how far it is, what it does, how long it takes, and when it is over."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from himac.config import load_config, to_toml
from himac.report.run_status import read_status
from himac.report.watch import headline, last_episodes, watch_run
from himac.runs.folder import CONFIG, EPISODES, METRICS

SETTINGS = ["run.iterations=6", "eval.every=3", "eval.split=val", "eval.final=test"]


def _trained(*iterations: int, seconds: float = 10.0) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "iteration": i, "collect_s": seconds / 2 - 1, "learn_s": 1.0, **_REST}
        for i in iterations
        for phase in ("planner", "executor")
    ]


def _evaluated(iteration: int, split: str, *, train_s: float = 0.0) -> dict[str, Any]:
    seconds = {"val": 4.0, "test": 30.0}[split]
    interval = {"success": 0.5, "success_low": 0.4, "success_high": 0.6, "episodes": 10}
    return {
        "phase": "eval",
        "iteration": iteration,
        "split": split,
        "seconds": seconds,
        "total_train_s": train_s,
    } | interval


_REST = {"success": 0.5, "return": 0.0, "turns": 1.0}
START = [_evaluated(0, "test"), _evaluated(0, "val")]


def test_the_parts_that_are_left_are_counted_each_at_its_pace() -> None:
    config = load_config(None, SETTINGS)
    progress = read_status([*START, *_trained(1, 2)], config)
    assert (progress.stage, progress.iteration, progress.pace_s) == ("training", 2, 10.0)
    assert progress.left_s == 4 * 10 + 2 * 4 + 30  # iterations, evaluations after 3 and 6, the final one
    assert progress.spent_s == 20 + 4 + 30


def test_the_pace_is_the_recent_one() -> None:
    config = load_config(None, ["run.iterations=40", "eval.every=0"])
    rows = _trained(*range(1, 11), seconds=100.0) + _trained(*range(11, 21), seconds=10.0)
    assert read_status(rows, config).left_s == 20 * 10


def test_time_since_the_last_row_is_taken_off_once() -> None:
    config = load_config(None, SETTINGS)
    rows = [*START, *_trained(1, 2, 3), _evaluated(3, "val")]
    assert read_status(rows, config, since_s=4).left_s == 3 * 10 + 4 + 30 - 4
    assert read_status(rows, config, since_s=1000).left_s == 2 * 10 + 4 + 30


def test_a_budget_in_minutes_ends_sooner_than_the_iterations() -> None:
    config = load_config(None, ["run.iterations=1000", "budget.minutes=1", "eval.every=0", "eval.final=test"])
    assert read_status([*START, *_trained(1, 2)], config).left_s == 4 * 10 + 30


def test_trained_to_the_end_is_not_over_before_the_final_evaluation_is_told() -> None:
    config = load_config(None, SETTINGS)
    rows = [*START, *_trained(1, 2, 3, 4, 5, 6)]
    progress = read_status(rows, config)
    assert (progress.stage, progress.left_s) == ("evaluating", 4 + 30)
    rows.append(_evaluated(6, "val"))
    progress = read_status(rows, config, since_s=12)
    assert (progress.stage, progress.left_s) == ("evaluating", 18)
    assert (
        headline("r", progress, config, 12) == "r  iteration 6/6 | final evaluation on test | about 18 s left"
    )
    rows.append(_evaluated(6, "test"))
    progress = read_status(rows, config)
    assert (progress.stage, progress.left_s) == ("done", 0)
    assert headline("r", progress, config) == "r  iteration 6/6 | done in 2 min"


def test_one_split_for_both_evaluations_is_told_twice() -> None:
    config = load_config(None, ["run.iterations=3", "eval.every=3", "eval.split=val", "eval.final=val"])
    rows = [*_trained(1, 2, 3), _evaluated(3, "val")]
    assert read_status(rows, config).stage == "evaluating"
    assert read_status([*rows, _evaluated(3, "val")], config).stage == "done"


def test_a_run_that_its_budget_ended_is_over_too() -> None:
    config = load_config(None, ["run.iterations=1000", "budget.minutes=1", "eval.every=0", "eval.final=test"])
    rows = [*START, *_trained(1, 2, 3, 4, 5, 6)]
    assert read_status(rows, config).stage == "evaluating"
    progress = read_status([*rows, _evaluated(6, "test", train_s=61.0)], config)
    assert (progress.stage, progress.limit) == ("done", "limit of 1 min")
    assert headline("r", progress, config) == "r  iteration 6/1000 | limit of 1 min | done in 2 min"


def test_before_the_first_iteration_nothing_is_promised() -> None:
    config = load_config(None, SETTINGS)
    progress = read_status([], config)
    assert (progress.stage, progress.left_s) == ("starting", None)
    assert "left" not in headline("r", progress, config)


def test_a_silent_run_is_called_so_when_its_part_should_long_be_over() -> None:
    config = load_config(None, SETTINGS)
    progress = read_status([*START, *_trained(1, 2, seconds=400.0)], config, since_s=600)
    assert "nothing written" not in headline("r", progress, config, since_s=600)
    assert headline("r", progress, config, since_s=900).endswith("| nothing written for 15 min")


def test_watch_draws_progress_curves_and_the_last_episodes(run_folder: Path) -> None:
    out = io.StringIO()
    watch_run(run_folder, Console(file=out, width=120), once=True)
    text = out.getvalue()
    assert "iteration 2/2" in text and "phase A" in text and "evaluation 2 val" in text
    assert text.count("eval val") == 5


def test_a_run_of_another_version_is_watched_too(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes((run_folder / METRICS).read_bytes())
    (tmp_path / CONFIG).write_text('[run]\niterations = 7\nnever_heard_of = 1\n[eval]\nfinal = "te\\"st"\n')
    out = io.StringIO()
    watch_run(tmp_path, Console(file=out, width=120), once=True)
    assert "iteration 2/7" in out.getvalue()


def test_watching_ends_by_itself_when_the_final_evaluation_is_written(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(to_toml(load_config(None, SETTINGS)))
    rows = [*START, *_trained(1, 2, 3, 4, 5, 6), _evaluated(6, "val"), _evaluated(6, "test")]
    _write(tmp_path / METRICS, rows[:-1])
    out = io.StringIO()
    watching = threading.Thread(
        target=watch_run, args=(tmp_path, Console(file=out, width=100)), kwargs={"every_s": 0.05}, daemon=True
    )
    watching.start()
    time.sleep(0.3)
    assert watching.is_alive()
    _write(tmp_path / METRICS, rows)
    watching.join(20)
    assert not watching.is_alive()
    assert "iteration 6/6 | done in 2 min" in out.getvalue() and "evaluation 6 test" in out.getvalue()


def test_of_a_large_file_only_the_end_is_read(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / EPISODES
    with open(path, "wb") as file:
        file.truncate(2**33)  # 8 GB of nothing: a hole, no disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + (run_folder / EPISODES).read_bytes() + b'{"iteration":7,"phase":"mac')
    began = time.perf_counter()
    assert [row["iteration"] for row in last_episodes(path, 3)] == [2, 2, 2]
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("row", [{"iteration": 1}, {"task": 3}, {}])
def test_a_foreign_line_is_passed_over(run_folder: Path, tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / EPISODES
    path.write_bytes((run_folder / EPISODES).read_bytes() + json.dumps(row).encode() + b"\n")
    assert len(last_episodes(path, 3)) == 3


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
