"""A policy of some ten thousand parameters on the toy world, real in everything but size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from himac.config import Config, load_config
from himac.train.start import build_start


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_config() -> Config:
    """A run small enough for a test: one door, a model of width 32."""
    return load_config(
        None,
        [
            "env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,2,400]",
            "agent.planner_tokens=48", "agent.executor_tokens=12", "agent.max_steps=8",
            "agent.think=false", "sft.style=both", "sft.demonstrations=24", "sft.epochs=2", "sft.batch=8", "rollout.tasks=3", "rollout.group_size=3",
            "rollout.executor_group_size=3", "run.iterations=4", "run.save_every=1", "eval.every=2", "eval.tasks=6",
            "optimizer.lr=1e-3",
        ],
    )  # fmt: skip


@pytest.fixture(scope="session")
def start(toy_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warm-started toy model folder."""
    folder = tmp_path_factory.mktemp("start") / "model"
    build_start(toy_config, folder)
    return folder
