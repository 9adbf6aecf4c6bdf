"""A plan carried out for real on the toy world: killed, gone on with, and left alone once it is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from written import write_plan

from himac.cli.main import app, main
from himac.compare.comparison import planned_runs, read_comparison
from himac.compare.runner import _fitting, state_of
from himac.config import override, to_toml
from himac.errors import RunError
from himac.report.reading import read_metrics
from himac.runs.folder import CONFIG

RECIPE = """
run.save_every = 1
rollout = { tasks = 2, group_size = 2, executor_group_size = 2 }
optimizer.lr = 1e-3
[env]
name = "toy"
doors = 1
val = 6
test = 6
[model]
name = "tiny"
tiny = [32, 2, 400]
[agent]
think = false
planner_tokens = 48
executor_tokens = 12
max_steps = 6
[sft]
demonstrations = 24
batch = 8
[eval]
every = 1
final = "test"
"""
PLAN = """
seeds = [0]
[budget]
iterations = 2
[environments.toy]
recipe = "recipe.toml"
[methods.himac]
[methods.grpo]
algo.method = "flat"
"""


def _plan(folder: Path, text: str = PLAN) -> Path:
    return write_plan(folder, text, RECIPE)


def _states(plan: Path, out: Path) -> dict[str, str]:
    return {run.folder.name: state_of(run) for run in planned_runs(read_comparison(plan), out)[1]}


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_a_finished_one_is_only_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = _plan(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "himac", "compare", str(plan), "--out", str(out)]
    first = out / "toy-himac-0"
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        while process.poll() is None and not (first / CONFIG).is_file():
            time.sleep(0.05)
        with pytest.raises(RunError, match=r"is in use by .himac compare") as caught:
            _compare([str(plan), "--out", str(out)])
        assert "--read" in caught.value.hint
        while process.poll() is None and not any(r["phase"] == "planner" for r in _rows(first)):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1].decode()
    assert (
        process.returncode == 128 + signal.SIGTERM
        and "the same command goes on where this one stopped" in told
    )
    assert _states(plan, out) == {"toy-himac-0": "begun", "toy-grpo-0": "missing"}
    built = (out / "starts" / "toy-himac-0" / "start" / "config.json").stat().st_mtime_ns

    assert main(["compare", str(plan), "--out", str(out), "--jobs", "2"]) == 0
    assert _states(plan, out) == {"toy-himac-0": "done", "toy-grpo-0": "done"}
    assert (out / "starts" / "toy-himac-0" / "start" / "config.json").stat().st_mtime_ns == built
    assert [r["iteration"] for r in _rows(first) if r["phase"] == "executor"] == [1, 2]
    page = (out / "table.md").read_text()
    assert (
        "Warm starts, in the format of those who start there: `toy-himac` for HiMAC; `toy-grpo` for GRPO"
        in page
    )
    assert "each 24 demonstrations, 3 optimizer steps" in page
    assert "| HiMAC  | 1 " in page and "HiMAC ends above GRPO: " in page and "6 tasks" in page

    before = {path: path.stat().st_mtime_ns for path in out.glob("toy-*/*")}
    capsys.readouterr()
    assert main(["compare", str(plan), "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("toy-*/*")} == before
    assert capsys.readouterr().out.startswith(page)
    assert main(["compare", str(out)]) == 0  # the folder alone, under the plan's names
    assert capsys.readouterr().out.startswith(page)


def test_a_part_of_a_plan_is_carried_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = planned_runs(read_comparison(_plan(tmp_path)), tmp_path)[1]
    names = [run.folder.name for run in _fitting(runs, ["*-grpo-*"])]
    assert names == ["toy-grpo-0"] and len(_fitting(runs, [])) == 2
    assert (
        main(["compare", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "o"), "--only", "toy-grop-0"])
        == 2
    )
    told = capsys.readouterr().err
    assert "--only 'toy-grop-0' fits none of the plan's runs" in told and "did you mean 'toy-grpo-0'" in told


@pytest.mark.slow
def test_a_target_that_is_not_above_a_start_stops_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every start succeeds at 0 or more, so no run need be lucky for this."""
    plan, out = _plan(tmp_path, "target = 1e-10\n" + PLAN), tmp_path / "out"
    assert main(["compare", str(plan), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "target 1e-10 is not above the start of toy-himac-0" in told and "on 'val'" in told
    assert _states(plan, out)["toy-grpo-0"] == "missing"
    assert main(["compare", str(out), "--target", "0.99"]) == 0


def test_a_run_made_with_other_settings_does_not_count(tmp_path: Path) -> None:
    plan, out = read_comparison(_plan(tmp_path)), tmp_path / "out"
    run = planned_runs(plan, out)[1][0]
    run.folder.mkdir(parents=True)
    (run.folder / CONFIG).write_text(to_toml(override(run.config, optimizer={"lr": 0.5})))
    with pytest.raises(RunError, match=r"other settings: optimizer\.lr is 0\.5, planned 0\.001"):
        state_of(run)


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_its_peers_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PLAN.replace('recipe = "recipe.toml"', 'recipe = "recipe.toml"\nstart = "no/such/model-{seed}"')
    assert main(["compare", str(_plan(tmp_path, text)), "--out", str(tmp_path / "out"), "--jobs", "2"]) == 2
    told = capsys.readouterr().err
    assert (
        told.count("failed: toy-") == 2
        and "2 of the plan's runs failed" in told
        and "no/such/model-0" in told
    )


def _compare(words: list[str]) -> None:
    """Run the verb without the command line's own handling of errors."""
    app.main(["compare", *words], standalone_mode=False)


def _rows(folder: Path) -> list[dict[str, object]]:
    return read_metrics(folder)
