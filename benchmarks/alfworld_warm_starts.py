"""Why some warm starts of the ALFWorld demo fail: the same 3,000 demonstrations, learned in other ways.

    python benchmarks/alfworld_warm_starts.py OUT [--seeds 2 4] [--variants base twice ...] [--missing skip]

In the comparison from natural starts two of HiMAC's five warm starts (seeds 2 and 4) solve nearly nothing before training,
and nothing after. Each variant changes one thing of recipes/alfworld-demo.toml; its start is evaluated greedily on all 256
tasks of valid_seen. Then the planner of seed 2's bad start works with the executor of a good one, and the other way
round. What is in OUT already is read, so that a benchmark that was stopped goes on; `--missing skip` runs nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from _machine import save
from _runs import himac, outcome

from himac.runs.folder import read_rows

RECIPE = "alfworld-demo"
VARIANTS = {
    "base": [],
    "lr2": ["sft.lr=2e-3"],
    "both": ["sft.style=both"],
    "e2": ["sft.epochs=2.0"],
    "e2lr2": ["sft.epochs=2.0", "sft.lr=2e-3"],
    "e2pw1": ["sft.epochs=2.0", "sft.planner_weight=1.0"],
    "e2pw2": ["sft.epochs=2.0", "sft.planner_weight=2.0"],
    "e4": ["sft.epochs=4.0"],
    "bothe2": ["sft.epochs=2.0", "sft.style=both"],
}
_SMALL = frozenset(["put", "a", "some", "clean", "hot", "cool", "and", "it", "in", "on", "the", "with", "two", "heat", "find", "them", "to"])  # fmt: skip


def start_of(out: Path, seed: int, variant: str) -> Path:
    """Make one warm start and evaluate it; return the evaluation's file."""
    name, found = f"a{seed}-{variant}", out / f"a{seed}-{variant}.json"
    if not found.is_file():
        words = [f"run.seed={seed}", f"run.dir={out / 'runs'}", f"run.name={name}", "sft.style=method"]
        himac("sft", RECIPE, *words, *VARIANTS[variant])
        himac(
            "eval", str(out / "runs" / name), "--checkpoint", "start", "split=valid_seen", "--out", str(found)
        )
    return found


def named(folder: Path) -> tuple[int, int]:
    """Return (plans that hold every word of the task that names a thing, plans) of a run's evaluations."""
    hit = count = 0
    for path in sorted(folder.glob("evaluations/*/episodes.jsonl")):
        for row in read_rows(path):
            task = re.search(r"Your task is to: (.*)", row["instruction"])
            if task and row["blueprint"]:
                words = set(re.findall("[a-z]+", task[1])) - _SMALL
                plan = set(re.findall("[a-z]+", " ".join(row["blueprint"]["subgoals"]).lower()))
                hit, count = hit + (words <= plan), count + 1
    return hit, count


def mixed(out: Path, planner: str, executor: str) -> Path:
    """Let one start plan and another one act, on 128 tasks; return the evaluation's file."""
    found = out / f"mix-{planner}-{executor}.json"
    if not found.is_file():
        runs = {name: str(out / "runs" / name) for name in (planner, executor)}
        who = ["--planner", f"{runs[planner]}/start", "--executor", f"{runs[executor]}/start"]
        words = ["--checkpoint", "start", "split=valid_seen", "eval.tasks=128", f"run.dir={out / 'mix'}"]
        himac("eval", runs[executor], *who, *words, "--out", str(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--missing", choices=["run", "skip"], default="run")
    args = parser.parse_args()
    results = []
    for seed in args.seeds:
        for variant in args.variants:
            path = args.out / f"a{seed}-{variant}.json"
            if args.missing == "skip" and not path.is_file():
                continue
            row = json.loads(start_of(args.out, seed, variant).read_text(encoding="utf-8"))
            changed = " ".join(VARIANTS[variant]) or "the recipe"
            hit, plans = named(args.out / "runs" / f"a{seed}-{variant}")
            told = {"plans_that_name": hit, "plans": plans}
            results.append({"seed": seed, "changed": changed, **told, **outcome(row)})
            print(f"seed {seed}, {changed}: {row['success']:.1%}", flush=True)
    crossed = []
    for planner, executor in (("a2-base", "a2-bothe2"), ("a2-bothe2", "a2-base")):
        if all((args.out / "runs" / name).is_dir() for name in (planner, executor)):
            row = json.loads(mixed(args.out, planner, executor).read_text(encoding="utf-8"))
            crossed.append({"planner": planner, "executor": executor, **outcome(row)})
            print(f"planner of {planner}, executor of {executor}: {row['success']:.1%}", flush=True)
    save(
        "alfworld_warm_starts",
        {"recipe": RECIPE, "split": "valid_seen", "results": results, "crossed": crossed},
    )


if __name__ == "__main__":
    main()
