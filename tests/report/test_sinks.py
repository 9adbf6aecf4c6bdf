"""Sinks take the rows of metrics.jsonl, and what they wrote can be read back."""

from pathlib import Path

import pytest

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
