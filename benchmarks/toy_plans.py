"""What a warm start on houses of one and two doors plans for houses of one to four: how many blueprints are the right one.

    himac sft toy-horizon run.name=START [sft.demonstrations=N ...]
    python benchmarks/toy_plans.py runs/START...

A flat start writes none; its wins stand beside. A house has one order of sub-goals that works, and the expert's plan names it. Each start plays 128 validation houses of
each number of doors, greedily; evaluations that it keeps already are read. Writes results/toy_plans.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _machine import save
from _runs import himac

from himac.config import Config
from himac.envs.base import make_env, make_expert
from himac.runs.folder import CONFIG, EPISODES, EVALUATIONS, read_rows
from himac.runs.formats import load_saved

DOORS, TASKS = (1, 2, 3, 4), 128


def played(start: Path) -> dict[int, tuple[Config, Path]]:
    """Return {doors: (config, folder of the evaluation)}, played where it is not there yet."""
    for doors in DOORS:
        if doors not in _kept(start):
            words = [f"env.doors={doors}", f"env.least_doors={doors}", "split=val", f"eval.tasks={TASKS}"]
            himac("eval", str(start), *words)
    return _kept(start)


def _kept(start: Path) -> dict[int, tuple[Config, Path]]:
    found = {}
    for folder in sorted((start / EVALUATIONS).glob("eval-*/")):
        config = load_saved(folder / CONFIG)
        env = config.env.settings
        if env["doors"] == env.get("least_doors") and config.eval.split == "val":
            found[int(env["doors"])] = (config, folder)
    return found


def counted(config: Config, folder: Path) -> dict[str, int]:
    """Count houses, right blueprints, wins, and wins with a right one."""
    env = make_env("toy", **config.env.settings)
    expert, tasks = make_expert("toy", env), env.tasks(config.eval.split)
    counts = dict.fromkeys(("houses", "right plans", "won", "won with a right plan"), 0)
    for row in read_rows(folder / EPISODES):
        shown = expert.demonstrate(tasks[row["task"]["index"]], seed=0, noise=0.0)
        assert shown is not None
        is_right = bool(row["blueprint"]) and tuple(row["blueprint"]["subgoals"]) == shown.subgoals
        for key, is_so in zip(
            counts, (True, is_right, row["success"], is_right and row["success"]), strict=True
        ):
            counts[key] += is_so
    return counts


def main() -> None:
    """Count, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("starts", type=Path, nargs="+")
    found: dict[str, Any] = {}
    for start in parser.parse_args().starts:
        evaluations = played(start)
        first = evaluations[DOORS[0]][0]
        made = load_saved(start / CONFIG)
        found[start.name] = {
            "demonstrations": made.sft.demonstrations,
            "planner_weight": made.sft.planner_weight,
            "method": first.algo.method,
            "doors": {str(doors): counted(*evaluations[doors]) for doors in DOORS},
        }
        for doors, counts in found[start.name]["doors"].items():
            print(f"{start.name}, {doors} doors: {counts}", flush=True)
    save("toy_plans", found)


if __name__ == "__main__":
    main()
