"""`himac eval` on local models: a folder that a killed evaluation goes on in, and that show and report read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from himac.cli.main import main
from himac.evaluation.folder import EVALUATION
from himac.runs.folder import EPISODES, EVALUATIONS
from himac.testing import tiny_model

WORDS = [
    "env=toy", "env.doors=1", "eval.tasks=6", "agent.think=false", "agent.max_steps=3", "agent.planner_tokens=12",
    "agent.executor_tokens=8", "eval.temperature=1.0",
]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / "tiny", ["<action>go to barn</action>", "You act. Work on the current sub-goal."])
    return tmp_path / "tiny"


def _folders() -> list[Path]:
    return sorted(Path("runs").glob("eval-*"))


def _result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / EVALUATION).read_text())
    return {key: value for key, value in found.items() if key not in ("seconds", "usage")}


def test_a_killed_evaluation_goes_on_and_ends_with_the_same_numbers(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", str(model), *WORDS]) == 0
    said = capsys.readouterr().out
    (folder,) = _folders()
    whole, lines = _result(folder), (folder / EPISODES).read_text().splitlines(keepends=True)
    assert whole["asked"] == whole["episodes"] == len(lines) == 6 < whole["tasks"]
    assert f"6 of 6 tasks, of {whole['tasks']} in the split" in said and "requests" not in said
    (folder / EPISODES).write_text("".join(lines[:2]) + lines[2][:50])  # what a kill leaves
    (folder / EVALUATION).unlink()
    assert main(["eval", str(model), *WORDS]) == 0
    assert _result(folder) == whole
    again = (folder / EPISODES).read_text().splitlines(keepends=True)
    assert again[:2] == lines[:2] and len(again) == 6
    assert "2 episodes are there" in "".join(capsys.readouterr())


def test_other_weights_under_the_same_name_are_another_evaluation(model: Path) -> None:
    assert main(["eval", str(model), *WORDS]) == 0
    for path in model.glob("*.safetensors"):
        os.utime(path, ns=(1, 1))
    assert main(["eval", str(model), *WORDS]) == 0
    assert len(_folders()) == 2
    assert main(["eval", str(model), *WORDS, "run.name=mine"]) == 0
    for path in model.glob("*.safetensors"):
        os.utime(path, ns=(2, 2))
    assert main(["eval", str(model), *WORDS, "run.name=mine"]) == 2


def test_an_evaluation_is_read_by_show_and_report(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(model), *WORDS]) == 0
    (folder,) = _folders()
    capsys.readouterr()
    assert main(["show", str(folder), "--phase", "eval"]) == 0
    assert "toy" in capsys.readouterr().out
    assert main(["report", str(folder), "--out", "report.html"]) == 0
    assert Path("report.html").stat().st_size > 10_000


def test_a_run_keeps_its_evaluations_beside_their_results(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run.name=r", "run.iterations=1", "eval.every=1", "rollout.tasks=2", "rollout.group_size=2",
             "rollout.executor_group_size=2", f"model.name={model}"]  # fmt: skip
    assert main(["train", *WORDS, *words]) == 0
    assert main(["eval", "r", "split=test", "eval.tasks=3"]) == 0
    kept = Path("runs/r") / EVALUATIONS
    (folder,) = [path for path in kept.iterdir() if path.is_dir()]
    (result,) = kept.glob("*.json")
    assert (
        json.loads(result.read_text())["episodes"] == 3 == len((folder / EPISODES).read_text().splitlines())
    )
    assert main(["compare", "runs/r", "runs/r"]) == 0  # and nobody takes an evaluation for a run
    capsys.readouterr()
    assert main(["compare", "runs"]) == 0
    assert "| HiMAC  | 1 " in capsys.readouterr().out
