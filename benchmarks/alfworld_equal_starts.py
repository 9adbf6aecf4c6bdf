"""From how many demonstrations flat agent and HiMAC start equally high, in recipes/alfworld-demo.toml.

    python benchmarks/alfworld_equal_starts.py OUT [--seeds 0 1] [--variants himac 3000 ...] [--missing skip]

In compare-alfworld-two-passes HiMAC leads, and nearly all of its lead is there before training. A flat start of the same
level tells what training adds to each. Every start takes two passes over its demonstrations and is evaluated
greedily on all 256 tasks of valid_seen, so that the test kitchens have no part in the choice. What is in OUT already is
read, so that a benchmark that was stopped goes on; `--missing skip` runs nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

from _machine import save
from _runs import himac, outcome

RECIPE = "alfworld-demo"
FLAT = ["algo.method=flat"]
PLANS = ["sft.planner_weight=1.0"]
VARIANTS = {
    "himac": [*PLANS],
    "himac 1500": [*PLANS, "sft.demonstrations=1500"],
    "himac 2000": [*PLANS, "sft.demonstrations=2000"],
    "3000": [*FLAT],
    "6000": [*FLAT, "sft.demonstrations=6000"],
    "9000": [*FLAT, "sft.demonstrations=9000"],
    "12000": [*FLAT, "sft.demonstrations=12000"],
    "16000": [*FLAT, "sft.demonstrations=16000"],
}


def start_of(out: Path, seed: int, variant: str) -> Path:
    """Make one warm start and evaluate it; return the evaluation's file."""
    name = f"e{seed}-{variant.replace(' ', '-')}"
    found = out / f"{name}.json"
    if not found.is_file():
        words = [f"run.seed={seed}", f"run.dir={out / 'runs'}", f"run.name={name}", "sft.epochs=2.0"]
        if not (out / "runs" / name / "start").is_dir():
            himac("sft", RECIPE, *words, *VARIANTS[variant])
        himac("eval", str(out / "runs" / name), "split=valid_seen", "--out", str(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--missing", choices=["run", "skip"], default="run")
    args = parser.parse_args()
    results, means = [], {}
    for variant in args.variants:
        rows = []
        for seed in args.seeds:
            path = args.out / f"e{seed}-{variant.replace(' ', '-')}.json"
            if args.missing == "skip" and not path.is_file():
                continue
            row = json.loads(start_of(args.out, seed, variant).read_text(encoding="utf-8"))
            rows.append(row["success"])
            results.append({"variant": variant, "seed": seed, **outcome(row)})
            print(f"{variant}, seed {seed}: {row['success']:.1%}", flush=True)
        if rows:
            means[variant] = fmean(rows)
    save(
        "alfworld_equal_starts",
        {"recipe": RECIPE, "split": "valid_seen", "epochs": 2.0, "means": means, "results": results},
    )


if __name__ == "__main__":
    main()
