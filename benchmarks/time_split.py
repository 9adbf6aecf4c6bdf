"""Where an iteration's time goes: generate, environments, train, other; and what share of the machine it is.

    python benchmarks/time_split.py runs/NAME/start --iterations 3

Runs iterations of recipes/demo.toml from a given model and reads the loop's own clock. Rates are tokens that
passed through the model a second, and the floating-point operations those need (2 a parameter and token
forward, 6 forward and backward, attention left out) over the rate of a large matrix product measured in
the same process just before. Writes results/time_split.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _machine import save

from himac.config import load_config
from himac.learner.checkpoint import TrainState
from himac.runs.console import Silent
from himac.runs.folder import RunWriter
from himac.runs.log import RunLog
from himac.train.components import Components


def gemm_flops(seconds: float = 1.0) -> float:
    """Return the rate of a float32 matrix product in this process, in operations a second."""
    a, b = torch.randn(2048, 1024), torch.randn(1024, 1024)
    for _ in range(3):
        a @ b
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        a @ b
        count += 1
    return count * 2 * 2048 * 1024 * 1024 / (time.perf_counter() - began)


class _Rows(RunLog):
    """A run's log that also keeps its rows, and an outside that stops at nothing."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.rows: list[dict[str, Any]] = []
        self._lap = time.perf_counter()

    def phase(self, row: dict[str, Any], *args: Any) -> None:
        """Keep the row."""
        self.rows.append(row)
        super().phase(row, *args)

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        began, self._lap = self._lap, time.perf_counter()
        return self._lap - began

    def out_of_time(self, state: TrainState) -> bool:
        """Never."""
        return False

    def save(self, state: TrainState, *, is_best: bool) -> TrainState:
        """Save nothing."""
        return state

    def evaluate(self, state: TrainState) -> TrainState:
        """Evaluate nothing."""
        return state


def measure(model: str, iterations: int, overrides: list[str]) -> dict[str, Any]:
    """Run iterations and return sums of seconds and tokens, and the rates they make."""
    config = load_config("demo", [f"model.name={model}", "sft.demonstrations=0", *overrides])
    parts = Components(config, model)
    learner = parts.learner()
    if config.algo.has_kl:
        parts.policy.freeze_reference()
    with tempfile.TemporaryDirectory() as folder:
        log = _Rows(RunWriter(Path(folder)), Silent(), iterations=iterations)
        loop = parts.loop(learner, log=log, outside=log)
        state = loop.iterate(TrainState())  # warm up
        rows = log.rows
        rows.clear()
        parts.engine.reset_stats()
        rate = gemm_flops()
        began = time.perf_counter()
        for _ in range(iterations):
            state = loop.iterate(state)
        total = time.perf_counter() - began
        log.close()
    stats, params = parts.engine.stats, parts.policy.num_parameters
    spent = {k: sum(r.get(k, 0.0) for r in rows) for k in ("generate_s", "env_s", "train_s")}
    through = stats.computed_prompt_tokens + stats.sampled_tokens
    packed, ref = sum(r.get("packed_tokens", 0.0) for r in rows), 1 if config.algo.has_kl else 0
    return {
        "parameters": params,
        "iterations": iterations,
        "episodes": sum(r["episodes"] for r in rows),
        "seconds": {**spent, "other_s": total - sum(spent.values()), "total_s": total},
        "share": {k: v / total for k, v in {**spent, "other_s": total - sum(spent.values())}.items()},
        "generate": {
            "sampled_tokens_per_s": stats.sampled_tokens / spent["generate_s"],
            "prompt_tokens_asked": stats.prompt_tokens,
            "prompt_tokens_computed": stats.computed_prompt_tokens,
            "tokens_through_model_per_s": through / spent["generate_s"],
            "share_of_gemm": 2 * params * through / spent["generate_s"] / rate,
        },
        "train": {
            "row_tokens": sum(r.get("row_tokens", 0.0) for r in rows),
            "packed_tokens": packed,
            "packed_tokens_per_s": packed / spent["train_s"],
            "share_of_gemm": (6 + 2 * ref) * params * packed / spent["train_s"] / rate,
        },
        "gemm_gflops": rate / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a warm-started model, such as runs/NAME/start")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args()
    found = measure(args.model, args.iterations, args.overrides)
    for key, share in found["share"].items():
        print(f"{key:<12} {found['seconds'][key]:7.2f} s  {share:6.1%}")
    print(
        f"generate: {found['generate']['tokens_through_model_per_s']:,.0f} tokens/s through the model, "
        f"{found['generate']['share_of_gemm']:.1%} of {found['gemm_gflops']:.0f} GFLOP/s; "
        f"prompts asked {found['generate']['prompt_tokens_asked']:,}, computed {found['generate']['prompt_tokens_computed']:,}"
    )
    print(
        f"train: {found['train']['packed_tokens_per_s']:,.0f} packed tokens/s, "
        f"{found['train']['share_of_gemm']:.1%}; rows {found['train']['row_tokens']:,.0f}, packed {found['train']['packed_tokens']:,.0f}"
    )
    save("time_split", found)


if __name__ == "__main__":
    main()
