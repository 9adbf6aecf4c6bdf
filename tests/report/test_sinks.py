"""Sinks take the rows of metrics.jsonl, and what they wrote can be read back."""

import json
from pathlib import Path

import pytest

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


def test_wandb_takes_rows_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (sink,) = make_sinks(["wandb"], tmp_path)
    for row in ROWS:
        sink.write(row)
    sink.close()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_an_unknown_sink_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown sink 'tensorbord'; known: tensorboard, wandb"):
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


def test_wandb_keeps_its_id_and_knows_the_run_s_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    begun = []
    real = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **given: begun.append(given) or real(**given))
    config = load_config(None, ["env=toy", "optimizer.lr=0.5"])
    for after in (None, 2):
        (sink,) = make_sinks(["wandb"], tmp_path, config=config, after=after)
        sink.close()
    first, second = begun
    assert first["id"] == second["id"] != tmp_path.name
    assert first["config"]["optimizer"]["lr"] == 0.5 and "toy" in first["tags"]


class Bare:
    """A sink of somebody's own that takes a folder and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, row: dict[str, object]) -> None: ...

    def close(self) -> None: ...


def test_a_sink_of_one_s_own_needs_no_more_than_a_folder(tmp_path: Path) -> None:
    (sink,) = make_sinks([f"{__name__}:Bare"], tmp_path, config=load_config(), after=3)
    assert isinstance(sink, Bare) or sink.folder == tmp_path  # type: ignore[attr-defined]
