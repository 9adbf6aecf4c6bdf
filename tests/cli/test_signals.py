"""Signals that come where Python lets no exception out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import signal, time
from himac.cli.streams import Ended, interruptible

class Odd:
    def __del__(self):
        signal.raise_signal(signal.{name})
        time.sleep(0)  # here the handler runs, and what it raises is swallowed

try:
    with interruptible(to_the_end=True):
        odd = Odd()
        del odd
        time.sleep(20)
        print("went on")
except Ended as ended:
    print("ended", ended.status)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_that_falls_into_a_destructor_is_not_lost(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(name=name)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: [signal.signal(getattr(signal, n), signal.SIG_DFL) for n in ("SIGINT", "SIGHUP")],
    )
    assert done.stdout == f"ended {128 + getattr(signal, name)}\n" and done.stderr == ""
