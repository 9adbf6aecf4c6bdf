"""Two ranks on two cores against one: tokens a second of collecting and of learning.

    python benchmarks/ranks_speed.py [--start runs/NAME/start] [--iterations 3]

Iterations of recipes/demo.toml (32 tasks of 8) from a warm start, by one process and by two that torchrun starts, one thread each,
alternating. Reads the run's own clocks: wall seconds, so the machine has to be quiet. Writes results/ranks_speed.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _machine import describe, save

from himac.runs.folder import METRICS, read_rows


def played(size: int, start: str, iterations: int, folder: Path) -> dict[str, float]:
    """Run iterations with so many ranks; return tokens a second."""
    launcher = (
        ["-m", "torch.distributed.run", "--nproc-per-node", str(size), "-m", "himac"]
        if size > 1
        else ["-m", "himac"]
    )
    words = [
        "train", "demo", f'model.name="{start}"', "sft.demonstrations=0", f"run.iterations={iterations}",
        "budget.env_steps=0", "eval.every=0", 'eval.final=""', f'run.dir="{folder}"', f'run.name="r{size}"', "run.device=cpu",
        "run.save_every=1000",
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, *launcher, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    rows: list[dict[str, Any]] = [
        row for row in read_rows(folder / f"r{size}" / METRICS) if row["phase"] != "eval"
    ]
    tokens = sum(row["tokens"] * row["episodes"] for row in rows)
    return {
        "collect_tokens_per_s": tokens / sum(row["collect_s"] for row in rows),
        "learn_tokens_per_s": sum(row.get("trained_tokens", 0) for row in rows)
        / sum(row["learn_s"] for row in rows),
        "iteration_s": sum(row["collect_s"] + row["learn_s"] for row in rows) / iterations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, help="a warm-started model, `himac sft demo` makes one")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="do not save")
    args = parser.parse_args()
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(args.repetitions):
        for size, runs in found.items():
            with tempfile.TemporaryDirectory() as folder:
                runs.append(played(size, args.start, args.iterations, Path(folder)))
                print(size, json.dumps(runs[-1]), flush=True)
    best = {
        size: {key: (min if key == "iteration_s" else max)(run[key] for run in runs) for key in runs[0]}
        for size, runs in found.items()
    }
    ratios = {
        "collecting": best[2]["collect_tokens_per_s"] / best[1]["collect_tokens_per_s"],
        "learning": best[2]["learn_tokens_per_s"] / best[1]["learn_tokens_per_s"],
        "iteration": best[1]["iteration_s"] / best[2]["iteration_s"],
    }
    print(ratios, "load", describe()["load_average"])
    if not args.quick:
        save("ranks_speed", {"one": best[1], "two": best[2], "ratios": ratios})


if __name__ == "__main__":
    main()
