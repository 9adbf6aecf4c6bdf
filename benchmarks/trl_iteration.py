"""One training iteration on equal single-turn work: himac against TRL's GRPOTrainer.

    pip install trl datasets -c constraints-cpu.txt
    python benchmarks/trl_iteration.py

The work of an iteration: 4 prompts of 100 to 400 tokens, 8 sampled completions each of exactly 32 tokens (the end
token is never reached by a random model in practice; both sides may stop at it), a reward that prefers
even token ids, group-relative advantages, one clipped policy-gradient step of AdamW, no KL. Both sides use
the same randomly initialised Qwen3-architecture model, float32, one thread, in one process, alternating.
Writes results/trl_iteration.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import save

from himac.algo.advantages import group_relative
from himac.config import AlgoConfig, OptimizerConfig
from himac.engines.transformers import TransformersEngine
from himac.learner.learner import Learner
from himac.learner.policy import Policy
from himac.models.load import load_model
from himac.models.tiny import TinyShape, build_tiny
from himac.seeds import generator
from himac.types import PhaseSpec, Request, Sample, Sampling

NUM_PROMPTS, GROUP, NEW = 4, 8, 32
SIZES = {
    "1m": (TinyShape(hidden=128, layers=4, heads=4, kv_heads=2, head_dim=32), 1024),
    "5m": (TinyShape(hidden=256, layers=6, heads=4, kv_heads=2, head_dim=64), 2048),
}
WORDS = [
    "the",
    "a",
    "box",
    "key",
    "door",
    "red",
    "blue",
    "room",
    "push",
    "take",
    "open",
    "east",
    "west",
    "north",
    "south",
    "wait",
    "target",
    "wall",
    "floor",
    "you",
]


def texts(count: int, rng: np.random.Generator) -> list[str]:
    """Random sentences of 100 to 400 words; a word is about a token."""
    return [" ".join(rng.choice(WORDS, int(rng.integers(90, 380)))) for _ in range(count)]


def reward(ids: list[int]) -> float:
    """Prefer even token ids: something to learn that costs nothing to compute."""
    return float(np.mean([i % 2 == 0 for i in ids])) if ids else 0.0


ONCE = PhaseSpec(name="flat", roles=("executor",), temperature=1.0)


class Ours:
    """himac's engine and learner on the work of one iteration."""

    def __init__(self, folder: str) -> None:
        model, tokenizer = load_model(folder)
        self.policy = Policy(model, tokenizer)
        self.engine = TransformersEngine(model, tokenizer)
        self.learner = Learner(self.policy, OptimizerConfig(lr=1e-5), AlgoConfig(kl_coef=0.0))

    def iteration(self, prompts: list[str], step: int) -> int:
        """Generate, compare, update; return the number of tokens sampled."""
        ids = [self.policy.chat.open(_messages(p)) for p in prompts for _ in range(GROUP)]
        sampling = [Sampling(max_tokens=NEW, temperature=1.0, seed=step * 1000 + i) for i in range(len(ids))]
        done = self.engine.generate([Request(prompt=tuple(p), sampling=s) for p, s in zip(ids, sampling)])
        rewards = np.array([reward(list(c.ids)) for c in done]).reshape(NUM_PROMPTS, GROUP)
        advantages = np.concatenate([group_relative(r) for r in rewards])
        total = sum(len(c.ids) for c in done)
        samples = [_sample(p, c, a, 1 / total) for p, c, a in zip(ids, done, advantages)]
        self.learner.update(samples, ONCE, seed=step)
        self.engine.load_weights(None, step + 1)
        return total


def _messages(text: str) -> Any:
    from himac.types import Message

    return (Message(role="user", content=text),)


def _sample(prompt: list[int], completion: Any, advantage: float, weight: float) -> Sample:
    ids = np.array([*prompt, *completion.ids], np.int32)
    mask = np.arange(len(ids)) >= len(prompt)
    logps = np.zeros(len(ids), np.float32)
    logps[mask] = completion.logps
    ones = mask.astype(np.float32)
    return Sample(
        ids=ids,
        mask=mask,
        logps=logps,
        advantages=ones * np.float32(advantage),
        weights=ones * np.float32(weight),
    )


def theirs(folder: str, prompts: list[list[str]], output: str) -> tuple[list[float], int]:
    """Run TRL's trainer over the same prompts; return seconds of each step and the tokens of the last."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.marks.append(time.perf_counter())

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.marks.append(time.perf_counter())

    sampled: list[int] = []

    def score(completion_ids: list[list[int]], **_: Any) -> list[float]:
        sampled.append(sum(len(c) for c in completion_ids))
        return [reward(c) for c in completion_ids]

    rows = [{"prompt": [{"role": "user", "content": p}]} for group in prompts for p in group]
    settings = GRPOConfig(
        output_dir=output, per_device_train_batch_size=NUM_PROMPTS * GROUP, num_generations=GROUP,
        max_completion_length=NEW, max_steps=len(prompts), learning_rate=1e-5, beta=0.0, temperature=1.0,
        use_cpu=True, bf16=False, report_to="none", save_strategy="no", logging_strategy="no", shuffle_dataset=False,
        gradient_checkpointing=False, disable_tqdm=True, top_k=0, lr_scheduler_type="constant",
    )  # fmt: skip
    clock = Clock()
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder), processing_class=AutoTokenizer.from_pretrained(folder),
        reward_funcs=score, args=settings, train_dataset=Dataset.from_list(rows), callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    return [b - a for a, b in zip(clock.marks, clock.marks[1:])], sampled[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["1m", "5m"], choices=list(SIZES))
    parser.add_argument(
        "--steps", type=int, default=6, help="iterations a side and round; the first is a warm-up"
    )
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            shape, vocab = SIZES[size]
            build_tiny(folder, texts(50, generator("words")), shape, vocab=vocab)
            prompts = [texts(NUM_PROMPTS, generator("prompts", i)) for i in range(args.steps)]
            ours, trl, tokens = [], [], {}
            for _ in range(args.rounds):
                mine = Ours(folder)
                for step, group in enumerate(prompts):
                    began = time.perf_counter()
                    tokens["himac"] = mine.iteration(group, step)
                    ours.append(time.perf_counter() - began) if step else None
                steps, tokens["trl"] = theirs(folder, prompts, str(Path(folder) / "trl"))
                trl += steps[1:]
        found[size] = {
            "himac_s": ours, "trl_s": trl, "sampled_tokens": tokens,
            "ratio_min": min(trl) / min(ours), "ratio_median": statistics.median(trl) / statistics.median(ours),
        }  # fmt: skip
        print(
            f"{size}: himac {min(ours):.2f} s (median {statistics.median(ours):.2f}), TRL {min(trl):.2f} s "
            f"(median {statistics.median(trl):.2f}): {found[size]['ratio_min']:.1f} times (median {found[size]['ratio_median']:.1f})"
        )
    save(
        "trl_iteration", {"work": {"prompts": NUM_PROMPTS, "group": GROUP, "new_tokens": NEW}, "sizes": found}
    )


if __name__ == "__main__":
    main()
