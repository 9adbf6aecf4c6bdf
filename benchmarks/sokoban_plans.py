"""What the demo's planner plans before and after training, by how many straight runs of pushes a level needs.

    python benchmarks/sokoban_plans.py runs/compare-sokoban/sokoban-himac-* --split test

A level's runs are those of the solver's shortest play. Writes results/sokoban_plans.json.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from _runs import count_both_ends

from himac.config import load_config
from himac.envs.base import make_env, make_expert
from himac.types import Task

RECIPE = "demo"


@cache
def needed(split: str) -> list[int]:
    """Return, per level of a split, how many sub-goals the expert has for it; 0 where it declines."""
    config = load_config(RECIPE, [])
    env = make_env("sokoban", **config.env.settings)
    expert = make_expert("sokoban", env)
    shown = (expert.demonstrate(task, seed=0, noise=0.0) for task in env.tasks(split))
    return [len(demonstration.subgoals) if demonstration else 0 for demonstration in shown]


def planned(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count levels, wins and blueprints by the number of runs that a level needs; 3 stands for 3 or more."""
    counts: Counter[str] = Counter()
    for row in rows:
        task = Task(env="sokoban", split=row["task"]["split"], index=row["task"]["index"])
        runs = needed(task.split)[task.index]
        kind = f"{min(runs, 3)} needed" if runs else "more steps needed than there are"
        own = min(len(row["blueprint"]["subgoals"]), 3) if row["blueprint"] else 0
        counts[f"{kind}: levels"] += 1
        counts[f"{kind}: won"] += row["success"]
        counts[f"{kind}: plans of {own}"] += 1
    return dict(sorted(counts.items()))


if __name__ == "__main__":
    count_both_ends(__doc__, "sokoban_plans", planned)
