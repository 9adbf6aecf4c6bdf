"""SmolLM2-135M-Instruct in small Sokoban rooms: untrained, after 200 demonstrations, and in training, HiMAC beside flat GRPO.

    python benchmarks/smollm2.py OUT [--missing skip]

Needs `himac model fetch smollm2`. The untrained model is asked by HiMAC's prompts, the flat agent's, ReAct's and Reflexion's
(48 validation levels, greedy); then `himac compare compare-smollm2 --out OUT/cmp` makes the warm start and trains from it. What
is in OUT is read and gone on with; `--missing skip` runs nothing and reads what is there, unfinished runs too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

from _machine import save
from _runs import himac, outcome

from himac.runs.folder import METRICS, read_rows

RECIPE = "sokoban-smollm2"
ASKED = {
    "himac": ["method=himac"],
    "flat": ["method=flat"],
    "react": ["method=react", "agent.think=true", "agent.executor_tokens=64"],
    "reflexion": ["method=reflexion", "agent.think=true", "agent.executor_tokens=64", "eval.trials=2"],
}


def settings() -> list[str]:
    """Return the world and the limits of the recipe as words for `himac eval`."""
    return [
        "env=sokoban", "env.size=[6,6]", "env.boxes=1", "env.observation=words", "env.max_steps=8", "env.test=128",
        "agent.prompts=full", "agent.think=false", "agent.planner_tokens=64", "agent.executor_tokens=16",
        "agent.max_subgoals=6", "agent.subgoal_turns=4", "model.dtype=bfloat16", "model.max_prompt=1024", "split=val",
        "eval.tasks=48",
    ]  # fmt: skip


def untrained(out: Path, skip: bool) -> dict[str, Any]:
    """Return what the model does with each method's prompts."""
    found = {}
    for name, words in ASKED.items():
        path = out / f"zero-{name}.json"
        if not path.is_file():
            if skip:
                continue
            himac("eval", "models/smollm2", *settings(), *words, f"run.dir={out / 'ev'}", "--out", str(path))
        row = json.loads(path.read_text(encoding="utf-8"))
        found[name] = outcome(row)
        print(f"untrained, {name}: {row['success']:.1%}, unreadable {row['unreadable']:.0%}", flush=True)
    return found


def trained(out: Path, skip: bool) -> dict[str, Any]:
    """Return each method's evaluations, from its start on."""
    if not skip:
        himac("compare", "compare-smollm2", "--jobs", "1", "--out", str(out / "cmp"))
    found = {}
    for run in sorted(out.glob("cmp/sokoban-*-0")):
        rows = [row for row in read_rows(run / METRICS) if row["phase"] == "eval"]
        found[run.name.split("-")[1]] = [
            {"iteration": row["iteration"], "split": row["split"], "env_steps": row["total_env_steps"]}
            | outcome(row)
            for row in rows
        ]
        for row in found[run.name.split("-")[1]]:
            print(
                run.name,
                {key: row[key] for key in ("iteration", "split", "env_steps", "success")},
                flush=True,
            )
    return found


def phases(out: Path) -> dict[str, Any]:
    """Return, for each phase of each run, what its groups had to teach; means over the iterations that were run."""
    found = {}
    for run in sorted(out.glob("cmp/sokoban-*-0")):
        rows = [row for row in read_rows(run / METRICS) if row["phase"] != "eval"]
        for phase in dict.fromkeys(row["phase"] for row in rows):
            own = [row for row in rows if row["phase"] == phase]
            learned = [row for row in own if row.get("samples")]
            found[f"{run.name.split('-')[1]}, {phase}"] = {
                "iterations": len(own),
                "without_a_sample": len(own) - len(learned),
                "groups_without_variance": mean(row["zero_variance"] for row in own),
                "distinct_blueprints": mean(row["distinct_blueprints"] for row in own),
                "gap_mean": mean(row["gap_mean"] for row in learned),
                "gap_max": max(row["gap_max"] for row in learned),
            }
    for name, told in found.items():
        print(name, told, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--missing", choices=["run", "skip"], default="run")
    args = parser.parse_args()
    skip = args.missing == "skip"
    save(
        "smollm2",
        {
            "recipe": RECIPE,
            "untrained": untrained(args.out, skip),
            "runs": trained(args.out, skip),
            "phases": phases(args.out),
        },
    )


if __name__ == "__main__":
    main()
