"""All runs of a folder, a line each: how far, how good, how large."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from himac.errors import HimacError
from himac.files import holder
from himac.report.reading import read_metrics
from himac.report.run_status import RunStatus, duration, plan_of, read_status
from himac.runs.folder import CONFIG, METRICS, START, maker_of
from himac.toml import read_toml
from himac.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """What `himac runs` says of one run."""

    name: str
    state: str
    success: float | None  # share of the last evaluation's episodes, 0 to 1; None before there is one
    split: str  # that the last evaluation was on
    size: int  # bytes of its folder
    changed_s: float  # when it was last written, seconds since 1970


def list_runs(root: Path) -> list[RunLine]:
    """Return the runs in a folder and in the folders below it, the newest last."""
    found = [line_of(folder, root) for folder in _folders(root)]
    return sorted(found, key=lambda line: line.changed_s)


def line_of(folder: Path, root: Path) -> RunLine:
    """Return what is said of the run in a folder; damaged ones are told as such."""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    last: Row = {}
    try:
        read_toml(folder / CONFIG)
        rows = read_metrics(folder) if (folder / METRICS).is_file() else []
        last = next((row for row in reversed(rows) if row["phase"] == "eval"), {})
        state = _state(folder, read_status(rows, plan_of(folder)), has_rows=bool(rows))
    except (HimacError, KeyError, OSError) as error:
        state, last = f"unreadable: {error}", {}
    return RunLine(
        name=str(folder.relative_to(root)),
        state=state,
        success=last.get("success"),
        split=last.get("split", ""),
        size=sum(file.st_size for file in files),
        changed_s=max((file.st_mtime for file in files), default=0.0),
    )


def told(lines: list[RunLine], *, width: int) -> list[str]:
    """Return the table of some runs, no line longer than `width` characters: states and names give way."""
    heads = ("run", "state", "success", "size", "age")
    rows = [
        (
            line.name,
            line.state,
            "" if line.success is None else f"{line.success:.3f} {line.split}",
            f"{line.size / 1e6:.1f} MB",
            duration(max(time.time() - line.changed_s, 0.0)),
        )
        for line in lines
    ]
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for index in (1, 0):  # what may be long gives way
        over = sum(widths) + 2 * (len(widths) - 1) - width
        widths[index] = max(widths[index] - max(over, 0), 12)
    return [
        "  ".join(
            _cell(text, size, right=index == 3) for index, (text, size) in enumerate(zip(row, widths))
        ).rstrip()
        for row in (heads, *rows)
    ]


def _cell(text: str, width: int, *, right: bool) -> str:
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)


def _folders(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob(CONFIG)):
        if path.parent != root:
            yield path.parent


_DOING = {True: "at work", False: "stopped"}


def _state(folder: Path, status: RunStatus, *, has_rows: bool) -> str:
    """Return what a run is doing, or where it stopped."""
    at_work = holder(folder)
    if not has_rows and (((folder / START).is_dir() and not at_work) or maker_of(folder) == "himac sft"):
        return "warm start" if (folder / START).is_dir() else f"warm start, {_DOING[bool(at_work)]}"
    if status.stage == "done":
        return f"done {status.iteration}/{status.iterations}"
    if not has_rows:
        return "starting" if at_work else "stopped"
    doing = "evaluating" if status.stage == "evaluating" else "training"
    return f"{doing if at_work else 'stopped'} {status.iteration}/{status.iterations}"
