"""With pictures: the engine against transformers' `generate`, packed learning against padded rows; one thread.

    python benchmarks/vision_speed.py [--groups 8] [--turns 10] [--repetitions 2] [--quick]

Multi-turn episodes in groups of 8 with the tiny model of recipes/sokoban-vision-demo.toml (random weights): a prompt of 120
words and a picture that the group shares, then at each turn 10 to 40 sampled tokens and a picture of 36 tokens; half of the
pictures are seen by two episodes of a group, for peers pass the same states. `generate` and padded rows get every context
whole, padded, with the patches of all its pictures, as the published visual trainers do it. Times are CPU seconds of the
process. The vision tower's share of ours is named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from _machine import save

from himac.config import VisionSettings
from himac.engines.transformers import TransformersEngine
from himac.images import FIRST_ID, Album
from himac.models.attention import use_packed_attention
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.models.tiny import TinyShape, build_tokenizer, processor_of, seeing_model
from himac.models.vision import Vision
from himac.types import Request, Sampling

ROW_TOKENS = 4096


class Work:
    """Episodes: what they see and how much they say."""

    def __init__(self, groups: int, turns: int) -> None:
        settings = VisionSettings()
        self.tokenizer = build_tokenizer(["you push a box onto a target"] * 3, vocab=512, sees=True)
        torch.manual_seed(0)
        self.model = seeing_model(TinyShape(), self.tokenizer, settings).eval()
        self.model.generation_config.eos_token_id = None
        self.album = Album()
        self.vision = Vision(self.model, processor_of(settings), self.album)
        self.frame = self.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])
        self.pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        rng = np.random.default_rng(0)
        self.lengths = rng.integers(10, 41, (groups * 8, turns))
        self.prompts, self.seen = [], []
        for _ in range(groups):
            head = np.concatenate([rng.integers(20, len(self.tokenizer), 120), self.picture(rng)])
            shared = [[self.picture(rng) for _ in range(turns)] for _ in range(4)]  # two peers each
            for peer in range(8):
                self.prompts.append(head)
                self.seen.append([shared[peer // 2][t] if t % 2 else self.picture(rng) for t in range(turns)])

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """Return the ids of a new picture in its frame."""
        tiles = rng.integers(0, 255, (6, 6, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        ids = self.vision.ids(self.album.tag(tiles)[7:-1])
        assert ids is not None
        return np.array([self.frame[0], *ids, self.frame[1]])

    def padded(self, contexts: list[np.ndarray], *, left: bool) -> dict[str, torch.Tensor]:
        """Return contexts as transformers takes them."""
        longest = max(map(len, contexts))
        ids = np.zeros((len(contexts), longest), np.int64)
        mask = np.zeros_like(ids)
        images = []
        for row, context in enumerate(contexts):
            at = slice(longest - len(context), longest) if left else slice(len(context))
            ids[row, at], mask[row, at] = context, 1
            sight = self.vision.sight(context)
            numbers = sight.picture[(sight.picture >= 0) & (sight.offset == 0)]
            images += [self.album.array(self.vision._names[number]) for number in numbers]
        shown = ids >= FIRST_ID
        ids[ids == self.pad] = (
            20  # a random model says it now and then, and transformers refuses it as a word
        )
        patches, grid = self.vision.patches(images)
        return {
            "input_ids": torch.as_tensor(np.where(shown, self.pad, ids)),
            "attention_mask": torch.as_tensor(mask),
            "mm_token_type_ids": torch.as_tensor(shown.astype(np.int64)),
            "pixel_values": torch.as_tensor(patches),
            "image_grid_thw": torch.as_tensor(np.asarray(grid)),
        }


@contextmanager
def tower_time() -> Iterator[list[float]]:
    """Yield a list that gathers the CPU seconds of making features, forward."""
    spent: list[float] = []
    inner = Vision._made

    def timed(self: Vision, model: Any, numbers: Any) -> Any:
        began = time.process_time()
        made = inner(self, model, numbers)
        spent.append(time.process_time() - began)
        return made

    Vision._made = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Vision._made = inner  # type: ignore[method-assign]


def rollout(work: Work, answer: Callable[[int, list[np.ndarray]], list[np.ndarray]]) -> list[np.ndarray]:
    """Play the episodes; return their contexts."""
    contexts = [prompt.copy() for prompt in work.prompts]
    for turn in range(work.lengths.shape[1]):
        said = answer(turn, contexts)
        contexts = [
            np.concatenate([c, s, work.seen[i][turn]]) for i, (c, s) in enumerate(zip(contexts, said))
        ]
    return contexts


def ours(work: Work) -> tuple[float, float, list[np.ndarray]]:
    """Return (CPU seconds, the tower's, the contexts)."""
    use_packed_attention(work.model)
    engine = TransformersEngine(work.model, work.tokenizer, max_batch=len(work.prompts), vision=work.vision)
    engine._ending.eos_ids = frozenset()

    def answer(turn: int, contexts: list[np.ndarray]) -> list[np.ndarray]:
        asked = [
            Request(prompt=c, sampling=Sampling(max_tokens=int(work.lengths[i, turn]), seed=turn * 999 + i))
            for i, c in enumerate(contexts)
        ]
        return [np.array(done.ids) for done in engine.generate(asked)]

    began = time.process_time()
    with tower_time() as spent:
        contexts = rollout(work, answer)
    return time.process_time() - began, sum(spent), contexts


def theirs(work: Work) -> float:
    """Return the CPU seconds of the same with `generate`."""
    work.model.set_attn_implementation("sdpa")

    def answer(turn: int, contexts: list[np.ndarray]) -> list[np.ndarray]:
        given = work.padded(contexts, left=True)
        work.model.model.rope_deltas = None
        out = work.model.generate(
            **given, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=int(work.lengths[:, turn].max()),
            pad_token_id=0, return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        new = out.sequences[:, given["input_ids"].shape[1] :]
        torch.stack(out.logits, 1).float().log_softmax(-1).gather(-1, new[..., None])
        return [new[i, : work.lengths[i, turn]].numpy() for i in range(len(contexts))]

    began = time.process_time()
    with torch.inference_mode():
        rollout(work, answer)
    return time.process_time() - began


def masks_of(work: Work, contexts: list[np.ndarray]) -> list[np.ndarray]:
    """Return which tokens were sampled."""
    found = []
    for i, context in enumerate(contexts):
        mask, at = np.zeros(len(context), bool), len(work.prompts[i])
        for turn, length in enumerate(work.lengths[i]):
            mask[at : at + length] = True
            at += length + len(work.seen[i][turn])
        found.append(mask)
    return found


def without_pads(work: Work, contexts: list[np.ndarray]) -> list[np.ndarray]:
    """Return the contexts with words that transformers would refuse replaced, so that both learn the same."""
    return [np.where(context == work.pad, 20, context) for context in contexts]


def learn_ours(
    work: Work, contexts: list[np.ndarray], masks: list[np.ndarray]
) -> tuple[float, float, float, int]:
    """Return (CPU seconds forward and back, the tower's forward, the sum of log-probabilities, tokens computed)."""
    use_packed_attention(work.model)
    began, total, tokens = time.process_time(), 0.0, 0
    with tower_time() as spent:
        for batch in pack(contexts, max_tokens=ROW_TOKENS):
            loss = token_logps(work.model, batch, masks, vision=work.vision).logps.sum()
            loss.backward()
            total, tokens = total + float(loss.detach()), tokens + batch.num_tokens
    return time.process_time() - began, sum(spent), total, tokens


def learn_theirs(work: Work, rows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, int]:
    """The same over right-padded rows of (context, what is asked for); return (seconds, sum, tokens)."""
    work.model.set_attn_implementation("sdpa")
    rows = sorted(rows, key=lambda row: len(row[0]))
    began, total, tokens, at = time.process_time(), 0.0, 0, 0
    while at < len(rows):
        count = 1
        while at + count < len(rows) and (count + 1) * len(rows[at + count][0]) <= ROW_TOKENS:
            count += 1
        some, at = rows[at : at + count], at + count
        given = work.padded([context for context, _ in some], left=False)
        asked = torch.zeros(given["input_ids"].shape, dtype=torch.bool)
        for n, (context, mask) in enumerate(some):
            asked[n, : len(context)] = torch.as_tensor(mask)
        work.model.model.rope_deltas = None
        states = work.model.model(**given, use_cache=False).last_hidden_state
        logits = work.model.lm_head(states[:, :-1][asked[:, 1:]]).float()
        loss = logits.log_softmax(-1).gather(-1, given["input_ids"][asked][:, None]).sum()
        loss.backward()
        total, tokens = total + float(loss.detach()), tokens + asked.numel()
    return time.process_time() - began, total, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="do not save")
    args = parser.parse_args()
    torch.set_num_threads(1)
    work = Work(args.groups, args.turns)
    mine, other, contexts = [], [], []
    for _ in range(args.repetitions):
        seconds, tower, contexts = ours(work)
        mine.append((seconds, tower))
        other.append(theirs(work))
    (fast, tower), slow, sampled = min(mine), min(other), int(work.lengths.sum())
    generation = {
        "sampled_tokens": sampled, "generate_s": slow, "himac_s": fast, "tower_s": tower, "ratio": slow / fast,
        "himac_tokens_per_s": sampled / fast,
    }  # fmt: skip
    print("generation", generation, flush=True)
    contexts, masks = without_pads(work, contexts), masks_of(work, contexts)
    turns = []  # a row a turn with all that came before it, as step-wise trainers have it
    for context, mask in zip(contexts, masks):
        ends = (np.flatnonzero(np.diff(mask.astype(int)) == -1) + 1).tolist()
        begins = (np.flatnonzero(np.diff(mask.astype(int)) == 1) + 1).tolist()
        for begin, end in zip(begins, ends):
            turns.append((context[:end], mask[:end] & (np.arange(end) >= begin)))
    packed, segments, whole = [], [], []
    for _ in range(args.repetitions):
        packed.append(learn_ours(work, contexts, masks))
        segments.append(learn_theirs(work, list(zip(contexts, masks))))
        whole.append(learn_theirs(work, turns))
    best = min(packed)
    assert abs(best[2] - segments[0][1]) < 1e-3 * abs(best[2]), (best[2], segments[0][1])
    assert abs(best[2] - whole[0][1]) < 1e-3 * abs(best[2])
    learning = {
        "himac_s": best[0], "tower_forward_s": best[1], "packed_tokens": best[3],
        "padded_segments_s": min(segments)[0], "over_padded_segments": min(segments)[0] / best[0],
        "padded_turns_s": min(whole)[0], "over_padded_turns": min(whole)[0] / best[0],
    }  # fmt: skip
    print("learning", learning)
    if not args.quick:
        work_done = {
            "groups": args.groups,
            "turns": args.turns,
            "parameters": sum(p.numel() for p in work.model.parameters()),
        }
        save(
            "vision_speed",
            {**work_done, "pictures": len(work.album), "generation": generation, "learning": learning},
        )


if __name__ == "__main__":
    main()
