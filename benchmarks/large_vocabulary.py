"""The output head at a large vocabulary: memory and time in chunks, against whole logits through autograd.

    python benchmarks/large_vocabulary.py [--tokens 16384] [--step-tokens 1024]

Memory: a head of Qwen2.5-1.5B's size (1,536 x 151,936) turns states into log-probabilities and back into gradients
of states and weights, each case in a process of its own; the peak of resident memory above what was there before
(weights, states, and the two gradients' buffers, which whoever trains has anyway, are made before).
Whole logits at that many tokens do not fit this machine: they are measured at an eighth of the tokens.
Time: one learner step (forward and backward of packed rows) of that architecture, random weights, every token asked for.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from _machine import save
from transformers import AutoModelForCausalLM, Qwen2Config

from himac.models import head, logps
from himac.models.head import Head
from himac.models.logps import token_logps
from himac.models.packing import pack

VOCABULARY, HIDDEN = 151_936, 1_536


def peak_gb() -> float:
    """Return the process's largest resident memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def memory(tokens: int, dtype: torch.dtype, chunked: bool) -> dict[str, float]:
    """Measure one forward and backward of the head alone."""
    torch.manual_seed(0)
    module = torch.nn.Linear(HIDDEN, VOCABULARY, bias=False, dtype=dtype)
    module.weight.grad = torch.zeros_like(module.weight)
    states = torch.randn(tokens, HIDDEN).to(dtype).requires_grad_()
    states.grad = torch.zeros_like(states)
    rows, targets = np.arange(tokens), np.random.default_rng(0).integers(0, VOCABULARY, tokens)
    before, began = peak_gb(), time.process_time()
    if chunked:
        found = Head(module=module).logps(states, rows, targets, temperature=1.0, entropy_grad=False)
    else:
        found = logps._read(module(states), rows, targets, temperature=1.0, entropy_grad=False)
    (-found[0].mean()).backward()
    return {"gb_above": peak_gb() - before, "cpu_s": time.process_time() - began}


def alone(*words: object) -> dict[str, float]:
    """Run one case in a process of its own, whose peak is then its own."""
    said = subprocess.run([sys.executable, __file__, "--case", *map(str, words)],
                          check=True, capture_output=True, text=True).stdout  # fmt: skip
    return dict(json.loads(said.splitlines()[-1]))


def step(tokens: int, repetitions: int) -> dict[str, float]:
    """Time a learner step of the whole architecture, both ways in turn."""
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=8960, num_hidden_layers=28,
        num_attention_heads=12, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, VOCABULARY, tokens // 4) for _ in range(4)]
    masks = [np.arange(len(ids)) > 0 for ids in sequences]
    (batch,) = pack(sequences, max_tokens=tokens)
    seconds: dict[str, list[float]] = {"whole": [], "chunked": []}
    for _ in range(repetitions):
        for way, elements in (("whole", 2**40), ("chunked", head.CHUNK_ELEMENTS)):
            logps.CHUNK_ELEMENTS = elements
            model.zero_grad()
            gc.collect()
            began = time.process_time()
            token_logps(model, batch, masks).logps.sum().backward()
            seconds[way].append(time.process_time() - began)
            print(f"{way}: {seconds[way][-1]:.1f} s", flush=True)
    best = {way: min(times) for way, times in seconds.items()}
    return best | {"chunked_over_whole": best["chunked"] / best["whole"], "tokens": tokens}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--step-tokens", type=int, default=1_024)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--case", nargs=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.case:
        tokens, dtype, way = args.case
        print(json.dumps(memory(int(tokens), getattr(torch, dtype), way == "chunked")))
        return
    rows = []
    for dtype in ("bfloat16", "float32"):
        for tokens, way in (
            (args.tokens, "chunked"),
            (args.tokens // 8, "chunked"),
            (args.tokens // 8, "whole"),
        ):
            rows.append({"dtype": dtype, "tokens": tokens, "way": way, **alone(tokens, dtype, way)})
            print(rows[-1], flush=True)
    save(
        "large_vocabulary",
        {"vocabulary": VOCABULARY, "head": rows, "step": step(args.step_tokens, args.repetitions)},
    )


if __name__ == "__main__":
    main()
