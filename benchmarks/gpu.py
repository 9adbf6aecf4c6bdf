"""What a GPU makes of it: decoding, learning, one iteration of recipes/sokoban.toml, SmolLM2 in training.

    python benchmarks/gpu.py [decode learn iteration smollm2 hours] [--toy] [--minutes 2.0] [--smollm2 models/smollm2]

decode      Qwen2.5-1.5B's architecture with random weights in bfloat16: 256 sequences after prompts of 512 tokens in
            groups of 8, step by step in shapes as they come, and in fixed shapes recorded as CUDA graphs.
learn       one packed row of such episodes forward and backward, piece by piece and in one call of flash attention.
iteration   `recipes/sokoban.toml` with that architecture, 4 of its 32 tasks: where the time goes, peak memory, moved, gap.
            Random weights never end an answer: each has as many tokens as is allowed, here 128 and 64 (the recipe: 512).
smollm2     SmolLM2-135M-Instruct: a warm start of all its weights on demonstrations, then HiMAC and flat GRPO from it
            for `--minutes` each.
hours       what the measured rates make of whole recipes: 256 episodes a phase, answers of 100 tokens, observations of 60.

Each part writes its share of results/gpu.json when it is done. `--toy` does the same with a model of a few thousand weights,
on a processor too, and saves nothing beside the machine's name but that it ran.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _episodes import NoTokenizer, workload
from _machine import RESULTS, describe
from _runs import evaluations, himac, outcome
from transformers import AutoModelForCausalLM, Qwen2Config

from himac.config import Config, load_config, override
from himac.engines import kv
from himac.engines.transformers import TransformersEngine
from himac.learner.checkpoint import TrainState
from himac.models import attention, ragged
from himac.models.attention import use_packed_attention
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.tiny import build_tokenizer
from himac.runs.folder import METRICS, read_rows
from himac.train.components import Components
from himac.train.memory import memory_of
from himac.train.rehearse import Noted, Peak
from himac.types import Request, Sampling

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def architecture(toy: bool) -> Qwen2Config:
    """Return Qwen2.5-1.5B's, or one of its kind that a test can afford."""
    shape = (64, 128, 2, 4, 2, 1024) if toy else (1536, 8960, 28, 12, 2, 151_936)
    hidden, inner, depth, heads, kv_heads, vocab = shape
    return Qwen2Config(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=depth, num_attention_heads=heads,
        num_key_value_heads=kv_heads, tie_word_embeddings=True, max_position_embeddings=32_768, bos_token_id=None,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip


def random_model(toy: bool) -> Any:
    """Return the architecture with random weights in bfloat16."""
    torch.manual_seed(0)
    with DEVICE:
        return AutoModelForCausalLM.from_config(architecture(toy), dtype=torch.bfloat16).eval()


def wait() -> float:
    """Return the time once the device has done what it was asked."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_gb(*, reset: bool = False) -> float:
    """Return the most memory that was allocated since the last reset, in 1e9 bytes; 0 on a processor."""
    if DEVICE.type != "cuda":
        return 0.0
    most = torch.cuda.max_memory_allocated() / 1e9
    if reset:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return most


def ceilings() -> dict[str, float]:
    """Return the device's measured rates: a large bfloat16 product, and a large copy, bytes read and written."""
    size, repeats = (8192, 20) if DEVICE.type == "cuda" else (512, 3)
    a, b = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    a @ b
    began = wait()
    for _ in range(repeats):
        a @ b
    product = repeats * 2 * size**3 / (wait() - began)
    source = torch.randn(size * size * 8, device=DEVICE)
    target = source.clone()
    began = wait()
    for _ in range(repeats):
        target.copy_(source)
    return {
        "tflops": product / 1e12,
        "gb_per_s": repeats * 2 * source.nbytes / (wait() - began) / 1e9,
    }


# decode


def decode(toy: bool) -> dict[str, Any]:
    """Time prompts and steps, with and without what GPUs get."""
    model, vocab = random_model(toy), architecture(toy).vocab_size
    weights = sum(p.numel() for p in model.parameters())
    found: dict[str, Any] = {"weights": weights}
    for num in (4, 8) if toy else (32, 256):
        work = workload(
            vocab,
            groups=num // 4 if toy else num // 8,
            peers=8,
            turns=1,
            prompt=(500, 524),
            sampled=(1, 1),
            observed=1,
        )
        prompts = [np.concatenate([ids, [i + 3]]) for i, ids in enumerate(work.prompts[:num])]
        for name, fixed, together in (
            ("as it comes", False, False), ("pieces in one call", False, True), ("fixed shapes", True, True),
        ):  # fmt: skip
            with pieces_in_one_call(together):
                found[f"{num} rows, {name}"] = timed(model, prompts, fixed=fixed, steps=8 if toy else 128)
            print(num, name, found[f"{num} rows, {name}"], flush=True)
    return found


class pieces_in_one_call:
    """Within it, attention takes all pieces at once, or never does."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def __enter__(self) -> None:
        for module in (attention, kv):
            module.takes_ragged = ragged.takes_ragged if self._on else (lambda *_: False)

    def __exit__(self, *_: object) -> None:
        for module in (attention, kv):
            module.takes_ragged = ragged.takes_ragged


def timed(model: Any, prompts: list[np.ndarray], *, fixed: bool, steps: int) -> dict[str, Any]:
    """Answer the prompts twice with a new engine; the second time nothing is new but the tokens."""
    peak_gb(reset=True)
    engine = TransformersEngine(model, NoTokenizer(), max_batch=len(prompts), fixed_shapes=fixed)  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for turn, name in enumerate(("first", "again")):
        engine.reset_stats()
        engine._store.clear()
        if turn:  # recorded sizes stay: only their storage is new, so they are recorded again
            engine.release()
        engine.generate(
            [
                Request(prompt=ids, sampling=Sampling(max_tokens=steps, seed=i))
                for i, ids in enumerate(prompts)
            ]
        )
        stats = engine.stats
        found[name] = {
            "prompt_tokens_per_s": stats.computed_prompt_tokens / stats.prefill_s,
            "tokens_per_s": (stats.sampled_tokens - len(prompts)) / stats.decode_s,
            "ms_a_step": 1000 * stats.decode_s / (steps - 1),
        }
    if fixed and engine._fixed is not None:
        found["why not recorded"] = engine._fixed.why_not
        found["replay_ms"] = replayed(engine, prompts)
    return found | {"peak_gb": peak_gb()}


def replayed(engine: TransformersEngine, prompts: list[np.ndarray]) -> float:
    """Return the milliseconds of a recorded step alone, without drawing tokens; 0 where none was recorded."""
    graphs = engine._fixed._graphs if engine._fixed is not None else {}
    if not graphs:
        return 0.0
    graph = graphs[max(graphs)]
    graph.replay()
    began = wait()
    for _ in range(20):
        graph.replay()
    return (wait() - began) / 20 * 1000


# learn


def learn(toy: bool) -> dict[str, Any]:
    """Time one packed row forward and backward, all weights in bfloat16, layers computed twice."""
    model = random_model(toy).train()
    use_packed_attention(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    vocab = architecture(toy).vocab_size
    work = workload(vocab, groups=4, peers=8, turns=8, prompt=(500, 524), sampled=(20, 60), observed=30)
    ids, masks = [], []
    for i, prompt in enumerate(work.prompts):
        parts, mask = [prompt], [np.zeros(len(prompt), bool)]
        for turn, length in enumerate(work.turn_lengths[i]):
            parts += [
                np.random.default_rng(i * 100 + turn).integers(3, vocab, length),
                work.observations[i][turn],
            ]
            mask += [np.ones(length, bool), np.zeros(len(parts[-1]), bool)]
        ids.append(np.concatenate(parts))
        masks.append(np.concatenate(mask))
    batches = pack(ids, max_tokens=1024 if toy else 16_384)
    weights = (
        sum(p.numel() for n, p in model.named_parameters() if "embed" not in n)
        + vocab * model.config.hidden_size
    )
    tokens = sum(batch.num_tokens for batch in batches)
    found: dict[str, Any] = {"packed_tokens": tokens, "pieces": [len(batch.pieces) for batch in batches]}
    grads = {}
    for name, together in (("piece by piece", False), ("pieces in one call", True)):
        peak_gb(reset=True)
        with pieces_in_one_call(together):
            for _ in range(2):
                model.zero_grad()
                began = wait()
                for batch in batches:
                    token_logps(model, batch, masks).logps.mean().backward()
                seconds = wait() - began
        grads[name] = model.model.layers[0].self_attn.v_proj.weight.grad.float().clone()
        found[name] = {
            "tokens_per_s": tokens / seconds, "tflops": 8 * weights * tokens / seconds / 1e12, "peak_gb": peak_gb(),
        }  # fmt: skip
        print(name, found[name], flush=True)
    one, other = grads.values()
    found["gradients_differ"] = float((one - other).norm() / one.norm())
    return found


# iteration


def iteration(toy: bool) -> dict[str, Any]:
    """Run one iteration of the recipe on some of its tasks."""
    config = override(
        load_config("sokoban"), rollout={"tasks": 1 if toy else 4}, agent={"planner_tokens": 128, "executor_tokens": 64},
    )  # fmt: skip
    if toy:
        config = override(
            config,
            agent={"planner_tokens": 8, "executor_tokens": 4},
            env={"max_steps": 3},
            optimizer={"max_tokens": 2048},
        )
    with tempfile.TemporaryDirectory() as folder:
        saved(folder, toy)
        return one_iteration(config, folder)


def saved(folder: str, toy: bool) -> None:
    """Write the architecture with random weights, and a tokenizer that knows the tags, to a folder."""
    texts = [Path("README.md").read_text(encoding="utf-8")]
    tokenizer = build_tokenizer(texts, vocab=1000)
    model = random_model(toy)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def one_iteration(config: Config, folder: str) -> dict[str, Any]:
    """Run it once; return its rows, and the peak beside what was calculated."""
    parts = Components(config, folder)
    expected = memory_of(parts.policy, config)
    if config.algo.has_kl:
        parts.policy.freeze_reference()
    learner = parts.learner()
    found: dict[str, Any] = {"calculated_gb": expected.most / 1e9, "tasks": config.rollout.tasks}
    peak_gb(reset=True)
    with Peak(parts.device) as peak:
        log = Noted()
        began = wait()
        parts.loop(learner, log=log, outside=log).iterate(TrainState())
        found |= {"wall_s": wait() - began, "phases": [numbers(row) for row in log.rows]}
        print(found, flush=True)
    found["peak_gb"] = peak.bytes / 1e9
    engine: Any = parts.engine
    found["why not recorded"] = engine._fixed.why_not if getattr(engine, "_fixed", None) else "not asked"
    parts.close()
    return found


KEPT = (
    "phase", "episodes", "turns", "tokens", "success", "collect_s", "generate_s", "env_s", "learn_s", "train_s",
    "packed_tokens", "samples", "moved", "gap_max", "gap_mean", "capped", "unreadable", "malformed", "kl",
)  # fmt: skip


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a phase's row."""
    return {key: row[key] for key in KEPT if key in row}


# smollm2


def smollm2(toy: bool, folder: str, minutes: float) -> dict[str, Any]:
    """Warm-start all weights, then train HiMAC and GRPO from there for so many minutes each."""
    found: dict[str, Any] = {"minutes": minutes}
    few = ["sft.demonstrations=8", "rollout.tasks=1", "eval.tasks=2", "env.test=4", "run.iterations=1"]
    settings = [
        f'model.name="{folder}"', "model.lora_rank=0", "rollout.tasks=16", "optimizer.max_tokens=16384", "engine.max_kv_tokens=262144",
        "sft.demonstrations=1500", "sft.epochs=2.0", "sft.lr=2e-4", "sft.batch=16", "optimizer.lr=5e-6", "eval.tasks=128",
        "eval.every=10", "run.iterations=1000", f"budget.minutes={minutes}", "env.test=256", *(few if toy else []),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as out:
        recipe = ["sokoban-smollm2", *settings, f'run.dir="{out}"']
        began = time.perf_counter()
        himac("sft", *recipe, 'run.name="start"')
        found["warm_start_s"] = time.perf_counter() - began
        for name, method in (("himac", "himac"), ("grpo", "flat")):
            began = time.perf_counter()
            himac(
                "train", *recipe, f'run.name="{name}"', "sft.demonstrations=0", f'model.name="{out}/start/start"',
                f'algo.method="{method}"',
            )  # fmt: skip
            rows = read_rows(Path(out) / name / METRICS)
            training = [row for row in rows if row["phase"] != "eval"]
            found[name] = {
                "wall_s": time.perf_counter() - began,
                "iterations": max(row["iteration"] for row in training),
                "phases": [numbers(row) for row in training[-4:]],
                "success": [
                    {"iteration": row["iteration"], "split": split, "env_steps": row["total_env_steps"]}
                    | outcome(row)
                    for split in ("val", "test")
                    for row in evaluations(Path(out) / name, split)
                ],
            }
            print(name, json.dumps(found[name]["success"]), flush=True)
    return found


# hours


def hours(told: dict[str, Any]) -> dict[str, Any]:
    """Return what iterations of whole recipes take at the rates that were measured, in seconds; nothing is run.

    Left out: environments and drawing up batches (a few per cent), batches that empty towards their end, evaluations.
    """
    generated = told["decode"]["256 rows, fixed shapes"]["again"]["tokens_per_s"]
    learned = told["learn"]["pieces in one call"]["tokens_per_s"]
    found = {}
    for recipe, turns in (("sokoban", 15), ("alfworld", 50)):
        config = load_config(recipe)
        episodes = config.rollout.tasks * config.rollout.group_size
        sampled = 2 * episodes * turns * 100  # both phases
        packed = 2 * episodes * turns * (100 + 60)
        # an update passes forward twice and back once; the reference, and the old probabilities, forward once
        collect, learn = sampled / generated, packed / learned * (1 + 1 / 4)
        found[recipe] = {
            "turns": turns, "sampled": sampled, "collect_s": collect, "learn_s": learn,
            "hours": (collect + learn) * config.run.iterations / 3600, "iterations": config.run.iterations,
        }  # fmt: skip
        print(recipe, found[recipe])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["decode", "learn", "iteration", "smollm2"])
    parser.add_argument("--toy", action="store_true", help="tiny, anywhere, nothing saved")
    parser.add_argument("--minutes", type=float, default=2.0, help="of each training run with SmolLM2")
    parser.add_argument("--smollm2", default="models/smollm2", help="its folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    args = parser.parse_args()
    todo = {
        "decode": lambda: decode(args.toy),
        "learn": lambda: learn(args.toy),
        "iteration": lambda: iteration(args.toy),
        "smollm2": lambda: smollm2(args.toy, args.smollm2, args.minutes),
        "hours": lambda: hours(told),
    }
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "processor"
    told = json.loads(args.out.read_text()) if args.out.is_file() else {}
    for name in args.parts:
        peak_gb(reset=True)
        began = time.perf_counter()
        try:
            result = todo[name]()
        except Exception:
            traceback.print_exc()
            result = {"failed": traceback.format_exc().strip().splitlines()[-1]}
        if name != "hours":
            told |= {"machine": describe() | {"gpu": device}, "ceilings": told.get("ceilings") or ceilings()}
        told[name] = result | {"took_s": time.perf_counter() - began}
        print(f"{name}: {told[name]['took_s']:.0f} s", flush=True)
        if not args.toy:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
