"""The verbs that read runs: report, show, watch, plot.

One idea: a verb is a short function of its arguments; what it needs is imported when it runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from himac.errors import ConfigError
from himac.runs.folder import find_run
from himac.types import StopReason

Arguments = list[tuple[tuple[str, ...], dict[str, Any]]]


def report(args: argparse.Namespace) -> None:
    """Write one HTML file about one run or several."""
    from himac.report.page import build_report

    if args.episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {args.episodes}")
    if args.megabytes <= 0:
        raise ConfigError(f"--megabytes must be above 0, got {args.megabytes:g}")
    folders = [find_run(name) for name in args.runs]
    target = Path(args.out) if args.out else folders[0] / "report.html"
    build_report(folders, target, most=args.episodes, most_bytes=int(args.megabytes * 1e6))
    print(f"{target}  ({target.stat().st_size / 1e6:.1f} MB; open it in a browser)")


def show(args: argparse.Namespace) -> None:
    """Print episodes of a run."""
    from rich.console import Console

    from himac.report.query import find_episodes
    from himac.report.show import show_episode

    out, shown = Console(highlight=False), 0
    for row in find_episodes(find_run(args.name), args):
        show_episode(row, out)
        shown += 1
    if not shown:
        out.print("no episode matches", markup=False)


def watch(args: argparse.Namespace) -> None:
    """Follow a live run."""
    from rich.console import Console

    from himac.report.watch import watch_run

    watch_run(find_run(args.name), Console(highlight=False), once=args.once)


def plot(args: argparse.Namespace) -> None:
    """Draw runs as PNG and SVG."""
    from himac.report.curves import plot_runs

    folders = [find_run(name) for name in args.runs]
    stem = Path(args.out).with_suffix("") if args.out else folders[0] / "curves"
    for path in plot_runs(folders, stem):
        print(path)


_RUN: Arguments = [(("name",), {"metavar": "RUN", "help": "run name or folder"})]
_RUNS: Arguments = [(("runs",), {"nargs": "+", "metavar": "RUN", "help": "run names or folders"})]
REPORT: Arguments = [
    *_RUNS,
    (("--out",), {"metavar": "FILE", "help": "HTML file; left out: report.html in the first run"}),
    (("--episodes",), {"type": int, "default": 5000, "help": "episodes to show at most (default 5000)"}),
    (("--megabytes",), {"type": float, "default": 8, "help": "how large they may make the file (default 8)"}),
]
SHOW: Arguments = [
    *_RUN,
    (("--iteration",), {"type": int, "help": "only of this iteration"}),
    (("--phase",), {"choices": ("macro", "micro", "joint", "flat", "eval"), "help": "only of this phase"}),
    (("--kind",), {"help": "only of this task type"}),
    (("--index",), {"type": int, "help": "only of this task"}),
    (("--success",), {"action": argparse.BooleanOptionalAction, "default": None, "help": "only solved ones, or only the others"}),
    (("--stop",), {"choices": [stop.value for stop in StopReason], "help": "only those that ended so"}),
    (("--skip",), {"type": int, "default": 0, "help": "pass over so many"}),
    (("--count",), {"type": int, "default": 1, "help": "show so many (default 1)"}),
]  # fmt: skip
WATCH: Arguments = [*_RUN, (("--once",), {"action": "store_true", "help": "draw once and stop"})]
PLOT: Arguments = [
    *_RUNS,
    (("--out",), {"metavar": "FILE", "help": "name without ending; left out: curves in the first run"}),
]
