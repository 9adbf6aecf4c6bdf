"""How sensible a planner's blueprints are before and after training: compared with the expert's, task type by task type.

    python benchmarks/alfworld_plans.py runs/compare-alfworld/alfworld-himac-*
    python benchmarks/alfworld_plans.py runs/compare-alfworld-phases/alfworld-*-[0-2] --name alfworld_plans_phases

Reads the blueprints of each run's first and last evaluation of `--split`. Writes results/alfworld_plans.json.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from _runs import count_both_ends

from himac.envs.alfworld.player import blueprint, read_goal


def judged(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count the blueprints of some episodes: how many agree with the expert's, and what forms there are."""
    counts = {"tasks": 0, "as the expert's": 0, "with all of the expert's sub-goals in order": 0}
    forms: Counter[tuple[str, str]] = Counter()
    for row in rows:
        goal = read_goal(row["instruction"])
        assert goal is not None, "generated games have ALFWorld's own sentences"
        own = tuple(row["blueprint"]["subgoals"]) if row["blueprint"] else ()
        wanted = tuple(subgoal.text for subgoal in blueprint(goal))
        counts["tasks"] += 1
        counts["as the expert's"] += own == wanted
        counts["with all of the expert's sub-goals in order"] += own[: len(wanted)] == wanted
        forms[goal.kind, ", ".join(text.split()[0] for text in own) or "no plan"] += 1
    ordered = sorted(forms.items(), key=lambda item: (item[0][0], -item[1]))
    return counts | {f"{kind}: {form}": count for (kind, form), count in ordered}


if __name__ == "__main__":
    count_both_ends(__doc__, "alfworld_plans", judged)
