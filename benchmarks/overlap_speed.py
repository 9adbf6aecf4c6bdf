"""What collecting beside updates saves: iterations without it, with `parallel.overlap`, and `parallel.behind`, taking turns.

    OMP_NUM_THREADS=1 python benchmarks/overlap_speed.py [--iterations 3]

recipes/demo.toml with an adapter for each role, from a short warm start, with a model of 0.2 and one of 3 million weights. One
process, one thread of PyTorch on either side, so two cores at most. The runs begin alike, and the first two must end with the same
weights, bit for bit. Wall seconds are only worth something on a machine with a free second core; so before and after each iteration two threads multiply
matrices, and how much faster they are than one after the other, at least in a turn, is saved: 2 where both cores are free, 1 where one is.
Beside them what could be hidden at best: the shorter of phase A's update and phase B's collection, and with `behind` also that of
phase B's update and phase A's collection. Writes results/overlap_speed.json.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import save

from himac.config import Config, load_config, override
from himac.learner.checkpoint import TrainState
from himac.train.components import Components
from himac.train.rehearse import Noted
from himac.train.start import build_start

SIZES = {"0.2M": ((64, 3, 512), 8), "3M": ((192, 6, 512), 2)}  # (hidden size, layers, vocabulary), tasks
WAYS = {"without": {}, "overlap": {"overlap": True}, "behind": {"overlap": True, "behind": True}}
FREE = 1.5  # how much faster two threads must be for a turn to count as one with a free core


def recipe(size: tuple[int, int, int], tasks: int) -> Config:
    """Return the demo, with an adapter for each role and a signal in every group."""
    return override(
        load_config("demo"),
        model={"tiny": size, "lora_rank": 16, "lora_per_role": True},
        sft={"demonstrations": 400},
        algo={"estimator": "gigpo_mean"},
        rollout={"tasks": tasks},
        eval={"every": 0},
        run={"device": "cpu", "iterations": 1000, "save_every": 1000},
        budget={"env_steps": 0},
    )


class Played:
    """A run that is iterated now and then.

    Args:
        config: its settings.
        start: where it begins.
    """

    def __init__(self, config: Config, start: Path) -> None:
        self.parts, self.log, self.state = Components(config, start), Noted(), TrainState()
        self.loop = self.parts.loop(self.parts.learner(), log=self.log, outside=self.log)

    def iterate(self) -> dict[str, float]:
        """Run one iteration; return seconds by what they went to."""
        began, processor, tokens = time.perf_counter(), time.process_time(), self.state.processed_tokens
        self.state = self.loop.iterate(self.state)
        found = {
            "iteration_s": time.perf_counter() - began,
            "processor_s": time.process_time() - processor,
        }
        found["tokens"] = float(self.state.processed_tokens - tokens)
        a, b = self.log.rows[-2:]
        for row in (a, b):
            found |= {f"{row['phase']} {key}": row[key] for key in ("collect_s", "learn_s")}
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the adapters."""
        return {name: p.detach() for name, p in self.parts.policy.model.named_parameters() if "lora" in name}


def two_threads() -> float:
    """Return how much faster two threads multiply matrices together than one after the other."""

    def work() -> None:
        x = torch.ones(512, 512)
        for _ in range(60):
            x @ x

    began = time.perf_counter()
    work()
    work()
    apart = time.perf_counter() - began
    threads = [threading.Thread(target=work) for _ in range(2)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return apart / (time.perf_counter() - began)


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each number."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def faster(turns: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return how many times as many tokens a second as without each way reads and writes, over the turns with a free second core and over those without."""

    def rate(told: dict[str, float]) -> float:
        return told["tokens"] / told["iteration_s"]  # `behind` plays other episodes

    found = {}
    for what, is_free in (("free core", True), ("no free core", False)):
        chosen = [turn for turn in turns if (turn["two_threads"] >= FREE) == is_free]
        if chosen:
            found[what] = {"turns": len(chosen)} | {
                way: float(np.median([rate(t[way]) / rate(t["without"]) for t in chosen]))
                for way in ("overlap", "behind")
            }
    return found


def at_best(alone: dict[str, float]) -> dict[str, float]:
    """Return the same if both sides ran as fast together as apart."""
    whole = alone["iteration_s"]
    exact = min(alone["planner learn_s"], alone["executor collect_s"])
    more = min(alone["executor learn_s"], alone["planner collect_s"])
    return {"overlap": whole / (whole - exact), "behind": whole / (whole - exact - more)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="do not save")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name, (size, tasks) in SIZES.items():
        config = recipe(size, tasks)
        with tempfile.TemporaryDirectory() as folder:
            start = Path(folder) / "start"
            build_start(override(config, model={"lora_rank": 0, "lora_per_role": False}), start)
            runs = {way: Played(override(config, parallel=words), start) for way, words in WAYS.items()}
            for run in runs.values():  # to warm up
                run.iterate()
            turns = []
            for turn in range(args.iterations):
                order = list(runs) if turn % 2 == 0 else list(runs)[::-1]
                told: dict[str, Any] = {"two_threads": two_threads()}
                for way in order:
                    told[way] = runs[way].iterate()
                    told["two_threads"] = min(told["two_threads"], two_threads())
                turns.append(told)
                seconds = {way: round(told[way]["iteration_s"], 2) for way in runs}
                print(name, round(told["two_threads"], 2), seconds, flush=True)
            one, other = runs["without"].weights(), runs["overlap"].weights()
            assert all(torch.equal(one[key], other[key]) for key in one), "other weights with overlap"
            for run in runs.values():
                run.parts.close()
        means = {way: mean([turn[way] for turn in turns]) for way in WAYS}
        results.append({"model": name, "tasks": tasks, **means, "turns": turns, "faster": faster(turns), "at_best": at_best(means["without"])})  # fmt: skip
        print({key: results[-1][key] for key in ("model", "faster", "at_best")}, flush=True)
    if not args.quick:
        save("overlap_speed", {"iterations": args.iterations, "free_from": FREE, "results": results})


if __name__ == "__main__":
    main()
