"""Rollouts: the himac engine against transformers' `generate` on the same episodes, end to end, one thread.

    python benchmarks/rollout_speed.py [--groups 16] [--repetitions 2]

Two kinds of work: multi-turn episodes in groups (16 tasks x 8, prompts of about 250 tokens, 10 turns of 5-20
sampled and about 45 observed tokens), and single-turn groups (16 x 8, 32 new tokens). `generate` gets the
whole context each turn, batched and left-padded, as common agent trainers do it; per turn it runs until the
longest row is done. Both sample at temperature 1 and give log-probabilities; equal numbers of tokens are
counted for both (what each row asked for). Repetitions alternate between the two. Times are CPU seconds of
the process (one thread), so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from _episodes import NoTokenizer, Workload, gemm_rate, linear_flops, model_of, vocab_of, workload
from _machine import save

from himac.engines.transformers import EngineStats, TransformersEngine
from himac.types import Request, Sampling


def play_himac(model, work: Workload) -> tuple[float, EngineStats]:
    """Play the episodes with a fresh engine; return (CPU seconds, statistics)."""
    engine = TransformersEngine(model, NoTokenizer(), max_batch=128)
    contexts = [prompt.copy() for prompt in work.prompts]
    began = time.process_time()
    for turn in range(work.turn_lengths.shape[1]):
        answers = engine.generate(
            [
                Request(
                    prompt=ids,
                    sampling=Sampling(max_tokens=int(work.turn_lengths[i, turn]), seed=turn * 999 + i),
                )
                for i, ids in enumerate(contexts)
            ]
        )
        contexts = [
            np.concatenate([ids, answer.ids, work.observations[i][turn]])
            for i, (ids, answer) in enumerate(zip(contexts, answers))
        ]
    return time.process_time() - began, engine.stats


def play_generate(model, work: Workload) -> float:
    """Play the same episodes with `generate`; return CPU seconds."""
    contexts = [prompt.copy() for prompt in work.prompts]
    began = time.process_time()
    with torch.inference_mode():
        for turn in range(work.turn_lengths.shape[1]):
            longest = max(map(len, contexts))
            ids = torch.zeros(len(contexts), longest, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for i, context in enumerate(contexts):
                ids[i, longest - len(context) :] = torch.as_tensor(context)
                mask[i, longest - len(context) :] = 1
            out = model.generate(
                ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, pad_token_id=0,
                max_new_tokens=int(work.turn_lengths[:, turn].max()), return_dict_in_generate=True,
                output_logits=True,
            )  # fmt: skip
            new = out.sequences[:, longest:]
            torch.stack(out.logits, 1).float().log_softmax(-1).gather(-1, new[..., None])
            contexts = [
                np.concatenate(
                    [context, new[i, : work.turn_lengths[i, turn]].numpy(), work.observations[i][turn]]
                )
                for i, context in enumerate(contexts)
            ]
    return time.process_time() - began


def main() -> None:
    """Measure, print a table, save the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="do not save")
    parser.add_argument("--groups", type=int, default=16, help="groups of 8")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", default=["1m", "5m"], help="made up, or folders of real models")
    parser.add_argument("--kinds", nargs="+", help="multi-turn, single-turn; left out: both")
    parser.add_argument("--name", default="rollout_speed", help="of the result's file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kinds = {
        "multi-turn": {"turns": 10, "prompt": (200, 300), "sampled": (5, 20), "observed": 45},
        "single-turn": {"turns": 1, "prompt": (100, 400), "sampled": (32, 32), "observed": 5},
    }
    results = []
    peak = gemm_rate()
    print(
        f"{'work':12} {'model':5} {'generate tok/s':>15} {'himac tok/s':>12} {'ratio':>6} {'prefill':>8} {'decode':>7} {'of GEMM':>8}"
    )
    for kind in args.kinds or kinds:
        settings = kinds[kind]
        for size in args.sizes:
            model = model_of(size)
            work = workload(vocab_of(size), groups=args.groups, peers=8, **settings)
            sampled = int(work.turn_lengths.sum())
            theirs, ours = [], []
            for _ in range(args.repetitions):
                ours.append(play_himac(model, work))
                theirs.append(play_generate(model, work))
            seconds, stats = min(ours, key=lambda pair: pair[0])
            flops = linear_flops(model) * (stats.computed_prompt_tokens + stats.sampled_tokens)
            row = {
                "work": kind, "model": size, "groups": args.groups, "peers": 8, "sampled_tokens": sampled,
                "generate_s": min(theirs), "himac_s": seconds, "ratio": min(theirs) / seconds,
                "generate_tokens_per_s": sampled / min(theirs), "himac_tokens_per_s": sampled / seconds,
                "prefill_s": stats.prefill_s, "decode_s": stats.decode_s,
                "prompt_tokens": stats.prompt_tokens, "computed_prompt_tokens": stats.computed_prompt_tokens,
                "share_of_gemm_rate": flops / seconds / peak, "gemm_gflops": peak / 1e9,
            }  # fmt: skip
            results.append(row)
            print(
                f"{kind:12} {size:5} {row['generate_tokens_per_s']:15.0f} {row['himac_tokens_per_s']:12.0f} "
                f"{row['ratio']:6.1f} {stats.prefill_s:7.2f}s {stats.decode_s:6.2f}s {row['share_of_gemm_rate']:8.1%}",
                flush=True,
            )
    if not args.quick:
        print(save(args.name, {"results": results}))


if __name__ == "__main__":
    main()
