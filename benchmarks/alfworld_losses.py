"""Where ALFWorld's episodes are lost: how many took an object, changed it, and won, before and after training.

    python benchmarks/alfworld_losses.py runs/compare-alfworld/alfworld-himac-0 runs/compare-alfworld/alfworld-grpo-0

Counts clean, heat and cool tasks in the first and last evaluation of `--split`. Writes results/alfworld_losses.json.
"""

from __future__ import annotations

from typing import Any

from _runs import count_both_ends

KINDS = ("clean", "heat", "cool")


def funnel(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many clean, heat and cool episodes got how far: all, took something, changed it as asked, won."""
    rows = [row for row in rows if row["task"]["kind"] in KINDS]
    counts = {"tasks": len(rows), "took": 0, "changed": 0, "won": 0}
    for row in rows:
        seen = [turn["observation"] or "" for segment in row["segments"] for turn in segment["turns"]]
        counts["took"] += any(text.startswith("You pick up the ") for text in seen)
        counts["changed"] += any(text.startswith(f"You {row['task']['kind']} the ") for text in seen)
        counts["won"] += row["success"]
    return counts


if __name__ == "__main__":
    count_both_ends(__doc__, "alfworld_losses", funnel)
