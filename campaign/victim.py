"""A himac that kills itself at its N-th operation on files: `python -m campaign.victim N COUNT_FILE -- WORDS`.

N = 0 lives, and writes how many operations there were. An audit hook sees files opened for writing, renames, folders
made and removed, before they happen; the kill is SIGKILL, so nothing of the process can answer it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

_EVENTS = frozenset(["os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate"])


def main() -> int:
    """Run himac, or die."""
    deadly, target, words = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:]
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        is_written = event == "open" and isinstance(args[1], str) and any(c in args[1] for c in "wa+x")
        if (is_written and not str(args[0]).startswith("/dev/")) or event in _EVENTS:
            count += 1
            if count == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    from himac.cli.main import main as himac

    sys.addaudithook(hook)
    status = himac(words)
    with contextlib.suppress(OSError):  # the disk may be full
        target.write_text(str(count), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
