"""A himac that kills itself at its N-th operation on files: `python -m campaign.victim N COUNT_FILE -- WORDS`.

N = 0 lives, and writes how many operations there were. An audit hook sees files opened for writing, renames, folders
made and removed, before they happen; the kill is SIGKILL, so nothing of the process can answer it. SIGNAL:N:WORD:S in
N's place sends another signal, at the N-th operation on a path with the word in it; and again S seconds later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

_EVENTS = frozenset(["os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"])


def main() -> int:
    """Run himac, or die."""
    number, deadly, word, again_s = _wish(sys.argv[1])
    target, words = Path(sys.argv[2]), sys.argv[4:]
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        is_written = event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wa+x")
        is_one = (is_written and not str(args[0]).startswith("/dev/")) or event in _EVENTS
        if is_one and (not word or any(word in str(arg) for arg in args)):
            count += 1
            if count == deadly:
                if again_s:
                    threading.Timer(again_s, os.kill, (os.getpid(), number)).start()
                os.kill(os.getpid(), number)

    from himac.cli.main import main as himac

    sys.addaudithook(hook)
    sys.argv[1:] = words
    status = himac()
    with contextlib.suppress(OSError):  # the disk may be full
        target.write_text(str(count), encoding="utf-8")
    return status


def _wish(told: str) -> tuple[int, int, str, float]:
    """Return (signal, at which operation, on paths with this word, seconds until it is sent again; 0: once)."""
    if ":" not in told:
        return signal.SIGKILL, int(told), "", 0.0
    number, operation, word, again_s = told.split(":")
    return int(number), int(operation), word, float(again_s)


if __name__ == "__main__":
    sys.exit(main())
