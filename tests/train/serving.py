"""`transformers serve` for tests, and what was said in episodes that went through it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


class Server:
    """`transformers serve` in a process of its own.

    Args:
        model: a Hugging Face folder.
        log: file for what it prints.
        more: further options of its command line.
    """

    def __init__(self, model: Path, log: Path, *more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/v1#{model}"
        self._log = log
        self._command = [
            str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--port", str(self.port),
            "--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32", *more,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        modules = str(self._log.with_name("modules"))  # where it copies a folder's own code
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_MODULES_CACHE": modules,
            "OMP_NUM_THREADS": "1",
        }
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


def said_by_task(rows: list[dict[str, Any]]) -> dict[int, list[str]]:
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
