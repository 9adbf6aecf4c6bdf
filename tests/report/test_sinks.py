"""Sinks take the rows of metrics.jsonl, and what they wrote can be read back."""

import json
import sys
import time
from pathlib import Path

import pytest

from himac.cli.main import main
from himac.config import load_config
from himac.errors import ConfigError
from himac.runs.sinks import make_sinks

ROWS = [
    {"iteration": 1, "phase": "planner", "success": 0.25, "kl": 0.0},
    {"iteration": 1, "phase": "executor", "success": 0.5, "kl": 0.01},
    {"iteration": 2, "phase": "planner", "success": 0.75, "kl": 0.02},
    {"iteration": 2, "phase": "eval", "split": "val", "success": 0.6, "outcomes": [1, 0], "kinds": {"pick": {"success": 1.0}}},
]  # fmt: skip


def test_tensorboard_holds_every_number_at_its_iteration(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (sink,) = make_sinks(["tensorboard"], tmp_path)
    for row in ROWS:
        sink.write(row)
    sink.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    seen = {
        tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert seen == {
        "planner/success": [(1, 0.25), (2, 0.75)],
        "planner/kl": [(1, 0.0), (2, 0.02)],
        "executor/success": [(1, 0.5)],
        "executor/kl": [(1, 0.01)],
        "eval_val/success": [(2, 0.6)],
    }


def test_an_unknown_sink_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="unknown sink 'tensorbord'; known: tensorboard, wandb, mlflow, trackio"
    ):
        make_sinks(["tensorbord"], tmp_path)


def test_a_resumed_run_has_no_point_twice(tmp_path: Path) -> None:
    """What a killed run told after its last checkpoint is forgotten, and what it keeps is there once."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    killed = [*ROWS, {"iteration": 3, "phase": "planner", "success": 0.9}]
    (sink,) = make_sinks(["tensorboard"], tmp_path)
    for row in killed:
        sink.write(row)
    sink.close()
    rest = {"return": 0.0, "turns": 1.0, "collect_s": 1.0, "learn_s": 1.0, "episodes": 1, "seconds": 1.0}
    rows = [{"success_low": 0.0, "success_high": 1.0, **rest, **row} for row in ROWS]
    rows[-1].pop("outcomes")
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))  # cut back
    (sink,) = make_sinks(["tensorboard"], tmp_path, after=2)
    for iteration in (3, 4):
        sink.write({"iteration": iteration, "phase": "planner", "success": 0.8})
    sink.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("planner/success")] == [1, 2, 3, 4]
    assert [e.step for e in events.Scalars("eval_val/success")] == [2]


class Bare:
    """A sink of somebody's own that takes a folder and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.rows = folder / "rows"

    def write(self, row: dict[str, object]) -> None:
        with self.rows.open("a") as file:
            file.write(f"{row['iteration']}\n")

    def close(self) -> None: ...


def test_a_sink_of_one_s_own_needs_no_more_than_a_folder(tmp_path: Path) -> None:
    (sink,) = make_sinks([f"{__name__}:Bare"], tmp_path, config=load_config(), after=3)
    for row in ROWS:
        sink.write(row)
    assert (tmp_path / "rows").read_text().split() == ["1", "1", "2", "2"]


class Failing(Bare):
    """A sink whose disk is full while a file `full` lies in the run's folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.full = folder / "full"
        self.check()

    def check(self) -> None:
        if self.full.exists():
            raise OSError(28, "No space left on device", "somewhere")

    def write(self, row: dict[str, object]) -> None:
        self.check()
        super().write(row)

    def close(self) -> None:
        self.check()


@pytest.mark.parametrize("before_it_is_built", [True, False])
def test_a_sink_that_fails_says_so_once_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_it_is_built: bool
) -> None:
    said: list[str] = []
    full = tmp_path / "full"
    if before_it_is_built:
        full.touch()
    (sink,) = make_sinks([f"{__name__}:Failing"], tmp_path, say=said.append)
    if not before_it_is_built:
        sink.write(ROWS[0])
        full.touch()
    for row in ROWS[len(said) == 0 :]:
        sink.write(row)
    assert len(said) == 1 and "Failing': No space left on device; the run goes on" in said[0]
    full.unlink()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)  # the pause is over
    sink.write({"iteration": 3, "phase": "planner"})
    assert (tmp_path / "rows").read_text().split() == ["1", "1", "2", "2", "3"]
    assert len(said) == 2 and "well again" in said[1]
    full.touch()
    sink.write({"iteration": 4, "phase": "planner"})
    sink.close()
    assert "1 rows never arrived" in said[-2] and "did not close" in said[-1]


def test_a_sink_that_fails_does_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "full_disk", sys.modules[__name__])
    words = [
        "env=toy",
        "env.doors=1",
        "model=tiny",
        "model.tiny=[32, 1, 400]",
        "agent.think=false",
        "run.name=r",
    ]
    words += ["agent.planner_tokens=8", "agent.executor_tokens=8", "rollout.tasks=1", "agent.max_steps=2"]
    words += [
        "sft.demonstrations=4",
        "sft.batch=4",
        "run.iterations=2",
        "eval.every=0",
        "env.val=4",
        'run.sinks=["full_disk:AlwaysFull"]',
    ]
    assert main(["train", *words]) == 0
    said = capsys.readouterr().err
    assert said.count("AlwaysFull': No space left on device") == 1 and "step 2/2" in said


class AlwaysFull(Bare):
    def write(self, row: dict[str, object]) -> None:
        raise OSError(28, "No space left on device", "somewhere")
