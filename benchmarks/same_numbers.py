"""Do small runs of every method still give the numbers they gave? For changes that must not change behaviour.

    python benchmarks/same_numbers.py --save    # before
    python benchmarks/same_numbers.py           # after: compares, exit status 1 on a difference

Each case is a user's `himac train` at a fixed seed: two iterations from a tiny
warm-started model, evaluations. What is compared
is every metric (times left out, keys renamed by a table) and a digest of the final weights. Numbers are compared to
the last digit, so the file holds for one machine and one version of PyTorch. It names the commit that it was written at;
after a change that is meant to change numbers it has to be written again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _machine import save
from _runs import himac
from safetensors.numpy import load_file

HERE = Path(__file__).parent
SMALL = [
    "agent.think=false", "model.max_prompt=1024", "sft.demonstrations=0", "optimizer.lr=1e-3", "run.iterations=2", "run.save_every=1", "eval.every=1", "eval.tasks=12",
    "rollout.tasks=4", "rollout.group_size=4", "rollout.executor_group_size=4", "agent.planner_tokens=64",
    "agent.executor_tokens=12", "optimizer.max_tokens=4096", "algo.kl_coef=0.05", "optimizer.weight_decay=0.01",
]  # fmt: skip
START = [
    "agent.think=false", "model.name=tiny", "model.tiny=[64,2,512]", "model.max_prompt=1024", "sft.demonstrations=800", "sft.epochs=2",
    "sft.batch=16", "sft.lr=3e-3", "optimizer.max_tokens=4096", "optimizer.name=muon", "optimizer.muon_rate=2.5",
]  # fmt: skip
WORLDS = {
    "toy": ["env=toy"],
    "sokoban": ["env=sokoban", "env.size=[6,6]", "env.boxes=1", "env.observation=words", "env.max_steps=15"],
}
METHODS = {
    "himac": ["method=himac"],
    "himac-subgoal": ["method=himac", "algo.estimator=subgoal"],
    "himac-bold-planner": [
        "method=himac", "rollout.planner_temperature=1.4", "algo.minibatches=[2,2]", "algo.epochs=[2,1]",
        "rollout.dynamic_sampling=1", "optimizer.schedule=linear", "optimizer.warmup=3",
        "optimizer.name=muon", "algo.entropy_coef=0.01", "algo.aggregation=token",
    ],
    "himac-ppo": ["method=himac", "algo.estimator=ppo"],
    "himac-lora": ["method=himac", "model.lora_rank=4", "model.lora_per_role=true"],
    "joint": ["method=himac", "algo.coevolution=false"],
    "flat-group_relative": ["method=flat", "algo.estimator=group_relative"],
    "flat-group_mean": ["method=flat", "algo.estimator=group_mean"],
    "flat-rloo": ["method=flat", "algo.estimator=rloo"],
    "flat-gigpo": ["method=flat", "algo.estimator=gigpo", "agent.context=step"],
    "flat-gigpo_mean": ["method=flat", "algo.estimator=gigpo_mean"],
    "flat-ppo": ["method=flat", "algo.estimator=ppo"],
}  # fmt: skip
RENAMED = {"macro": "planner", "micro": "executor"}
"""Keys and phase names of a saved file, where they are called something else today."""
TIMES = ("seconds", "total_train_s", "collect_s", "generate_s", "env_s", "learn_s", "train_s")


def run(root: Path, world: str, method: str) -> dict[str, Any]:
    """Train one case; return its metrics and a digest of its weights."""
    folder = root / f"{world}-{method}"
    words = [*WORLDS[world], *SMALL, *METHODS[method], f"model.name={root / world / 'start'}"]
    himac("train", *words, f"run.dir={root}", f"run.name={folder.name}")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    newest = sorted((folder / "checkpoints").glob("iteration-*"))[-1]
    return {"rows": rows, "weights": digest(newest / "model")}


def start(root: Path, world: str) -> str:
    """Warm-start the model that every case of a world begins with; return a digest of its weights."""
    himac("sft", *WORLDS[world], *START, f"run.dir={root}", f"run.name={world}")
    return digest(root / world / "start")


def digest(folder: Path) -> str:
    """Return a hash of every tensor of a model folder, by name."""
    found = hashlib.blake2b(digest_size=8)
    old = {
        "planner": "macro",
        "executor": "micro",
    }  # adapters' folders, whose order is part of the saved digests
    paths = {
        tuple(old.get(part, part) for part in path.parts): path for path in folder.rglob("*.safetensors")
    }
    for _, path in sorted(paths.items()):
        for name, tensor in sorted(load_file(path).items()):
            found.update(name.encode() + tensor.tobytes())
    return found.hexdigest()


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a saved row in today's words."""
    names = {RENAMED.get(key, key): value for key, value in row.items()}
    return {key: RENAMED.get(value, value) if key == "phase" else value for key, value in names.items()}


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what differs, a line each."""
    wrong = []
    for name, now in after.items():
        then = before.get(name)
        if then is None:
            wrong.append(f"{name}: not in the saved file")
            continue
        if then["weights"] != now["weights"]:
            wrong.append(f"{name}: weights {now['weights']}, were {then['weights']}")
        for number, (old, new) in enumerate(zip(map(renamed, then["rows"]), now["rows"], strict=True)):
            keys = [k for k in old if old[k] != new.get(k)]
            wrong += [f"{name}: row {number}: {k} is {new.get(k)!r}, was {old[k]!r}" for k in keys]
    return wrong


def main() -> None:
    """Run the cases; save or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--save", action="store_true", help="keep the numbers; left out: compare with the kept ones"
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    cases = [(w, m) for w in WORLDS for m in METHODS if args.only in f"{w}-{m}"]
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(args.jobs) as pool:
        starts = list(pool.map(lambda world: start(Path(root), world), WORLDS))
        found = list(pool.map(lambda case: run(Path(root), *case), cases))
    now = {f"{w}-{m}": result for (w, m), result in zip(cases, found, strict=True)}
    now |= {world: {"rows": [], "weights": weights} for world, weights in zip(WORLDS, starts, strict=True)}
    if args.save:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        )
        save("same_numbers", {"runs": len(cases), "commit": commit.stdout.strip(), "cases": now})
        return
    kept = json.loads((HERE / "results" / "same_numbers.json").read_text())
    wrong = compare(kept["cases"], now)
    print("\n".join(wrong) or f"{len(now)} runs: every metric and every weight as at {kept['commit']}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
