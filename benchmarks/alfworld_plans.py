"""What the planner answers to clean, heat and cool tasks before and after training: verb and place of the sub-goal between.

    python benchmarks/alfworld_plans.py runs/alfworld-demo/himac-0

Counts the blueprints in a run's first and last evaluation. Writes results/alfworld_plans.json.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from _machine import save

from himac.runs import EPISODES, read_rows

PLACES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}


def main() -> None:
    """Count, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    answers: dict[int, Counter[tuple[str, str]]] = {}
    for row in read_rows(parser.parse_args().run / EPISODES):
        if row["phase"] == "eval" and row["split"] == "valid_seen" and row["task"]["kind"] in PLACES:
            goals = row["blueprint"]["subgoals"] if row["blueprint"] else []
            between = next((goal for goal in goals if " with the " in goal), "nothing with the nothing")
            answer = f"{between.split()[0]} with the {between.split(' with the ')[1]}"
            answers.setdefault(row["iteration"], Counter())[row["task"]["kind"], answer] += 1
    found = {}
    for when, iteration in (("before", min(answers)), ("after", max(answers))):
        counts = answers[iteration]
        found[when] = {
            "iteration": iteration,
            "tasks": counts.total(),
            "verb_right": sum(n for (kind, answer), n in counts.items() if answer.startswith(kind)),
            "place_right": sum(n for (kind, answer), n in counts.items() if answer.endswith(PLACES[kind])),
            **{f"{kind}: {answer}": n for (kind, answer), n in sorted(counts.items())},
        }
    print(found)
    save("alfworld_plans", found)


if __name__ == "__main__":
    main()
