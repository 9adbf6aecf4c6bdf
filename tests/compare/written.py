"""Runs whose files say what a test needs them to say."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from himac.config import load_config, to_toml
from himac.runs.folder import CONFIG, RunWriter

TASKS = 40
_PHASE = {"return": 0.0, "turns": 7.0, "collect_s": 1.0, "learn_s": 1.0}
RECIPE = """
rollout = { tasks = 2, group_size = 2, executor_group_size = 2 }
[env]
name = "toy"
doors = 1
val = 4
test = 4
[model]
name = "tiny"
tiny = [32, 1, 400]
[agent]
think = false
planner_tokens = 24
executor_tokens = 8
max_steps = 3
[sft]
demonstrations = 8
batch = 8
[eval]
every = 1
final = "test"
"""
"""Trained in a moment, to no good."""


def write_run(
    folder: Path, words: list[str], curve: list[float], *, kept: bool = True, finals: tuple[float, float] | None = None,
    steps: int = 100,
) -> Path:  # fmt: skip
    """Write a run as training does: evaluations of given success every 5 iterations, each costing `steps`."""
    config = load_config(None, [*words, "eval.every=5", f"eval.tasks={TASKS}", "eval.final=test"])
    rng = random.Random(f"{folder.name} outcomes")
    writer = RunWriter(folder)
    (folder / CONFIG).write_text(to_toml(config), encoding="utf-8")
    first, last = finals or (curve[0], curve[-1])

    def evaluation(place: int, split: str, success: float) -> None:
        wins = round(success * TASKS)
        solved = [i < wins for i in range(TASKS)]
        rng.shuffle(solved)
        row: dict[str, Any] = {
            "iteration": 5 * place, "phase": "eval", "split": split, "episodes": TASKS, "success": wins / TASKS,
            "success_low": 0.0, "success_high": 1.0, "return": 0.0, "turns": 7.0, "seconds": 1.0,
            "score": wins / TASKS, "env_steps": 7.0, "tokens": 30.0, "total_env_steps": place * steps,
            "total_tokens": place * steps * 10, "total_train_s": place * 6.0,
        }  # fmt: skip
        if kept:
            row["outcomes"] = {"index": list(range(TASKS)), "success": "".join(str(int(s)) for s in solved)}
        writer.metrics(row)
        writer.episodes(
            [
                {
                    "iteration": 5 * place, "phase": "eval", "group": i, "chosen": False, "split": split,
                    "task": {"index": i, "kind": ""}, "success": s, "score": float(s),
                }
                for i, s in enumerate(solved)
            ]
        )  # fmt: skip

    evaluation(0, "test", first)
    for place, success in enumerate(curve):
        if place:
            writer.metrics({"iteration": 5 * place, "phase": "executor", "success": success, **_PHASE})
            writer.episodes([{"iteration": 5 * place, "phase": "executor", "group": 0, "chosen": False}])
        evaluation(place, "val", success)
    evaluation(len(curve) - 1, "test", last)
    writer.close()
    return folder


def write_plan(folder: Path, text: str, recipe: str = RECIPE) -> Path:
    """Write a plan and the recipe.toml that it names; return the plan's path."""
    (folder / "recipe.toml").write_text(recipe)
    (folder / "plan.toml").write_text(text)
    return folder / "plan.toml"
