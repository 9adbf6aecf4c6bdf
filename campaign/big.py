"""A run of gigabytes, read in bounded memory and time by every verb that reads runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from campaign.kills import recipe_in, run
from campaign.sections import Section
from himac.runs.folder import EPISODES, METRICS

_MOST_MIB = 300  # measured at 5 GB: 38 to 174; a line of 400 MB 231
_START_S = 12.0  # processor time of a verb on a small run, imports and drawing included
_S_PER_GB = 12.0  # measured at 5 GB: 0 to 2.3; 8 where a run of 0.1.0 is compared
_LONG_LINE = 400_000_000  # bytes without a line's end
_LAUNCHER = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, ended, used = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(ended), used.ru_maxrss, used.ru_utime + used.ru_stime]))
"""  # a small process in between: Linux counts what the one that forks has to the most that its child had
_HEAD = b'{"iteration":'


def reading(folder: Path, *, gigabytes: float) -> Section:
    """Write a large run, and let each reader read it."""
    section = Section(f"runs of {gigabytes:g} GB read in at most {_MOST_MIB} MiB")
    free = shutil.disk_usage(folder).free
    if free < 2e9 + 1.2e9 * gigabytes:
        section.add(f"needs {1.2 * gigabytes + 2:.1f} GB of disk, {free / 1e9:.1f} are free")
        return section
    words = ["train", str(recipe_in(folder)), f"run.dir={folder}", "run.name=big"]
    status, told = run(words, counted=folder / "count")
    if status:
        section.add(told[-200:])
        return section
    home = folder / "big"
    last = _grow(home / EPISODES, int(gigabytes * 1e9))
    verbs = {
        "show": ["show", str(home)], "show, near the end": ["show", str(home), "--iteration", str(last)],
        "show, none": ["show", str(home), "--iteration", "999999999"], "show, skip": ["show", str(home), "--skip", "20000"],
        "watch": ["watch", str(home), "--once"], "plot": ["plot", str(home)], "compare": ["compare", str(home), str(home), "--out", str(folder / "c")],
        "report": ["report", str(home)],
    }  # fmt: skip
    for name, verb in verbs.items():
        section.add(_measured(name, verb, _START_S + _S_PER_GB * gigabytes))
    _without_outcomes(home / METRICS)  # as runs of 0.1.0 are
    section.add(_measured("compare, of old", verbs["compare"], _START_S + _S_PER_GB * gigabytes))
    page = home / "report.html"
    section.add("" if page.is_file() and page.stat().st_size < 30e6 else "the page is missing or too large")
    section.add(
        _measured(
            "train --resume", ["train", "--resume", str(home)], _START_S + _S_PER_GB * gigabytes, most_mib=700
        )
    )
    with open(home / EPISODES, "wb") as file:
        file.write(_HEAD)
        for _ in range(_LONG_LINE // 2**20):
            file.write(b"1" * 2**20)
        file.write(b"\n")
    for name in ("show", "watch", "report"):
        section.add(_measured(f"{name}, one line of {_LONG_LINE / 1e6:.0f} MB", verbs[name], _START_S + 10))
    return section


def _grow(path: Path, size: int) -> int:
    """Repeat a file's iterations, counting on, until it has `size` bytes; return the last iteration."""
    lines = path.read_bytes().splitlines(keepends=True)
    parts = [
        (int(head), rest) for head, _, rest in (line.removeprefix(_HEAD).partition(b",") for line in lines)
    ]
    period, offset, written = max(at for at, _ in parts) + 1, 0, 0
    with open(path, "wb") as file:
        while written < size:
            written += file.write(b"".join(b"%s%d,%s" % (_HEAD, at + offset, rest) for at, rest in parts))
            offset += period
    return offset - 1


def _without_outcomes(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps({k: v for k, v in row.items() if k != "outcomes"}) + "\n" for row in rows)
    )


def _measured(name: str, words: list[str], most_s: float, *, most_mib: int = _MOST_MIB) -> str:
    """Run a verb in a process of its own; return in what it took too much, "" where in nothing."""
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, sys.executable, "-m", "himac", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    status, kib, took = json.loads(done.stdout)
    mib = kib / 1024
    print(f"  {name}: {mib:.0f} MiB, {took:.1f} s", file=sys.stderr, flush=True)
    if status or "Traceback" in done.stderr:
        return f"{name}: status {status}: {done.stderr.strip()[-200:]}"
    if mib > most_mib or took > most_s:
        return f"{name}: {mib:.0f} MiB of {most_mib}, {took:.1f} s of {most_s:.0f}"
    return ""
