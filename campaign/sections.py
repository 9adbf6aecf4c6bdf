"""What a section of the campaign reports, and what all of them use to call himac."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from himac.cli.main import main


@dataclass(slots=True)
class Section:
    """Trials of one kind."""

    name: str
    trials: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, fault: str) -> None:
        """Count a trial; "" is none that failed."""
        self.trials += 1
        if fault:
            self.faults.append(fault)
            print(
                f"  {fault}", file=sys.stderr, flush=True
            )  # a section takes an hour: its faults are told as they come

    @property
    def good(self) -> int:
        """Trials without a fault."""
        return self.trials - len(self.faults)


def call(words: Sequence[str]) -> tuple[int, str, str, str]:
    """Run one command in this process; return (status, stdout, stderr, the traceback of what it let through)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status, trace = main(list(words)), ""
        except SystemExit as error:
            status, trace = int(error.code or 0), ""
        except BaseException:
            status, trace = 1, traceback.format_exc()
    return status, out.getvalue(), err.getvalue(), trace


def fault_of(words: Sequence[str], *, allowed: tuple[int, ...] = (0, 2), expected: str = "") -> str:
    """Run a command; return what is wrong with how it ended: a traceback, a status, more than a line and a hint."""
    status, out, err, trace = call(words)
    what = " ".join(word[:60] for word in words)
    if trace:
        return f"{what}: {trace.strip().splitlines()[-1][:200]}"
    if status not in allowed:
        return f"{what}: status {status}"
    told = [line for line in err.splitlines() if line.startswith(("himac:", "hint:"))]
    if status == 2 and not 1 <= len(told) <= 3:
        return f"{what}: {len(told)} lines of error"
    if expected and expected not in f"{out}{err}":
        return f"{what}: {expected!r} is not said: {err.strip()[:200]}"
    odd = [c for c in out + err if (ord(c) < 32 and c not in "\n\t\r") or 127 <= ord(c) < 160]
    return f"{what}: control characters {odd[:5]}" if odd else ""


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
