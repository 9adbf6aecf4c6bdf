"""How sensible a planner's blueprints are before and after training: compared with the expert's, task type by task type.

    python benchmarks/alfworld_plans.py runs/compare-alfworld/alfworld-himac-*

Reads the blueprints of each run's first and last evaluation of `--split`. Writes results/alfworld_plans.json.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from _machine import save

from himac.envs.alfworld.player import blueprint, read_goal
from himac.runs import EPISODES, read_rows


def judged(rows: list[tuple[str, tuple[str, ...], tuple[str, ...]]]) -> dict[str, int]:
    """Count (task type, blueprint, expert's blueprint): how many agree, and what forms there are."""
    forms = Counter((kind, ", ".join(goal.split()[0] for goal in own) or "no plan") for kind, own, _ in rows)
    return {
        "tasks": len(rows),
        "as the expert's": sum(own == wanted for _, own, wanted in rows),
        "with all of the expert's sub-goals in order": sum(
            own[: len(wanted)] == wanted for _, own, wanted in rows
        ),
        **{
            f"{kind}: {form}": count
            for (kind, form), count in sorted(forms.items(), key=lambda item: (item[0][0], -item[1]))
        },
    }


def main() -> None:
    """Count, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="valid_unseen")
    args = parser.parse_args()
    found = {}
    for run in args.runs:
        plans: dict[int, list[tuple[str, tuple[str, ...], tuple[str, ...]]]] = {}
        for row in read_rows(run / EPISODES):
            goal = read_goal(row["instruction"]) if row["phase"] == "eval" else None
            if goal and row["split"] == args.split:
                own = tuple(row["blueprint"]["subgoals"]) if row["blueprint"] else ()
                wanted = tuple(subgoal.text for subgoal in blueprint(goal))
                plans.setdefault(row["iteration"], []).append((goal.kind, own, wanted))
        found[run.name] = {"before": judged(plans[min(plans)]), "after": judged(plans[max(plans)])}
        print(run.name, found[run.name])
    save("alfworld_plans", {"split": args.split, "runs": found})


if __name__ == "__main__":
    main()
