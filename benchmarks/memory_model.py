"""The memory that `himac train --check` calculates, against what a rollout and a learner step really take.

    python benchmarks/memory_model.py [--pack 1024] [--rank 16]

Qwen2.5-1.5B's architecture with random weights in bfloat16, on the processor: four episodes of 512 tokens are generated, and
one update is made of eight samples that share a prefix and fill a pack. Measured is the largest resident memory above that of
the process before the model was built.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time

import numpy as np
import torch
from _machine import save
from gpu_fit import policy_of

from himac.config import AlgoConfig, OptimizerConfig, load_config, override
from himac.engines.transformers import TransformersEngine
from himac.learner.learner import Learner
from himac.train.memory import memory_of
from himac.train.rehearse import Peak, resident
from himac.types import PhaseSpec, Request, Sample, Sampling


def samples(pack: int, rng: np.random.Generator) -> list[Sample]:
    """Return eight samples of a common prefix that lie in one pack of so many tokens."""
    prefix, own = rng.integers(3, 150_000, pack // 2), pack // 16
    found = []
    for _ in range(8):
        ids = np.concatenate([prefix, rng.integers(3, 150_000, own)]).astype(np.int32)
        mask = np.arange(len(ids)) >= len(prefix)
        zeros = np.zeros(len(ids), np.float32)
        found.append(
            Sample(
                ids=ids, mask=mask, logps=np.where(mask, -11.9, 0).astype(np.float32),
                advantages=np.where(mask, rng.normal(), 0).astype(np.float32),
                weights=np.where(mask, 1 / (8 * own), zeros).astype(np.float32), role="executor",
            )
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pack", type=int, default=1_024)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--model", default="Qwen2.5-1.5B")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = override(
        load_config(None, ["algo.method=flat", "algo.kl_coef=0.0", "agent.executor_tokens=16"]),
        model={"lora_rank": args.rank, "dtype": "bfloat16", "max_prompt": 512},
        optimizer={"max_tokens": args.pack}, rollout={"max_live": 4},
    )  # fmt: skip
    before, rng = resident(), np.random.default_rng(0)
    policy = policy_of(args.model, config, layers=None, device="cpu")
    expected = memory_of(policy, config)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what building and measuring left behind is not an iteration's
    rows, device = [], torch.device("cpu")
    engine = TransformersEngine(policy.model, policy.tokenizer)
    prompts = [tuple(int(x) for x in rng.integers(3, 300, 512)) for _ in range(4)]
    with Peak(device) as collecting:
        engine.generate(
            [Request(prompt=p, sampling=Sampling(max_tokens=16, seed=i)) for i, p in enumerate(prompts)]
        )
    engine.release()
    learner = Learner(policy, OptimizerConfig(max_tokens=args.pack), AlgoConfig(kl_coef=0.0))
    began = time.process_time()
    with Peak(device) as learning:
        learner.update(
            samples(args.pack, rng), PhaseSpec(name="flat", roles=("executor",), temperature=1.0), seed=0
        )
    for what, peak, counted in (
        ("a rollout", collecting.bytes, expected.collecting),
        ("a learner step", learning.bytes, expected.learning),
    ):
        rows.append({"what": what, "measured_gb": (peak - before) / 1e9, "calculated_gb": counted / 1e9})
        rows[-1]["calculated_over_measured"] = counted / (peak - before)
        print(rows[-1], flush=True)
    save(
        "memory_model",
        {"model": args.model, "lora_rank": args.rank, "pack_tokens": args.pack, "results": rows,
         "step_cpu_s": time.process_time() - began},
    )  # fmt: skip


if __name__ == "__main__":
    main()
