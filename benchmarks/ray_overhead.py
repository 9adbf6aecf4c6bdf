"""Ray's collectors against one process: what an iteration at the demo's size takes, on one machine.

    make ray-test                                              # makes the environment
    .venv-ray/bin/himac sft demo run.name=ray-start
    .venv-ray/bin/python benchmarks/ray_overhead.py --start runs/ray-start/start

The same iterations of recipes/demo.toml (32 tasks of 8 episodes) from one warm start, by one process, by one collector and by two, each
with one thread, one after another, in several rounds. A collector is handed 32 episodes at once, or all of them, so that what Ray costs is told
from what smaller batches cost. The first iteration is not counted: it holds what starting the
actors takes, which is told beside it. Processor seconds are those that a run's budget counts: of the process that learns
and of the collectors' units, not of Ray's own processes. With one collector everything is done in turn, so they are what an
iteration lasts on a quiet machine, and other work on the machine moves them less than it moves wall seconds; of each the
least of all rounds counts, and the load is saved. Writes results/ray_overhead.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _machine import save

from himac.runs.folder import METRICS, read_rows

LAYOUTS: dict[str, list[str]] = {
    "one process": [],
    "one collector": ["parallel.collectors=1"],
    "one collector, as large batches": ["parallel.collectors=1", "parallel.collector_episodes=256"],
    "two collectors": ["parallel.collectors=2"],
}


def played(layout: list[str], start: str, iterations: int, folder: Path) -> dict[str, Any]:
    """Run iterations and return mean seconds of those after the first."""
    words = [
        "train", "demo", f'model.name="{start}"', "sft.demonstrations=0", f"run.iterations={iterations + 1}",
        "budget.env_steps=0", "eval.every=1", "eval.tasks=1", 'eval.final=""', f'run.dir="{folder}"', 'run.name="r"', "run.device=cpu",
        "run.save_every=1000", *layout,
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "himac", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    all_rows: list[dict[str, Any]] = list(read_rows(folder / "r" / METRICS))
    spent = {row["iteration"]: row["total_processor_s"] for row in all_rows if row["phase"] == "eval"}
    rows = [row for row in all_rows if row["phase"] != "eval"]
    later = [row for row in rows if row["iteration"] > 1]
    told = {
        key: sum(row[key] for row in later) / iterations for key in ("collect_s", "generate_s", "learn_s")
    }
    return {
        **told,
        "iteration_s": told["collect_s"] + told["learn_s"],
        "processor_s": (spent[iterations + 1] - spent[1]) / iterations,
        "first_collect_s": sum(row["collect_s"] for row in rows if row["iteration"] == 1),
        "tokens": sum(row["tokens"] * row["episodes"] for row in later) / iterations,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, help="a warm-started model, `himac sft demo` makes one")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="do not save")
    args = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in LAYOUTS}
    for _ in range(args.rounds):
        for name, layout in LAYOUTS.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(played(layout, os.path.abspath(args.start), args.iterations, Path(folder)))
            print(f"{name:32}", json.dumps(found[name][-1]), flush=True)
    best = {
        name: {key: min(run[key] for run in told) for key in ("processor_s", "iteration_s", "collect_s", "first_collect_s", "tokens")}
        for name, told in found.items()
    }  # fmt: skip
    alone = best["one process"]
    results = [
        {"layout": name, **told, "over_one_process": {key: told[key] / alone[key] - 1 for key in ("processor_s", "iteration_s")}}
        for name, told in best.items()
    ]  # fmt: skip
    for told in results:
        print(
            f"{told['layout']:32} {told['processor_s']:6.2f} processor s, {told['iteration_s']:6.2f} wall s"
        )
    if not args.quick:
        save("ray_overhead", {"ray": version("ray"), "results": results, "rounds": found})


if __name__ == "__main__":
    main()
