"""The endpoint client against `transformers serve`: the same words as the local engine's, also when the server is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


class Server:
    """`transformers serve` in a process of its own."""

    def __init__(self, model: Path, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/v1#{model}"
        self._log = log
        self._command = [
            str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--port", str(self.port),
            "--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32",
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with open(self._log, "a") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        until = time.monotonic() + 240
        while time.monotonic() < until:
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5),
            ):
                return
            time.sleep(0.1)
        raise AssertionError(f"no answer in four minutes: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill it without a warning."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def answered(self) -> int:
        """Requests it has answered, in all its lives."""
        return self._log.read_text().count('POST /v1/chat/completions HTTP/1.1" 200')


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


def _said(rows: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Return what was said, by task, in order.

    The server strips spaces; and it does not say whether it was a stop or the model's own end that left a blueprint
    without its closing tag, which is put back.
    """
    said = {}
    for row in rows:
        turns = [row["planning"], *(turn for segment in row["segments"] for turn in segment["turns"])]
        said[row["task"]["index"]] = [
            turn["text"].strip().removesuffix("</blueprint>").strip() for turn in turns
        ]
    return said


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
    assert _said(served) == _said(local)
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
    assert _said(list(read_rows(tmp_path / EPISODES))) == _said(local)
    json.dumps(row)
