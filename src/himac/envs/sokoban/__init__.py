"""Sokoban: push every box onto a target. `make` builds the environment, `expert` its solver.

Read in this order: rules (bit masks, one step, one reward), text, env, generate (reverse play), levels
(fixed splits, level files), solve (push A*), expert (sub-goals), batch (many levels at once), images.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from himac.envs.sokoban.env import SokobanEnv
from himac.envs.sokoban.expert import SokobanExpert
from himac.envs.sokoban.levels import FileLevels, GeneratedLevels, LevelSource, find_levels
from himac.envs.sokoban.text import FORMS
from himac.envs.splits import SPLITS
from himac.errors import ConfigError, closest

__all__ = ["SokobanEnv", "SokobanExpert", "expert", "make"]

_SIZES = {"train": 10_000, "val": 256, "test": 512}


def make(
    *,
    size: tuple[int, int] = (6, 6),
    boxes: int = 1,
    search_depth: int = 30,
    max_steps: int = 15,
    observation: str = "grid",
    image: bool = False,
    levels: str | Path | None = None,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
) -> SokobanEnv:
    """Make a Sokoban environment. The defaults are the published agents' setting.

    Args:
        size: rows and columns of generated levels, walls included; at least 5 each.
        boxes: boxes of generated levels.
        search_depth: of the reverse search that generates them.
        max_steps: environment steps until the episode is truncated.
        observation: form of the text, one of "grid", "coord", "grid_coord", "near", "words", "published".
        image: whether observations carry an RGB image, 16 pixels a cell.
        levels: level file or folder (XSB, Boxoban); size, boxes and search_depth then have no effect.
        train, val, test: number of tasks; None is 10,000, 256 and 512, or all that the level files hold.

    Raises:
        ConfigError: a setting is out of range.
        MissingFileError, DataError: the level files are absent or damaged.
    """
    if observation not in FORMS:
        raise ConfigError(
            f"env.observation must be one of {', '.join(FORMS)}, got {observation!r}{closest(observation, FORMS)}"
        )
    num: dict[str, int | None] = {"train": train, "val": val, "test": test}
    limits = {"boxes": boxes, "max_steps": max_steps, **{k: n for k, n in num.items() if n is not None}}
    for name, number in limits.items():
        if not isinstance(number, int) or number < 1:
            raise ConfigError(f"env.{name} must be a whole number of at least 1, got {number!r}")
    if not _is_size(size):
        raise ConfigError(f"env.size must be two whole numbers of at least 5 (rows, columns), got {size!r}")
    if not isinstance(search_depth, int) or search_depth < 2:
        raise ConfigError(f"env.search_depth must be a whole number of at least 2, got {search_depth!r}")
    source: LevelSource
    if levels is not None:
        if (tuple(size), boxes, search_depth) != ((6, 6), 1, 30):
            warnings.warn(
                "env.size, env.boxes and env.search_depth have no effect: the levels come from env.levels",
                stacklevel=2,
            )
        source = FileLevels(find_levels(Path(levels).expanduser()), num=num)
    else:
        source = GeneratedLevels(
            size=(size[0], size[1]),
            boxes=boxes,
            search_depth=search_depth,
            num={split: num[split] or _SIZES[split] for split in SPLITS},
        )
    one_box = levels is None and boxes == 1
    return SokobanEnv(source, max_steps=max_steps, observation=observation, image=image, one_box=one_box)


def expert(env: SokobanEnv) -> SokobanExpert:
    """Return the solver that demonstrates in `env`."""
    return SokobanExpert(env)


def _is_size(size: object) -> bool:
    """Return whether this is a pair (tuple, or list as TOML gives it) of whole numbers of at least 5."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        return False
    return all(isinstance(side, int) and side >= 5 for side in size)
