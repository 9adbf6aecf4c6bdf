"""`himac model check`: what is said of a model is what it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.models.tiny import TinyShape, build_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_tiny(tmp_path, ["go east wait hall"], TinyShape(hidden=32, layers=2), vocab=400)
    return tmp_path


def test_a_model_is_described_in_ten_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "check", str(folder)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 10
    told = {line.split()[0]: line for line in out}
    assert "append-only, system message" in told["template"] and "<|im_end|>" in told["answers"]
    assert float(re.findall(r"\d\.\de-\d+", told["gap"])[0]) < 1e-4


@pytest.mark.slow
def test_a_recipe_s_iteration_is_rehearsed_with_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["rollout.tasks=2", "rollout.group_size=2", "rollout.executor_group_size=2", "agent.max_steps=2"]
    words = ["toy-horizon", *small, "agent.planner_tokens=8", "agent.executor_tokens=4", "run.iterations=7"]
    assert main(["model", "check", str(folder), *words]) == 0
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("time "))
    assert re.search(r"an iteration takes .+; 7 take .+ \(rehearsed 2 of 2 tasks: 8 episodes, ", line)


def test_a_model_that_cannot_be_trained_is_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}<|im_end|>")
    assert main(["model", "check", str(folder)]) == 2
    assert "drops or repeats messages" in capsys.readouterr().err
