"""Where ALFWorld's episodes are lost: how many took an object, changed it, and won, before and after training.

    python benchmarks/alfworld_losses.py runs/compare-alfworld/alfworld-himac-0 runs/compare-alfworld/alfworld-grpo-0

Counts clean, heat and cool tasks in the first and last evaluation of `--split`. Writes results/alfworld_losses.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _demo import first_and_last
from _machine import save

KINDS = ("clean", "heat", "cool")


def funnel(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many episodes got how far: all, took something, changed it as asked, won."""
    counts = {"tasks": len(rows), "took": 0, "changed": 0, "won": 0}
    for row in rows:
        seen = [turn["observation"] or "" for segment in row["segments"] for turn in segment["turns"]]
        counts["took"] += any(text.startswith("You pick up the ") for text in seen)
        counts["changed"] += any(text.startswith(f"You {row['task']['kind']} the ") for text in seen)
        counts["won"] += row["success"]
    return counts


def main() -> None:
    """Count, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="valid_unseen")
    args = parser.parse_args()
    found = {}
    for run in args.runs:
        found[run.name] = {
            when: funnel([row for row in rows if row["task"]["kind"] in KINDS])
            for when, rows in first_and_last(run, args.split).items()
        }
        print(run.name, found[run.name])
    save("alfworld_losses", {"split": args.split, "kinds": list(KINDS), "runs": found})


if __name__ == "__main__":
    main()
