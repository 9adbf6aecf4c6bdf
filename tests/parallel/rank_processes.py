"""Ranks on one processor: processes that meet over localhost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "ranks_program.py"
WORDS = [
    "env=toy", "env.doors=1", "model=tiny", "model.tiny=[32,2,400]", "agent.planner_tokens=48", "agent.executor_tokens=12",
    "agent.max_steps=8", "agent.think=false", "sft.demonstrations=24", "sft.epochs=2", "sft.batch=8", "rollout.tasks=3",
    "rollout.group_size=3", "rollout.executor_group_size=3", "run.iterations=3", "run.save_every=1", "eval.every=2",
    "eval.tasks=6", "optimizer.lr=1e-3", "run.device=cpu",
]  # fmt: skip


def ranks(size: int, *args: str) -> list[subprocess.Popen[bytes]]:
    """Start so many ranks of the program."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), *args],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)},
            stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for all to end well."""
    said = [process.communicate(timeout=240)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(said)
