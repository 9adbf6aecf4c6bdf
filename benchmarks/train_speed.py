"""Training: prefix-tree packed forward and backward against padded rows of the same episodes, one thread.

    python benchmarks/train_speed.py [--groups 16] [--repetitions 3] [--run runs/NAME]

Two kinds of made-up work in groups of 8: multi-turn episodes (prompts of about 250 tokens that a group shares, 10
turns of 5-20 sampled and about 45 observed tokens) and single-turn ones (prompts of 100-400 tokens, 32 sampled);
and, given a run of recipes/demo.toml, what both phases of its tenth iteration collected. Every sampled token counts
once in a sum of log-probabilities. Two baselines through transformers' own "sdpa" attention, both sorted by
length and right-padded in mini-batches of about as many tokens as a packed row, with logits only where a
token is asked for:

    padded segments   one row a context, all its turns in it
    padded turns      one row a turn with the whole context before it, as step-wise agent trainers do it

Times are CPU seconds of the process (one thread), so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _episodes import gemm_rate, linear_flops, model_of, vocab_of, workload
from _machine import save

from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.runs.episodes import read_episode
from himac.runs.folder import EPISODES, read_rows

ROW_TOKENS = 8192


KINDS = {
    "multi-turn": {"turns": 10, "prompt": (200, 300), "sampled": (5, 20), "observed": 45},
    "single-turn": {"turns": 1, "prompt": (100, 400), "sampled": (32, 32), "observed": 5},
}


Rows = tuple[list[np.ndarray], list[np.ndarray], list[tuple[int, int]]]
"""Token ids and masks of each context, and (context, end) of each turn."""


def collected(run: Path, groups: int, iteration: int = 10) -> Rows:
    """Return what the first groups of both phases of one iteration of a run have to teach."""
    ids, masks, turns = [], [], []
    for row in read_rows(run / EPISODES):
        if row["iteration"] != iteration or row["phase"] == "eval" or row["group"] >= groups:
            continue
        role, episode = row["phase"], read_episode(row)
        for number, context in enumerate(episode.contexts):
            ends = [turn.end for turn in episode.turns if turn.role == role and turn.context == number]
            if ends:
                turns += [(len(ids), end) for end in ends]
                ids.append(context.ids[: ends[-1]])
                masks.append(context.sampled[: ends[-1]])
    return ids, masks, turns


def episodes(kind: str, size: str, groups: int) -> Rows:
    """Return made-up episodes."""
    work = workload(vocab_of(size), groups=groups, peers=8, **KINDS[kind])
    rng = np.random.default_rng(1)
    ids, masks, turns = [], [], []
    for i, prompt in enumerate(work.prompts):
        parts, mask = [prompt], [np.zeros(len(prompt), bool)]
        for turn, length in enumerate(work.turn_lengths[i]):
            parts.append(rng.integers(3, vocab_of(size), length))
            mask.append(np.ones(length, bool))
            turns.append((i, sum(map(len, parts))))
            parts.append(work.observations[i][turn])
            mask.append(np.zeros(len(parts[-1]), bool))
        ids.append(np.concatenate(parts[:-1]))
        masks.append(np.concatenate(mask[:-1]))
    return ids, masks, turns


def tree(model, ids, masks) -> tuple[float, int]:
    """Sum the masked log-probabilities over packed rows and go back; return (sum, tokens computed)."""
    total, tokens = 0.0, 0
    for batch in pack(ids, max_tokens=ROW_TOKENS):
        loss = token_logps(model, batch, masks).logps.sum()
        loss.backward()
        total, tokens = total + loss.item(), tokens + batch.num_tokens
    return total, tokens


def padded(model, ids, masks) -> tuple[float, int]:
    """The same over right-padded rows."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    total, tokens, at = 0.0, 0, 0
    while at < len(order):
        rows = [order[at]]
        while at + len(rows) < len(order) and (len(rows) + 1) * len(ids[order[at + len(rows)]]) <= ROW_TOKENS:
            rows.append(order[at + len(rows)])
        at += len(rows)
        longest = max(len(ids[i]) for i in rows)
        x = torch.zeros(len(rows), longest, dtype=torch.long)
        real, asked = torch.zeros_like(x), torch.zeros(len(rows), longest, dtype=torch.bool)
        for n, i in enumerate(rows):
            x[n, : len(ids[i])] = torch.as_tensor(ids[i])
            real[n, : len(ids[i])] = 1
            asked[n, : len(ids[i])] = torch.as_tensor(masks[i])
        hidden = model.model(x, attention_mask=real, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][asked[:, 1:]]).float()
        loss = torch.log_softmax(logits, -1).gather(-1, x[asked][:, None]).sum()
        loss.backward()
        total, tokens = total + loss.item(), tokens + x.numel()
    return total, tokens


def measure(kind: str, size: str, groups: int, repetitions: int, rows: Rows) -> list[dict[str, object]]:
    """Time the methods on one kind of work, alternating; return one row a method."""
    ids, masks, turns = rows
    turn_ids = [ids[i][:end] for i, end in turns]
    turn_masks = [masks[i][:end].copy() for i, end in turns]
    for mask in turn_masks:  # a turn's row asks for its own tokens alone
        mask[: np.flatnonzero(~mask)[-1]] = False
    plain, routed = model_of(size), model_of(size)
    runs = {"tree packed": (tree, routed, ids, masks), "padded segments": (padded, plain, ids, masks)}
    if len(turns) > len(ids):
        runs["padded turns"] = (padded, plain, turn_ids, turn_masks)
    best: dict[str, tuple[float, float, int]] = {}
    for repetition in range(repetitions):
        for name, (method, model, *work) in runs.items():
            if name == "padded turns" and repetition:
                continue
            model.zero_grad()
            began = time.process_time()
            total, tokens = method(model, *work)
            found = (time.process_time() - began, total, tokens)
            best[name] = min(best.get(name, found), found)
    base, peak = best["tree packed"], gemm_rate()
    told = []
    for name, (seconds, total, tokens) in best.items():
        assert abs(total - base[1]) < 1e-3 * abs(base[1]), "the methods disagree about the same episodes"
        share = 3 * linear_flops(plain) * tokens / seconds / peak
        told.append({
            "work": kind, "model": size, "method": name, "groups": groups, "peers": 8,
            "tokens_computed": tokens, "asked_tokens": int(sum(mask.sum() for mask in masks)),
            "cpu_s": seconds, "share_of_gemm_rate": share, "tree_is_faster": seconds / base[0],
            "gemm_gflops": peak / 1e9,
        })  # fmt: skip
        print(
            f"{kind:13}{size:6}{name:17}{tokens:16}{seconds:9.2f}{share:9.1%}{seconds / base[0]:8.1f}x",
            flush=True,
        )
    return told


def main() -> None:
    """Measure, print a table, save the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="do not save")
    parser.add_argument("--sizes", nargs="+", default=["1m", "5m"], help="made up, or folders of real models")
    parser.add_argument("--kinds", nargs="+", help="multi-turn, single-turn; left out: both")
    parser.add_argument("--name", default="train_speed", help="of the result's file")
    parser.add_argument("--groups", type=int, default=16, help="groups of 8 (multi-turn: a quarter of them)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--row-tokens", type=int, default=ROW_TOKENS, help="of a padded mini-batch and of a pack"
    )
    parser.add_argument("--run", type=Path, help="a run of recipes/demo.toml with its episodes.jsonl")
    args = parser.parse_args()
    globals()["ROW_TOKENS"] = args.row_tokens
    torch.set_num_threads(1)
    print(
        f"{'work':13}{'model':6}{'method':17}{'tokens computed':>16}{'CPU s':>9}{'of GEMM':>9}{'tree is':>9}"
    )
    results = []
    for kind in args.kinds or KINDS:
        for size in args.sizes:
            groups = args.groups if kind == "single-turn" else max(args.groups // 4, 1)
            results += measure(kind, size, groups, args.repetitions, episodes(kind, size, groups))
    for size in args.sizes if args.run else []:
        results += measure("the demo", size, args.groups, args.repetitions, collected(args.run, args.groups))
    if not args.quick:
        print(save(args.name, {"results": results}))


if __name__ == "__main__":
    main()
