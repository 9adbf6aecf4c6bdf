"""Sokoban: push every box onto a target. `make` builds the environment.

Read in this order: rules (bit masks, one step, one reward), text, env, generate (reverse play), levels
(fixed splits, level files), solve (push A*), expert (sub-goals), batch (many levels at once), images.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.levels import FileLevels, GeneratedLevels, LevelSource, find_levels
from himac.envs.splits import SPLITS
from himac.toml import Number, Positive, at_least

__all__ = ["SokobanEnv", "SokobanSettings", "make"]

_SIZES = {"train": 10_000, "val": 256, "test": 512}


Side = Annotated[int, at_least(5, 30)]  # generated in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SokobanSettings:
    """Sokoban's settings; the defaults are the published agents'."""

    size: tuple[Side, Side] = (6, 6)  # rows and columns of generated levels, walls included
    boxes: Annotated[int, at_least(1, 12)] = 1  # boxes of generated levels
    search_depth: Annotated[int, at_least(2, 1000)] = 30  # of the reverse search that generates them
    max_steps: Positive = 15  # environment steps until the episode is truncated
    # form of the text; "image": none, the agent sees a picture alone
    observation: Literal["grid", "coord", "grid_coord", "near", "words", "published", "image"] = "grid"
    image: bool = False  # whether observations carry a picture that viewers may show, beside their text
    cell_pixels: Annotated[int, at_least(4, 256)] = 16  # of a picture's cell, both ways
    levels: str | None = None  # level file or folder (XSB, Boxoban), in place of generated levels
    train: Number | None = None  # tasks; left out: 10,000, or all that the level files hold
    val: Number | None = None  # left out: 256
    test: Number | None = None  # left out: 512


def make(settings: SokobanSettings) -> SokobanEnv:
    """Make a Sokoban environment.

    Raises:
        MissingFileError, DataError: the level files are absent or damaged.
    """
    num: dict[str, int | None] = {"train": settings.train, "val": settings.val, "test": settings.test}
    source: LevelSource
    if settings.levels is not None:
        if (settings.size, settings.boxes, settings.search_depth) != ((6, 6), 1, 30):
            warnings.warn(
                "env.size, env.boxes and env.search_depth have no effect: the levels come from env.levels",
                stacklevel=2,
            )
        source = FileLevels(find_levels(Path(settings.levels).expanduser()), num=num)
    else:
        source = GeneratedLevels(
            size=settings.size,
            boxes=settings.boxes,
            search_depth=settings.search_depth,
            num={split: num[split] or _SIZES[split] for split in SPLITS},
        )
    return SokobanEnv(
        source,
        max_steps=settings.max_steps,
        observation=settings.observation,
        image=settings.image,
        one_box=settings.levels is None and settings.boxes == 1,
        cell_pixels=settings.cell_pixels,
    )
