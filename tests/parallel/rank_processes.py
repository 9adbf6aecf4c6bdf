"""Ranks on one processor: processes that meet over localhost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from himac.runs.folder import METRICS, read_rows

PROGRAM = Path(__file__).parent / "ranks_program.py"
WORDS = [
    "env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,2,400]", "agent.planner_tokens=48", "agent.executor_tokens=12",
    "agent.max_steps=8", "agent.think=false", "sft.demonstrations=24", "sft.epochs=2", "sft.batch=8", "rollout.tasks=3",
    "rollout.group_size=3", "rollout.executor_group_size=3", "run.iterations=3", "run.save_every=1", "eval.every=2",
    "eval.tasks=6", "optimizer.lr=1e-3", "run.device=cpu",
]  # fmt: skip


CASES = {
    "adamw": [],
    "minibatches": ["algo.minibatches=[2,3]", "algo.kl_coef=0.1"],
    "muon": ["optimizer.name=muon"],
    "lora": ["model.lora_rank=2", "algo.kl_coef=0.1"],
    "lora-per-role": ["model.lora_rank=2", "model.lora_per_role=true"],
    "roles-together": ["model.lora_rank=2", "model.lora_per_role=true", "algo.coevolution=false", "optimizer.max_tokens=128"],
    "critic": ["algo.estimator=ppo", "algo.epochs=[2,1]"],  # it starts at zero: the second step teaches the backbone
    "checkpointing": ["model.gradient_checkpointing=true", "algo.coevolution=false"],
    "idle": ["rollout.tasks=1", "rollout.group_size=2", "rollout.executor_group_size=2", "optimizer.max_tokens=100000", "algo.minibatches=[2,2]"],
}  # fmt: skip
"""What a learner is tried with: [words]."""


def ranks(size: int, *args: str, die: str = "") -> list[subprocess.Popen[bytes]]:
    """Start so many ranks of the program; `die` is "place:rank:call", see `ranks_program.die`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DIE": die,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), *args],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)},
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]


def learned(size: int, start: Path, words: list[str], out: Path, *more: str) -> tuple[Any, dict[str, Any]]:
    """Let so many ranks collect and learn; return (what they told by phase, the weights)."""
    finish(
        ranks(
            size, "learn", str(start), json.dumps([*WORDS, "sft.demonstrations=0", *words]), str(out), *more
        )
    )
    return json.loads(out.read_text()), torch.load(out.with_suffix(".pt"))


def apart(weights: dict[str, Any], others: dict[str, Any]) -> float:
    """Return the largest difference of two sets of weights."""
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def same(one: Any, two: Any) -> None:
    """Compare what two sets of ranks told: token by token, and number by number."""
    for phase, told in one.items():
        assert told["ids"] == two[phase]["ids"]
        for name, value in told["metrics"].items():
            if name not in ("train_s", "packed_tokens", "gap_max", "gap_mean", "moved"):
                assert two[phase]["metrics"][name] == pytest.approx(value, rel=2e-3, abs=1e-5), name


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for all to end well."""
    said = [process.communicate(timeout=240)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)


def kill_after(
    processes: list[subprocess.Popen[bytes]], folder: Path, victim: int, *, iteration: int
) -> None:
    """Kill a rank as soon as an iteration's first row is there; the others cannot go on, and do not wait for ever."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        done = list(read_rows(folder / METRICS)) if (folder / METRICS).is_file() else []
        if any(row["iteration"] == iteration for row in done if row["phase"] != "eval"):
            break
        time.sleep(0.02)
    processes[victim].send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode != 0


def killed(processes: list[subprocess.Popen[bytes]], victim: int) -> None:
    """Wait for ranks of which one kills itself; the others cannot go on, and do not wait for ever."""
    for process in processes:
        process.communicate(timeout=120)
    assert processes[victim].returncode == -signal.SIGKILL
    assert all(process.returncode for process in processes)
