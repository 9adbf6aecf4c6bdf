"""What a vision-language model makes of pictures: their tokens, their places, their features.

A picture of h x w patches' squares is h w tokens. Each has three positions, (t, t + row, t + column), and the next word
comes at t + max(h, w): Qwen's multi-axis rotary embedding. A token's position depends on what lies before it alone, so in
a prefix tree it is the same from whichever sequence it is read. Features are made once for each distinct picture.

Left out: video, pictures cut into tiles (SmolVLM, InternVL), attention in both directions among a picture's tokens (Gemma 3,
PaliGemma).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from himac.config import vision_settings
from himac.errors import ModelError
from himac.images import FIRST_ID, Album, image_ids
from himac.toml import Table
from himac.types import LanguageModel

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Model types whose pictures are read."""
KEPT_ELEMENTS = 2**28
"""Numbers of features that are kept of a frozen tower's pictures: half a gigabyte in bfloat16."""
_AT_ONCE = 256  # pictures that go through the tower together


@dataclass(frozen=True, slots=True)
class Sight:
    """Where the tokens of one sequence stand, and which of them are pictures'."""

    positions: np.ndarray  # (3, T) int64
    picture: np.ndarray  # (T,) int64, number of the picture; -1 for a word
    offset: np.ndarray  # (T,) int64, which of its tokens

    @property
    def shift(self) -> int:
        """Position of the next word, less its place in the sequence."""
        return int(self.positions.max(initial=-1)) + 1 - len(self.picture)

    def part(self, start: int, end: int) -> Sight:
        """Return the tokens from `start` to `end`."""
        return Sight(*(x[..., start:end] for x in (self.positions, self.picture, self.offset)))


Features = tuple[Tensor, ...]
"""What language layers take of a picture: (tokens, hidden) for the input, and as much for each deepstack layer."""


class Vision:
    """The eyes of one model.

    Args:
        model: a vision-language model of `FAMILIES`.
        processor: its image processor.
        album: where pictures are looked up by name.
        settings: the table `model.vision`.

    Raises:
        ModelError: the family's pictures cannot be read.
    """

    def __init__(
        self, model: LanguageModel, processor: Any, album: Album, settings: Table | None = None
    ) -> None:
        self.settings = vision_settings(settings or {})
        kind = unwrapped(model).config.model_type
        if kind not in FAMILIES:
            raise ModelError(
                f"the pictures of model type {kind!r} cannot be read; known: {', '.join(FAMILIES)}",
                hint="take one of these, or an environment that speaks",
            )
        self.album, self.processor = album, processor
        self._merge = int(unwrapped(model).config.vision_config.spatial_merge_size)
        self._grids: dict[tuple[int, int], tuple[int, int]] = {}  # by size in pixels
        self._numbers: dict[str, int] = {}  # by name
        self._names: list[str] = []
        self._by_ids: dict[tuple[int, ...], int] = {}
        self._kept: dict[int, Features] = {}  # of a tower that is frozen

    def ids(self, name: str) -> tuple[int, ...] | None:
        """Return a picture's ids; None for a name that is not in the album."""
        if name not in self.album:
            return None
        height, width = self.grid(name)
        ids = image_ids(name, height * width)
        if name not in self._numbers:
            self._by_ids[ids[:2]] = self._numbers[name] = len(self._names)
            self._names.append(name)
        return ids

    def grid(self, name: str) -> tuple[int, int]:
        """Return (rows, columns) of a picture's tokens, once it is resized.

        Raises:
            ModelError: the model's own processor takes no picture of that size.
        """
        size = self.album.size(name)
        if size not in self._grids:
            try:
                _, grid = self.patches([np.zeros((*size, 3), np.uint8)])
            except ValueError as error:
                raise ModelError(
                    f"the model's image processor refuses a picture {size[0]} pixels high and {size[1]} wide: {error}"
                ) from error
            self._grids[size] = (int(grid[0, 1]) // self._merge, int(grid[0, 2]) // self._merge)
        return self._grids[size]

    def patches(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return (patches of all pictures (P, values), their grids (pictures, 3)), as the model's own processor makes them."""
        # said, because of a picture one or three pixels high a processor guesses that its rows are the colours
        made = self.processor(
            images=list(images), input_data_format="channels_last", return_tensors="np", **self._sizes()
        )
        return made["pixel_values"], made["image_grid_thw"]

    def sight(self, ids: np.ndarray) -> Sight:
        """Return where the tokens of one sequence, (T,) from its start on, stand."""
        num = len(ids)
        positions = np.empty((3, num), np.int64)
        picture, offset = np.full(num, -1), np.zeros(num, np.int64)
        shown = np.asarray(ids) >= FIRST_ID
        edges = [0, *(np.flatnonzero(np.diff(shown)) + 1).tolist(), num]
        after = 0
        for start, end in itertools.pairwise(edges):
            if start == end:
                continue
            if not shown[start]:
                positions[:, start:end] = after + np.arange(end - start)
                after += end - start
                continue
            number = self._number_of(tuple(ids[start:end][:2].tolist()))  # a small one is one token
            rows, columns = self.grid(self._names[number])
            at = np.arange(end - start)
            picture[start:end], offset[start:end] = number, at
            positions[:, start:end] = after + np.stack([0 * at, at // columns, at % columns])
            after += max(rows, columns)
        return Sight(positions, picture, offset)

    def _number_of(self, ids: tuple[int, ...]) -> int:
        """Return the number of the picture whose ids begin so; one that was seen elsewhere is looked for in the album."""
        if ids not in self._by_ids:
            for name in self.album.names():
                self.ids(name)
        return self._by_ids[ids]

    def features(self, model: LanguageModel, numbers: Sequence[int]) -> dict[int, Features]:
        """Make the features of pictures; with gradient where gradients are on and the tower is not frozen."""
        if not self.settings.freeze:
            return self._made(model, numbers)
        missing = [number for number in numbers if number not in self._kept]
        with torch.no_grad():
            self._kept |= self._made(model, missing)
        found = {number: self._kept[number] for number in numbers}
        if missing:
            self._forget_oldest()
        return found

    def _forget_oldest(self) -> None:
        """Keep what a frozen tower made within bounds: a 7B model's features of a picture are half a megabyte."""
        sizes = {number: sum(part.numel() for part in parts) for number, parts in self._kept.items()}
        total = sum(sizes.values())
        for number, size in sizes.items():
            if total <= KEPT_ELEMENTS:
                return
            total -= size
            del self._kept[number]

    def _made(self, model: LanguageModel, numbers: Sequence[int]) -> dict[int, Features]:
        base = unwrapped(model).model
        like = next(base.visual.parameters())
        found: dict[int, Features] = {}
        for first in range(0, len(numbers), _AT_ONCE):
            some = numbers[first : first + _AT_ONCE]
            patches, grid = self.patches([self.album.array(self._names[number]) for number in some])
            out = base.get_image_features(
                torch.as_tensor(patches, dtype=like.dtype, device=like.device),
                torch.as_tensor(np.asarray(grid), device=like.device),
                return_dict=True,
            )
            deep = getattr(out, "deepstack_features", None) or []
            counts = [int(np.prod(row)) // self._merge**2 for row in np.asarray(grid)]
            whole = [
                torch.cat(tuple(out.pooler_output)),
                *(torch.cat(tuple(x)) if not torch.is_tensor(x) else x for x in deep),
            ]
            for number, *pieces in zip(some, *(part.split(counts) for part in whole), strict=True):
                found[number] = tuple(pieces)
        return found

    def _sizes(self) -> dict[str, Any]:
        own, limits = self.processor.size, self.settings
        if not limits.min_pixels and not limits.max_pixels:
            return {}
        return {
            "size": {
                "shortest_edge": limits.min_pixels or own["shortest_edge"],  # areas, whatever they are called
                "longest_edge": limits.max_pixels or own["longest_edge"],
            }
        }


@dataclass(slots=True)
class Look:
    """The pictures of one packed row, for `himac.models.reading.read`.

    Args:
        vision: makes features.
        picture: (T,) number of the picture that a token belongs to; -1 for a word.
        offset: (T,) which of its tokens.
        known: features that were made before and hold; new ones are put there. None: made for this row alone.
    """

    vision: Vision
    picture: np.ndarray
    offset: np.ndarray
    known: dict[int, Features] | None = None

    def rows(self, model: LanguageModel) -> tuple[Tensor, ...]:
        """Return the features of the row's image tokens in order, each (N, hidden)."""
        shown = self.picture >= 0
        distinct, which = np.unique(self.picture[shown], return_inverse=True)
        numbers: list[int] = distinct.tolist()
        known: Mapping[int, Features]
        if self.known is None:
            known = self.vision.features(model, numbers)
        else:
            self.known |= self.vision.features(model, [n for n in numbers if n not in self.known])
            known = self.known
        first = np.cumsum([0, *(len(known[n][0]) for n in numbers)])
        index = torch.as_tensor(first[which] + self.offset[shown], device=known[numbers[0]][0].device)
        depth = range(len(known[numbers[0]]))
        return tuple(torch.cat([known[n][part] for n in numbers])[index] for part in depth)


def seen_in(parts: Sequence[Sight], vision: Vision, known: dict[int, Features]) -> tuple[np.ndarray, Look]:
    """Lay parts of sequences side by side; return where their tokens stand, (3, T), and their pictures."""
    positions, picture, offset = (
        np.concatenate([getattr(part, name) for part in parts], axis=-1)
        for name in ("positions", "picture", "offset")
    )
    return positions, Look(vision, picture, offset, known)


def sees(model: LanguageModel) -> bool:
    """Whether a model's pictures are read. Another one with a tower plays in worlds of text, and its tower rests."""
    return unwrapped(model).config.model_type in FAMILIES


def has_tower(model: LanguageModel) -> bool:
    """Whether a model has a vision tower, whether its pictures are read or not."""
    return hasattr(unwrapped(model).config, "vision_config")


def words_alone(model: LanguageModel) -> str:
    """Return the name of the module that handles words, within a model with a tower; "" where none is set apart."""
    inner = unwrapped(model)
    decoder = inner.get_decoder()
    return next((name for name, module in inner.named_modules() if module is decoder), "")


def unwrapped(model: LanguageModel) -> LanguageModel:
    """Return the model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
