"""AdamW against Muon on 6x6 Sokoban: a warm start at equal demonstrations, and training at equal iterations.

    python benchmarks/optimizers.py --jobs 2

Warm starts differ in the optimizer of the weight matrices alone, see src/himac/learner/optimizer.py. With `--start MODEL`
training is compared too, both optimizers with the same iterations on the same tasks. Success is greedy, on the first
256 validation levels. Commands and run folders are a user's; what is there already is read. Writes
results/optimizers.json.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _machine import save
from _runs import evaluations, himac

RECIPE = "demo"
SMALL = [  # the demo as it was when this was measured: smaller rooms, the board shown, careful demonstrations alone
    "env.size=[6,6]",
    "env.observation=near",
    "agent.planner_tokens=160",
    "sft.careless=0",
]
ADAMW = ["optimizer.name=adamw"]
RATES = (1.0, 2.5, 5.0, 10.0)


def muon(rate: float) -> list[str]:
    """Return the words that ask for Muon at a rate."""
    return ["optimizer.name=muon", f"optimizer.muon_rate={rate}"]


def warm(root: Path, name: str, words: list[str]) -> dict[str, Any]:
    """Warm-start a model and evaluate it, or read what that gave."""
    folder = root / f"warm-{name}"
    if not (folder / "start").is_dir():
        himac("sft", RECIPE, f"run.dir={root}", f"run.name={folder.name}", *words)
    target = folder / "val.json"
    if not target.is_file():
        himac("eval", str(folder / "start"), "split=val", "eval.tasks=256", "--out", str(target))
    row = json.loads(target.read_text(encoding="utf-8"))
    return {
        "optimizer": name,
        "success": row["success"],
        "low": row["success_low"],
        "high": row["success_high"],
    }


def train(root: Path, name: str, words: list[str], start: Path, iterations: int) -> dict[str, Any]:
    """Train from a start, or read what that gave: success after every so many iterations."""
    folder = root / f"train-{name}"
    if not folder.is_dir():
        given = [f"model.name={start}", "sft.demonstrations=0", f"run.iterations={iterations}"]
        judged = ["eval.final=", "eval.tasks=256", "eval.every=5"]
        himac("train", RECIPE, f"run.dir={root}", f"run.name={folder.name}", *given, *judged, *words)
    rows = evaluations(folder, "val")
    return {
        "optimizer": name,
        "curve": [(row["iteration"], row["total_env_steps"], row["success"]) for row in rows],
        "training_minutes": round(rows[-1]["total_train_s"] / 60, 2),
    }


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demonstrations", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument(
        "--lr", type=float, nargs=2, default=(6e-4, 2e-4), help="of training by AdamW and by Muon"
    )
    parser.add_argument(
        "--start", type=Path, help="model that training starts from; none leaves training out"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--root", type=Path, default=Path("runs") / "optimizers")
    args = parser.parse_args()
    fewer = [*SMALL, f"sft.demonstrations={args.demonstrations}"]
    trainings = {
        "adamw": [*SMALL, *ADAMW, f"optimizer.lr={args.lr[0]}"],
        "muon": [*SMALL, *muon(4.0), f"optimizer.lr={args.lr[1]}"],
    }
    with ThreadPoolExecutor(args.jobs) as pool:
        starts = {"adamw": ADAMW, **{f"muonx{rate:g}": muon(rate) for rate in RATES}}
        warmed = [pool.submit(warm, args.root, name, fewer + words) for name, words in starts.items()]
        trained = [
            pool.submit(train, args.root, name, words, args.start, args.iterations)
            for name, words in (trainings.items() if args.start else ())
        ]
        found = {"warm_starts": [f.result() for f in warmed], "training": [f.result() for f in trained]}
    for row in found["warm_starts"]:
        print(f"{row['optimizer']:<10} {row['success']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    for row in found["training"]:
        print(
            f"{row['optimizer']:<10} "
            + "  ".join(f"{iteration}: {success:.3f}" for iteration, _, success in row["curve"])
        )
    settings = {
        "recipe": RECIPE,
        "settings": SMALL,
        "demonstrations": args.demonstrations,
        "start": str(args.start),
        "lr": list(args.lr),
    }
    save("optimizers", settings | found)


if __name__ == "__main__":
    main()
