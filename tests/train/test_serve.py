"""The endpoint client against `transformers serve`: the same words as the local engine's, also when the server is killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, said_by_task

from himac.config import Config, override
from himac.evaluation.folder import evaluate_in_folder
from himac.rollout.evaluate import evaluate, subset
from himac.runs.console import Silent
from himac.runs.episodes import episode_row
from himac.runs.folder import EPISODES, read_rows
from himac.train.components import Components
from himac.train.start import build_start

for package in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(package, reason="transformers serve needs pip install 'himac[dev]'")

TASKS = 4


@pytest.fixture(scope="module")
def speaking(toy_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model warm enough to keep to the form: what it writes is text that tokenises one way."""
    folder = tmp_path_factory.mktemp("speaking") / "model"
    config = override(toy_config, sft={"demonstrations": 60, "epochs": 6.0, "batch": 12, "lr": 4e-3})
    build_start(config, folder, Silent())
    return folder


@pytest.fixture(scope="module")
def server(speaking: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(speaking, tmp_path_factory.mktemp("serve") / "log")
    yield running
    running.kill()


def _config(toy_config: Config, address: str) -> Config:
    roles = {"planner": address, "executor": address, "split": "val", "tasks": TASKS}
    return override(toy_config, eval=roles, endpoint={"concurrency": 2})


@pytest.fixture(scope="module")
def local(speaking: Path, toy_config: Config) -> list[dict[str, Any]]:
    """The same greedy episodes from the engine that shares the learner's module."""
    parts = Components(toy_config, speaking)
    _, episodes = evaluate(parts.collector, subset(parts.env.tasks("val"), TASKS), temperature=0.0)
    return [episode_row(e) for e in episodes]


@pytest.mark.slow
def test_a_served_model_says_what_it_says_locally(
    server: Server, local: list[dict[str, Any]], toy_config: Config, tmp_path: Path
) -> None:
    row, stopped = evaluate_in_folder(_config(toy_config, server.address), tmp_path, Silent())
    assert stopped is None and row["complete"] and row["usage"]["estimated"] == 0
    served = list(read_rows(tmp_path / EPISODES))
    assert said_by_task(served) == said_by_task(local)
    assert sum(r["calls"] for r in served) == row["usage"]["requests"] == sum(r["calls"] for r in local)


@pytest.mark.slow
def test_a_server_killed_and_started_again_in_mid_run_changes_nothing(
    server: Server, local: list[dict[str, Any]], toy_config: Config, tmp_path: Path
) -> None:
    before = server.answered
    result: list[Any] = []

    def run() -> None:
        result.append(evaluate_in_folder(_config(toy_config, server.address), tmp_path, Silent()))

    evaluation = threading.Thread(target=run)
    evaluation.start()
    while server.answered < before + 4:
        assert evaluation.is_alive()
        time.sleep(0.01)
    server.kill()
    time.sleep(1.0)
    server.start()
    evaluation.join(timeout=240)
    row, stopped = result[0]
    assert stopped is None and row["usage"]["retries"] > 0
    assert said_by_task(list(read_rows(tmp_path / EPISODES))) == said_by_task(local)
    json.dumps(row)
