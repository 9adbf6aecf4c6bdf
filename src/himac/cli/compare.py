"""`himac compare`: run a plan or read runs, and set the methods side by side.

One idea: carrying out and judging are two things; the second needs only the runs' folders, so it can be done again, later,
elsewhere, and while a plan is still at work.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from himac.errors import ConfigError, DataError, HimacError, MissingFileError, RunError

if TYPE_CHECKING:
    from himac.compare.plan import Plan
    from himac.compare.runner import Failure
    from himac.compare.terms import Terms

TABLE, JSON, CURVES = "table.md", "table.json", "curves"


def compare(args: argparse.Namespace) -> None:
    """Carry out a plan where one is given, then judge the runs and write the comparison."""
    given = [Path(word) for word in args.given]
    if given[0].suffix != ".toml":
        folders, terms, out = _gather(given)
        _judge(args, folders, terms, Path(args.out) if args.out else out)
        return
    if len(given) > 1:
        raise ConfigError(
            f"one plan at a time, got {len(given)}", hint="run folders are given without a plan"
        )
    if args.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {args.jobs}")
    from himac.compare.plan import read_plan

    plan = read_plan(given[0])
    out = Path(args.out) if args.out else Path("runs") / plan.name
    if args.dry_run:
        _say_plan(plan, out)
        return
    failures = _carry_out(args, plan, out)
    try:
        folders, terms, _ = _gather([out])
        _judge(args, folders, terms, out)
    except HimacError:
        if not failures:  # else their reason is the one to tell
            raise
    if failures:
        raise RunError(
            f"{len(failures)} of the plan's runs failed; first {failures[0].name}: {failures[0].reason}",
            hint=f"its log is {failures[0].log}; the same command tries them again",
        )


def _carry_out(args: argparse.Namespace, plan: Plan, out: Path) -> Sequence[Failure]:
    from rich.console import Console

    from himac.compare.runner import carry_out
    from himac.compare.terms import terms_of, write_terms

    out.mkdir(parents=True, exist_ok=True)
    write_terms(terms_of(plan), out)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    return () if args.read else carry_out(plan, out, jobs=args.jobs, console=console)


def _say_plan(plan: Plan, out: Path) -> None:
    """Print every run with its state and the command that it is."""
    from himac.compare.plan import planned_runs
    from himac.compare.runner import state_of

    starts, runs = planned_runs(plan, out)
    for start in starts:
        state = "done" if start.model.is_dir() else "missing"
        print(f"{state:7}  himac sft {shlex.join(start.words)}")
    for run in runs:
        print(f"{state_of(run):7}  himac train {shlex.join(run.words)}")


def _gather(given: Sequence[Path]) -> tuple[list[Path], Terms, Path]:
    """Return (run folders, what is asked of them, where the comparison goes by itself).

    A single folder that holds runs is a comparison of its own; several runs are written beside the first.
    """
    from himac.compare.reading import find_folders
    from himac.compare.terms import Terms, read_terms
    from himac.runs.folder import CONFIG, find_run

    paths = [path if path.is_dir() else find_run(path) for path in given]
    folders = find_folders(paths)
    if not folders:
        raise MissingFileError(
            f"no run in {', '.join(repr(str(path)) for path in paths)}",
            hint="a run's folder has metrics.jsonl",
        )
    if len(paths) == 1 and not (paths[0] / CONFIG).is_file():
        return folders, read_terms(paths[0]), paths[0]
    return folders, Terms(name="comparison"), paths[0].parent / "comparison"


def _judge(args: argparse.Namespace, folders: Sequence[Path], terms: Terms, out: Path) -> None:
    """Read, judge, write and print."""
    from himac.compare.curves import plot_comparison
    from himac.compare.naming import name_planned, name_runs
    from himac.compare.summary import summarise
    from himac.compare.tables import markdown_of
    from himac.runs.folder import write_text

    if args.reference:
        terms = replace(terms, reference=args.reference)
    if args.target is not None:
        if not 0 < args.target <= 1:
            raise ConfigError(f"--target must be a success rate above 0 and at most 1, got {args.target}")
        terms = replace(terms, target=args.target, targets={})
    runs = _read(folders)
    named = name_planned(terms.names, runs) if terms.names else name_runs(runs)
    told = summarise(named, terms)
    page = markdown_of(told)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / JSON, json.dumps(told, indent=1) + "\n")
    write_text(out / TABLE, page)
    print(page)
    drawn = plot_comparison(told, out / CURVES)
    print("\n".join(str(path) for path in (out / TABLE, out / JSON, *drawn)))


def _read(folders: Sequence[Path]) -> list[Any]:
    """Read the runs; say which have nothing to compare yet."""
    from himac.compare.reading import read_run

    runs = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except DataError as error:
            print(f"left out: {error}", file=sys.stderr)
    return runs


_Arguments = list[tuple[tuple[str, ...], dict[str, Any]]]
ARGUMENTS: _Arguments = [
    (
        ("given",),
        {"nargs": "+", "metavar": "PLAN|RUN", "help": "a plan (.toml), or runs, or a folder of runs"},
    ),
    (("--jobs",), {"type": int, "default": 1, "metavar": "N", "help": "runs at a time (default 1)"}),
    (("--out",), {"metavar": "FOLDER", "help": "where runs and tables go; left out: runs/PLAN"}),
    (("--read",), {"action": "store_true", "help": "run nothing, judge what is there"}),
    (("--target",), {"type": float, "metavar": "RATE", "help": "success whose cost is told, 0 to 1"}),
    (("--reference",), {"metavar": "METHOD", "help": "whom the others are compared with (default himac)"}),
    (("--dry-run",), {"action": "store_true", "help": "print every run with its state and stop"}),
]
