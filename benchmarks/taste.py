"""What `himac train taste` comes to, and what it takes: three seeds, one thread each.

    python benchmarks/taste.py [--seeds 0 1 2]

Writes results/taste.json: success on the 512 test levels before and after training with its 95 % interval, and the processor
seconds of the whole command, from its first import to its last picture. Wall seconds depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _machine import save

from himac.runs.folder import METRICS, read_rows


def trained(seed: int) -> dict[str, Any]:
    """Return what one seed's run came to."""
    with tempfile.TemporaryDirectory() as folder:
        began_s, before_s = time.perf_counter(), _children_s()
        subprocess.run(
            [sys.executable, "-m", "himac", "train", "taste", f"seed={seed}", f"run.dir={folder}", "run.name=a"],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        rows = [row for row in read_rows(Path(folder) / "a" / METRICS) if row["phase"] == "eval"]
        keys = ("iteration", "split", "episodes", "success", "success_low", "success_high")
        return {
            "seed": seed,
            "evaluations": [{key: row[key] for key in keys} for row in rows],
            "processor_s": round(_children_s() - before_s, 1),
            "wall_s": round(time.perf_counter() - began_s, 1),
        }


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    runs = []
    for seed in parser.parse_args().seeds:
        runs.append(trained(seed))
        print(runs[-1], flush=True)
    save("taste", {"runs": runs})


if __name__ == "__main__":
    main()
