"""How long an iteration of the demo takes, and on how many samples it trains: by default, and without groups that agree.

    python benchmarks/iteration_time.py START [--checkout FOLDER]

START is a model folder, say runs/DEMO/start. `--checkout` measures another checkout of himac too, in turn with this one.
Writes results/iteration_time.json: seconds an iteration, each time it was measured, and samples.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _machine import save

from himac.runs.folder import METRICS, read_rows

HERE = Path(__file__).resolve().parents[1]
ITERATIONS, TIMES = 6, 2


def measured(checkout: Path, start: Path, *words: str) -> tuple[float, float]:
    """Return (seconds, samples) of an iteration, mean of several."""
    with tempfile.TemporaryDirectory() as folder:
        given = [
            f"model.name={start.resolve()}", "sft.demonstrations=0", f"run.iterations={ITERATIONS}", "eval.every=0",
            "eval.final=''", f"run.dir={folder}", "run.name=timed", *words,
        ]  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "himac", "train", "demo", *given],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        rows = [row for row in read_rows(Path(folder) / "timed" / METRICS) if "learn_s" in row]
    seconds = sum(row["collect_s"] + row["learn_s"] for row in rows)
    return round(seconds / ITERATIONS, 2), round(sum(row.get("samples", 0) for row in rows) / ITERATIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("start", type=Path)
    parser.add_argument("--checkout", type=Path)
    args = parser.parse_args()
    kinds = {"default": (HERE, ()), "without groups that agree": (HERE, ("algo.drop_flat_groups=true",))}
    if args.checkout:
        kinds["the other checkout"] = (args.checkout.resolve(), ())
    found: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "samples": []} for name in kinds}
    for _ in range(TIMES):
        for name, (checkout, words) in kinds.items():
            seconds, samples = measured(checkout, args.start, *words)
            found[name]["seconds"].append(seconds)
            found[name]["samples"].append(samples)
            print(name, seconds, samples, flush=True)
    save("iteration_time", {"iterations": ITERATIONS, **found})


if __name__ == "__main__":
    main()
