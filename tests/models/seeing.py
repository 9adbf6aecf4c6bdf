"""Small vision-language models of all architectures that are read, with an album of pictures, and transformers' own way through them."""

from __future__ import annotations

import numpy as np
import torch

from himac.config import VisionSettings
from himac.images import FIRST_ID, Album
from himac.models.tiny import TinyShape, build_tokenizer, processor_of, seeing_model
from himac.models.vision import Vision

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "qwen2_vl")


class Seeing:
    """A model with random weights, its tokenizer, its eyes, and five pictures of two sizes."""

    def __init__(self, family: str, *, frozen: bool = False) -> None:
        self.settings = VisionSettings(family=family, tower=(64, 3), freeze=frozen)
        self.tokenizer = build_tokenizer(["you see a box and a wall"] * 3, vocab=400, sees=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            shape = TinyShape(hidden=64, layers=3, heads=2, kv_heads=1, head_dim=32)
            self.model = seeing_model(shape, self.tokenizer, self.settings).eval()
        self.album = Album()
        table = {"freeze": True} if frozen else {}
        self.vision = Vision(self.model, processor_of(self.settings), self.album, table)
        rng = np.random.default_rng(0)
        sizes = [(96, 96)] * 4 + [(64, 96)]
        self.names = [self.album.tag(rng.integers(0, 255, (*size, 3), np.uint8))[7:-1] for size in sizes]
        self.pictures = [np.array(self.vision.ids(name)) for name in self.names]
        self.pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def sequences(self) -> list[np.ndarray]:
        """Return six sequences: shared prefixes with pictures in and behind them, two in one, and none."""
        rng = np.random.default_rng(1)
        start, end = self.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|vision_end|>"])

        def words(num):
            return rng.integers(10, 300, num)

        def picture(number):
            return np.array([start, *self.pictures[number], end])

        head, other = words(7), words(5)
        stem = np.concatenate([head, picture(0), words(4)])
        return [
            np.concatenate([stem, picture(1), words(3)]),
            np.concatenate([stem, picture(2), words(5)]),
            np.concatenate([head, picture(0), words(2)]),
            np.concatenate([head, picture(3), words(4), picture(4), words(6)]),
            np.concatenate([other, picture(4), words(4)]),
            np.concatenate([other, words(9)]),
        ]

    def as_theirs(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Return what transformers' own forward takes for one sequence, (T,)."""
        shown = ids >= FIRST_ID
        plain = torch.as_tensor(np.where(shown, self.pad, ids))[None]
        given = {
            "input_ids": plain,
            "attention_mask": torch.ones_like(plain),
            "mm_token_type_ids": torch.as_tensor(shown.astype(np.int32))[None],
        }
        seen = [self.album.array(name) for name in self._shown(ids)]
        if seen:
            patches, grid = self.vision.patches(seen)
            given |= {"pixel_values": torch.as_tensor(patches), "image_grid_thw": torch.as_tensor(grid)}
        self.model.model.rope_deltas = None
        return given

    def _shown(self, ids: np.ndarray) -> list[str]:
        found, at = [], 0
        while at < len(ids):
            lengths = [len(p) for p in self.pictures if ids[at] == p[0]]
            found += [n for n, p in zip(self.names, self.pictures) if ids[at] == p[0]]
            at += lengths[0] if lengths else 1
        return found
