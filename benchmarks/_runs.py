"""What scripts that run or read training runs share: a himac command, a run's evaluations, counts at both ends.

Everything is asked of the command line (`himac sft`, `train`, `eval`) and read back from the run
folders, so that what is measured is what a user runs, and a benchmark that was stopped goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _machine import save

from himac.runs.folder import EPISODES, METRICS, read_rows


def himac(*words: str) -> None:
    """Run one himac command; its log goes to this script's stderr."""
    subprocess.run([sys.executable, "-m", "himac", *words], check=True, stdout=subprocess.DEVNULL)


KEPT = (
    "success",
    "success_low",
    "success_high",
    "episodes",
    "malformed",
    "unreadable",
    "inadmissible",
    "sub_done",
)


def outcome(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a benchmark keeps of an evaluation."""
    return {key: row[key] for key in KEPT if key in row}


def evaluations(folder: Path, split: str) -> list[dict[str, Any]]:
    return [r for r in read_rows(folder / METRICS) if r["phase"] == "eval" and r["split"] == split]


def count_both_ends(doc: str, name: str, count: Callable[[list[dict[str, Any]]], dict[str, int]]) -> None:
    """Count the episodes of each run's first and last evaluation of a split, print and save: `RUN... [--split]`."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="valid_unseen")
    parser.add_argument("--name", default=name, help="of the result's file")
    args = parser.parse_args()
    found = {}
    for run in args.runs:
        episodes: dict[int, list[dict[str, Any]]] = {}
        for row in read_rows(run / EPISODES):
            if row["phase"] == "eval" and row["split"] == args.split:
                episodes.setdefault(row["iteration"], []).append(row)
        found[run.name] = {
            "before": count(episodes[min(episodes)]),
            "after": count(episodes[max(episodes)]),
        }
        print(run.name, found[run.name])
    save(args.name, {"split": args.split, "runs": found})
