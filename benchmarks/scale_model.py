"""Calculated, not run: time and memory of an iteration on 1 to 64 GPUs, for models of 1.5B to 72B and each way to lay them out.

    python benchmarks/scale_model.py            calculate
    python benchmarks/scale_model.py --table    the tables of docs/scale.md, from what was calculated

What an iteration of recipes/alfworld.toml takes: 16 tasks x 8 episodes a phase, every episode of 50 turns of 100 tokens, 60 tokens
observed a turn, so a long one. Rates are those that results/gpu.json measured on one H100 with Qwen2.5-1.5B's architecture;
memory is what `himac train --check` counts. All else is an assumption and stands in `ASSUMED` by name. Left out: environments, drawing up
batches, answers of unequal length, evaluations.

What of it can be checked is: the decode step at another batch, the peak of a learner's pass on that H100, bytes a token against
results/gpu_fit.json, memory against results/memory_model.json, and two gloo ranks on this machine against
results/ranks_speed.json. Writes results/scale_model.json.
"""

from __future__ import annotations

import functools
import gc
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import gpu_fit
import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from _machine import RESULTS, save

from himac.config import Config, load_config, override
from himac.learner.policy import ROLES, Policy
from himac.models.load import _add_adapters
from himac.train.memory import Memory, in_parts, kept_and_whole, memory_of

ASSUMED: dict[str, float] = {
    "gb_per_s within a machine": 300.0,  # of one GPU's link in a collective: NVLink, eight GPUs
    "gb_per_s between machines": 40.0,  # a GPU: eight links of 400 Gbit/s a machine
    "gpus a machine": 8,
    "gb_per_s to the processor": 25.0,  # and back: the reference of full weights waits there
    "gb_per_s of the disk that both see": 1.0,  # over which a server is handed weights
    "us a collective": 20.0,  # of one token's row, where a server splits a model over GPUs
    "share of the backward pass with LoRA": 0.75,  # frozen weights have no gradient of their own: 6 of 8 products
    "bytes a trained weight that an optimizer moves": 34.0,  # masters, gradients and two moments, read or written
    "GiB of a GPU": 80.0,
    "share of it that may be used": 0.9,
}
TURNS, ANSWER, OBSERVED, PROMPT, SEGMENT = 50, 100, 60, 500, 15
CONTEXT = PROMPT + SEGMENT * (ANSWER + OBSERVED) // 2  # tokens seen by a sampled one, on average
GPUS = (1, 2, 4, 8, 16, 32, 64)
gpu_fit.SHAPES |= {
    "Qwen2.5-14B": (5120, 13824, 48, 40, 8, False),
    "Qwen2.5-32B": (5120, 27648, 64, 40, 8, False),
    "Qwen2.5-72B": (8192, 29568, 80, 64, 8, False),
}
SIZES = tuple(gpu_fit.SHAPES)[1:]
Seconds = dict[str, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """How GPUs share a run."""

    name: str
    lora: bool  # an adapter for each role, of rank 32; else all weights learn
    shard: bool  # parallel.shard
    apart: bool = False  # half of the GPUs hold a vLLM server, the others learn; else each does both
    inside: bool = False  # vLLM in each process, with weights of its own


LAYOUTS = (
    Layout("replicated", False, False),
    Layout("sharded", False, True),
    Layout("sharded, server apart", False, True, apart=True),
    Layout("LoRA per role", True, False),
    Layout("LoRA per role, vLLM inside", True, False, inside=True),
    Layout("LoRA per role, server apart", True, False, apart=True),
    Layout("LoRA per role, sharded", True, True),
    Layout("LoRA per role, sharded, server apart", True, True, apart=True),
)


@dataclass(frozen=True, slots=True)
class Rates:
    """What one H100 was measured to do."""

    copy: float  # bytes/s
    learn: float  # operations/s of a forward and backward pass with layers computed twice
    prompt: float  # operations/s of reading prompts
    layer_s: float  # of a decode step, whatever it computes: a layer's launches and waits

    @classmethod
    def measured(cls, told: dict[str, Any]) -> Rates:
        """Read them; a layer's share of a step is what is left of 256 rows' when weights, keys and products are counted."""
        copy, weights = told["ceilings"]["gb_per_s"] * 1e9, told["decode"]["weights"]
        again = told["decode"]["256 rows, fixed shapes"]["again"]
        learn = told["learn"]["pieces in one call"]["tflops"] * 1e12
        rates = cls(copy, learn, again["prompt_tokens_per_s"] * 2 * weights, 0.0)
        shape = Shape.of("Qwen2.5-1.5B")
        left = again["ms_a_step"] / 1000 - sum(rates.step(shape, 256, context=512 + 64).values())
        return cls(copy, learn, rates.prompt, left / shape.layers)

    def step(self, shape: Shape, rows: int, *, context: int = CONTEXT, split: int = 1) -> Seconds:
        """Return the seconds of one decode step over some rows, by what takes them.

        Args:
            shape: the model.
            rows: sampled at a time.
            context: tokens that each sees.
            split: GPUs that the model is split over.
        """
        wait = ASSUMED["us a collective"] / 1e6 if split > 1 else 0.0
        return {
            "launches": shape.layers * (self.layer_s + 2 * wait),
            "weights read": 2 * shape.weights / self.copy / split,
            "rows": rows * (2 * shape.weights / self.learn + context * shape.kv_bytes / self.copy) / split,
        }


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's numbers."""

    weights: int
    adapter: int  # trained weights of one role's adapter
    layers: int
    kv_bytes: int  # a token

    @classmethod
    def of(cls, name: str) -> Shape:
        """Count them on a model without storage."""
        hidden, _, depth, heads, kv_heads, _ = gpu_fit.SHAPES[name]
        policy = counted(name, True)
        adapter = sum(p.numel() for p in policy.trainable) // 2
        weights = policy.num_parameters - 2 * adapter
        return cls(weights, adapter, depth, 2 * 2 * depth * kv_heads * hidden // heads)


def recipe(lora: bool) -> Config:
    """Return the recipe that is counted for."""
    model = {"gradient_checkpointing": True, "dtype": "bfloat16"}
    return override(load_config("alfworld-lora" if lora else "alfworld"), model=model)


@functools.lru_cache(maxsize=2)
def counted(name: str, lora: bool) -> Policy:
    """Build an architecture without storage, once."""
    return policy_of(name, lora=lora)


def policy_of(name: str, *, lora: bool, layers: int | None = None, device: str = "meta") -> Policy:
    """Build an architecture, with an adapter for each role or none."""
    plain = gpu_fit.policy_of(name, recipe(False), layers=layers, device=device)
    if not lora:
        return plain
    with torch.device(device):
        model = _add_adapters(plain.model, recipe(True).model, ROLES)
    return Policy(model, plain.tokenizer, per_role=True)


# memory


def kept_by_width(*, lora: bool) -> np.ndarray:
    """Return how the bytes that a pass keeps of a token grow with a layer's widths, from small models: (3, 4).

    Rows: what lies in no layer, what a layer keeps, what it computes with; columns: a unit of hidden width, of the MLP's, of
    keys, and nothing. All of these are linear in the widths, whatever their size.
    """
    found, widths = [], []
    for hidden, inner, heads, kv_heads in ((256, 512, 2, 1), (256, 1024, 2, 2), (512, 1024, 4, 2), (512, 640, 4, 1), (768, 896, 6, 3)):  # fmt: skip
        gpu_fit.SHAPES["small"] = (hidden, inner, 2, heads, kv_heads, False)
        (kept_1, whole_1), (kept_2, whole_2) = (
            kept_and_whole(policy_of("small", lora=lora, layers=layers, device="cpu")) for layers in (1, 2)
        )
        gc.collect()
        layer = kept_2 - kept_1
        found.append([kept_1 - layer, layer, whole_2 - whole_1])
        widths.append([hidden, inner, hidden * kv_heads // heads, 1])
    del gpu_fit.SHAPES["small"]
    return np.linalg.lstsq(np.array(widths, float), np.array(found), rcond=None)[0].T


def kept_of(name: str, by_width: np.ndarray) -> tuple[float, float]:
    """Return (bytes a token that a pass keeps, those of one layer), as `himac.train.memory.kept_per_token`."""
    hidden, inner, depth, heads, kv_heads, _ = gpu_fit.SHAPES[name]
    outside, layer, once = by_width @ np.array([hidden, inner, hidden * kv_heads // heads, 1])
    return float(outside + depth * layer + once), float(once)


def memory(name: str, layout: Layout, gpus: int, kept: tuple[float, float]) -> tuple[float, float]:
    """Return the bytes of the fullest learning GPU and of the fullest generating one; the same where each does both."""
    policy, config = counted(name, layout.lora), recipe(layout.lora)
    learners, generators, split = shares(name, layout, gpus)
    few = override(config, rollout={"max_live": episodes_of(generators)})
    told: Memory = memory_of(policy, few, kept=kept)
    whole = in_parts(told, policy, learners) if layout.shard and learners > 1 else told
    if layout.apart:
        return float(whole.learning), (told.weights + told.cache) / split + told.prefill
    return (float(whole.most + (told.weights if layout.inside else 0)),) * 2


def shares(name: str, layout: Layout, gpus: int) -> tuple[int, int, int]:
    """Return (GPUs that learn, engines that generate, GPUs an engine)."""
    if not layout.apart:
        return gpus, gpus, 1
    room = ASSUMED["GiB of a GPU"] * 2**30 * ASSUMED["share of it that may be used"]
    hidden_bytes = 2 * COUNTED[name].weights
    split = 1
    while split < gpus // 2 and hidden_bytes / split > 0.75 * room:
        split *= 2
    return gpus - gpus // 2, max(1, gpus // 2 // split), split


def episodes_of(engines: int) -> int:
    """Return the episodes of a phase that the busiest engine runs: tasks are dealt out, not episodes."""
    rollout = recipe(False).rollout
    return -(-rollout.tasks // engines) * rollout.group_size


# time


def iteration(name: str, layout: Layout, gpus: int, rates: Rates) -> Seconds:
    """Return the seconds of an iteration, by what takes them."""
    shape, config = COUNTED[name], recipe(layout.lora)
    learners, engines, split = shares(name, layout, gpus)
    rows = episodes_of(engines)
    steps = 2 * TURNS * ANSWER + ANSWER  # both phases, and a blueprint
    read = 2 * rows * (TURNS * OBSERVED + math.ceil(TURNS / SEGMENT) * PROMPT)
    found = {f"decode: {k}": steps * v for k, v in rates.step(shape, rows, split=split).items()}
    found["prompts"] = read * 2 * shape.weights / rates.prompt / split

    turns = config.rollout.tasks * config.rollout.group_size * TURNS
    updates = 1 + round(turns / config.algo.minibatch_turns)  # one of the planner's
    packed = turns * (ANSWER + OBSERVED) + config.rollout.tasks * (
        PROMPT + config.rollout.group_size * ANSWER
    )
    cost = ASSUMED["share of the backward pass with LoRA"] if layout.lora else 1.0
    operations = 8 * shape.weights * packed * (cost + 1 / 4)  # and the reference, forward once
    found["learning"] = operations / rates.learn / learners

    trained, sent = (shape.adapter if layout.lora else shape.weights), 2 * shape.weights
    moved = (
        trained
        * ASSUMED["bytes a trained weight that an optimizer moves"]
        / (learners if layout.shard else 1)
    )
    found["optimizer"] = updates * moved / rates.copy
    if layout.shard and learners > 1:
        # a pass gathers the weights forward, backward and for the reference, and adds gradients up where they lie; the next
        # layer's come while one computes, so only what takes longer than computing is waited for
        passes = updates * math.ceil(packed / updates / learners / config.optimizer.max_tokens)
        carried = passes * (3 * sent + 4 * trained) / link(learners)
        to_generate = 0.0 if layout.apart else 2 * sent / link(learners)
        found["gathers"] = max(0.0, carried - found["learning"]) + to_generate
    elif learners > 1:
        found["gradients"] = updates * 2 * 4 * trained / link(learners)
    if not layout.lora and not layout.shard:
        found["reference"] = 2 * 2 * sent / (ASSUMED["gb_per_s to the processor"] * 1e9)
    if layout.apart:
        handed = 2 * shape.adapter if layout.lora else sent
        found["handing over"] = 2 * handed / (ASSUMED["gb_per_s of the disk that both see"] * 1e9)
    return found


def link(gpus: int) -> float:
    """Return the bytes of a tensor a second that a ring of GPUs gathers, or adds up into parts; both is an all-reduce."""
    within = gpus <= ASSUMED["gpus a machine"]
    rate = ASSUMED["gb_per_s within a machine" if within else "gb_per_s between machines"] * 1e9
    return rate * gpus / (gpus - 1)


# checks


def gloo(rank: int, ranks: int, sizes: tuple[int, ...], answer: Any) -> None:
    """Time an all-reduce of float32 tensors between processes of this machine."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    for size in sizes:
        flat = torch.ones(size)
        dist.all_reduce(flat)
        dist.barrier()
        began = time.perf_counter()
        for _ in range(10):
            dist.all_reduce(flat)
        if rank == 0:
            answer.put((4 * size, (time.perf_counter() - began) / 10))
    dist.destroy_process_group()


def two_ranks() -> dict[str, Any]:
    """Predict two ranks from one, of results/ranks_speed.json, and the message that they exchange, timed here."""
    told = json.loads((RESULTS / "ranks_speed.json").read_text())
    demo, context = load_config("demo"), mp.get_context("spawn")
    answer, weights = context.SimpleQueue(), 200_000  # of the demo's model, rounded
    mp.spawn(gloo, (2, (weights, 16 * 2**20), answer), nprocs=2)
    (_, small), (size, large) = answer.get(), answer.get()
    updates = sum(demo.algo.minibatches)
    predicted = told["one"]["iteration_s"] / 2 + updates * small
    return {
        "gloo_ms_small": small * 1000, "gloo_gb_per_s": size / large / 1e9, "updates": updates,
        "predicted_s": predicted, "measured_s": told["two"]["iteration_s"], "ratio": predicted / told["two"]["iteration_s"],
    }  # fmt: skip


def checks(rates: Rates, widths: dict[bool, np.ndarray]) -> dict[str, Any]:
    """Return predictions beside what was measured."""
    told = json.loads((RESULTS / "gpu.json").read_text())
    small = 1000 * sum(rates.step(COUNTED["Qwen2.5-1.5B"], 32, context=576).values())
    kept = kept_of("Qwen2.5-1.5B", widths[False])
    whole = memory_of(counted("Qwen2.5-1.5B", False), recipe(False), kept=kept)
    pass_gb = (whole.weights + whole.gradients + whole.activations + whole.layer + whole.logits) / 1e9
    measured = {
        "decode step of 32 rows, ms": (small, told["decode"]["32 rows, fixed shapes"]["again"]["ms_a_step"]),
        "peak of a learner's pass on the H100, GB": (pass_gb, told["learn"]["pieces in one call"]["peak_gb"]),
    }
    for row in json.loads((RESULTS / "memory_model.json").read_text())["results"]:
        measured[f"memory of {row['what']} on a processor, GB"] = (row["calculated_gb"], row["measured_gb"])
    for row in json.loads((RESULTS / "gpu_fit.json").read_text())["results"]:
        if row["pack_tokens"] == 4096 and row["model"] in SIZES:
            found = kept_of(row["model"], widths[bool(row["lora_rank"])])[0] / 1e3
            key = f"kB kept a token, {row['model']}{', LoRA' if row['lora_rank'] else ''}"
            measured[key] = (found, row["kb_kept_per_token"])
    ranks = two_ranks()
    measured["iteration of two gloo ranks here, s"] = (ranks["predicted_s"], ranks["measured_s"])
    rows = {k: {"predicted": p, "measured": m, "ratio": p / m} for k, (p, m) in measured.items()}
    return {"against": rows, "two_ranks": ranks}


COUNTED: dict[str, Shape] = {}


def table(cells: list[dict[str, Any]], *, lora: bool) -> str:
    """Return, for each model and number of GPUs, the fastest layout that fits, as markdown for docs/scale.md."""
    lines = ["| | " + " | ".join(map(str, GPUS)) + " |", "|---" * (len(GPUS) + 1) + "|"]
    for name in SIZES:
        row = [name.removeprefix("Qwen2.5-")]
        for gpus in GPUS:
            fits = [c for c in cells if (c["model"], c["gpus"]) == (name, gpus) and c["fits"]]
            fits = [c for c in fits if c["layout"].startswith("LoRA") == lora]
            best = min(fits, key=lambda c: c["iteration_s"], default=None)
            layout = best["layout"].removeprefix("LoRA per role").lstrip(", ") or "replicated" if best else ""
            told = (
                ""
                if best is None
                else f"{best['iteration_s']:.0f} s, {best['gb']:.0f} GB<br>{layout}<br>*{best['most']}*"
            )
            row.append(told)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    if "--table" in sys.argv[1:]:
        cells = json.loads((RESULTS / "scale_model.json").read_text())["cells"]
        print(f"{table(cells, lora=False)}\n\n{table(cells, lora=True)}")
        return
    torch.set_num_threads(1)
    COUNTED.update({name: Shape.of(name) for name in SIZES})
    rates = Rates.measured(json.loads((RESULTS / "gpu.json").read_text()))
    widths = {lora: kept_by_width(lora=lora) for lora in (False, True)}
    checked = checks(rates, widths)
    print(json.dumps(checked, indent=1), flush=True)
    room = ASSUMED["GiB of a GPU"] * 2**30 * ASSUMED["share of it that may be used"]
    cells = []
    for name in SIZES:
        for layout in LAYOUTS:
            kept = kept_of(name, widths[layout.lora])
            for gpus in GPUS:
                if gpus < 2 and (layout.shard or layout.apart):
                    continue
                parts = iteration(name, layout, gpus, rates)
                learns, generates = memory(name, layout, gpus, kept)
                cells.append({
                    "model": name, "layout": layout.name, "gpus": gpus, "iteration_s": sum(parts.values()),
                    "by": {k: round(v, 3) for k, v in parts.items()}, "most": max(parts, key=parts.__getitem__),
                    "gb": max(learns, generates) / 1e9, "fits": max(learns, generates) <= room,
                })  # fmt: skip
            print(name, layout.name, [(c["gpus"], round(c["iteration_s"]), round(c["gb"]), c["most"]) for c in cells[-3:]], flush=True)  # fmt: skip
    work = {"turns": TURNS, "answer": ANSWER, "observed": OBSERVED, "prompt": PROMPT, "context": CONTEXT}
    measured = {"copy_gb_per_s": rates.copy / 1e9, "learn_tflops": rates.learn / 1e12, "prompt_tflops": rates.prompt / 1e12,
                "us_a_layer": rates.layer_s * 1e6}  # fmt: skip
    save("scale_model", {"assumed": ASSUMED, "measured": measured, "work": work, **checked, "cells": cells})


if __name__ == "__main__":
    main()
