"""`himac watch`: a live run in the terminal.

It looks at the run's files every few seconds, as anybody could: no connection to the process that
trains, so watching can neither slow it nor stop it. Of episodes.jsonl only the end is read.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from himac.config import Config
from himac.report.reading import read_metrics
from himac.report.run_status import RunStatus, duration, plan_of, read_status
from himac.runs.folder import EPISODES, METRICS
from himac.runs.formats import read_line
from himac.runs.rows import Broken, is_episode
from himac.text import clean
from himac.types import Row

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVES = (
    ("success", ".2f"), ("return", ".2f"), ("turns", ".1f"), ("sub_done", ".2f"), ("fallback", ".2f"),
    ("zero_variance", ".2f"), ("inadmissible", ".3f"), ("kl", ".4f"), ("grad", ".3f"), ("gap_max", ".1e"),
)  # fmt: skip
_WORDS = {"sub_done": "done", "fallback": "forced"}  # as the tables and the report call them
_NAMES, _NUMBER = 16, 11  # columns that a curve's name takes, and its last value
_TAIL = 2**22  # bytes of episodes.jsonl that the last episodes are read from
_IDLE_S = 300.0  # a run whose files have not grown for this long is called still


def watch_run(folder: Path, out: Console, *, every_s: float = 3.0, once: bool = False) -> None:
    """Draw the run until its final evaluation is told (or, with `once`, a single time)."""
    config = plan_of(folder)
    drawing, is_over = picture(folder, config, width=out.width)
    if once:
        out.print(drawing)
        return
    with Live(drawing, console=out, auto_refresh=False) as live:
        while not is_over:
            time.sleep(every_s)
            drawing, is_over = picture(folder, config, width=out.width)
            live.update(drawing, refresh=True)


def picture(folder: Path, config: Config, *, width: int = 80) -> tuple[Group, bool]:
    """Return the run as one drawing (progress, curves as sparklines, evaluations, last episodes), and whether it is over."""
    broken = Broken()
    rows = read_metrics(folder, broken)
    path = folder / METRICS
    since_s = max(time.time() - path.stat().st_mtime, 0.0) if path.is_file() else 0.0
    progress = read_status(rows, config, since_s=since_s)
    parts: list[Any] = [Text(headline(clean(folder.resolve().name), progress, config, since_s), style="bold")]
    trained = [row for row in rows if row["phase"] != "eval"]
    if trained:
        parts.append(_curves(trained, width))
    parts += [_evaluation_line(row) for row in rows if row["phase"] == "eval"][-3:]
    parts += [_episode_line(row) for row in last_episodes(folder / EPISODES, 6)]
    parts += [Text(told, style="yellow")] if (told := broken.told()) else []
    return Group(*parts), progress.stage == "done"


def headline(name: str, progress: RunStatus, config: Config, since_s: float = 0.0) -> str:
    """Return the line that says how far the run is and how long it will take.

    Args:
        name: of the run.
        progress: how far it is.
        config: the run's.
        since_s: seconds since it last wrote.
    """
    parts = [f"{name}  iteration {progress.iteration}/{progress.iterations}", *filter(None, [progress.limit])]
    if progress.stage == "done":
        return " | ".join([*parts, f"done in {duration(progress.spent_s)}"])
    if progress.stage == "starting":
        parts.append("warm start, first evaluation or first iteration")
    elif progress.stage == "evaluating":
        parts.append(f"final evaluation on {config.eval.final or config.eval.split}")
    else:
        parts.append(f"{progress.pace_s:.1f} s an iteration")
    if since_s > max(_IDLE_S, 2 * progress.part_s):
        parts.append(f"nothing written for {duration(since_s)}")
    elif progress.left_s:
        parts.append(f"about {duration(progress.left_s)} left")
    return " | ".join(parts)


def sparkline(values: list[float], width: int = 32) -> str:
    """Return values as blocks, scaled from the lowest to the highest; more than fit are averaged, neighbours together.

    >>> sparkline([0.0, 1.0, 0.5]), sparkline([0.0, 0.0, 4.0, 4.0, 2.0, 2.0], 3)
    ('▁█▅', '▁█▅')
    """
    edges = (
        [i * len(values) // width for i in range(width + 1)]
        if len(values) > width
        else range(len(values) + 1)
    )
    shown = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if high == low:
        return _BLOCKS[0] * len(shown)
    return "".join(_BLOCKS[int((v - low) / (high - low) * (len(_BLOCKS) - 1) + 0.5)] for v in shown)


def last_episodes(path: Path, count: int) -> list[Row]:
    """Return the last whole episodes of a file, reading only its end."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        lines = file.read()
    return list(deque((r for r in _rows(lines) if is_episode(r)), maxlen=count))


def _curves(trained: list[Row], width: int) -> Table:
    phases = list(dict.fromkeys(row["phase"] for row in trained))
    room = min(max((width - _NAMES) // len(phases) - _NUMBER, 4), 60)
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("")
    for phase in phases:
        table.add_column({"planner": "phase A", "executor": "phase B"}.get(phase, clean(phase)))
    for key, form in _CURVES:
        cells = [_curve([r.get(key) for r in trained if r["phase"] == phase], form, room) for phase in phases]
        table.add_row(_WORDS.get(key, key.replace("_", " ")), *cells)
    return table


def _evaluation_line(row: Row) -> Text:
    interval = f"[{row['success_low']:.2f}, {row['success_high']:.2f}]"
    return Text(
        f"evaluation {row['iteration']} {clean(row['split'])}: success {row['success']:.3f} {interval} of {row['episodes']}"
    )


def _curve(values: list[Any], form: str, room: int) -> str:
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    return f"{sparkline(numbers, room)} {numbers[-1]:{form}}" if numbers else ""


def _episode_line(row: Row) -> Text:
    sign = ("✓", "green") if row["success"] else ("✗", "red")
    task = row["task"]
    ret = row["env_return"] - row["penalty"]
    rest = f" {row['phase']} {task['split']} {task['index']}: return {ret:.2f}, {row['env_steps']} steps"
    return Text.assemble(sign, clean(f"{rest}, {row['stop'].replace('_', ' ')}"))


def _rows(text: bytes) -> list[Row]:
    found = map(read_line, text.decode("utf-8", "replace").splitlines())
    return [row for row in found if row is not None]
