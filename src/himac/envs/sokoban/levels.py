"""Where levels come from: fixed generated sets, and level files of the Boxoban kind.

A board (in any of its eight rotations and mirror images) belongs to one split by its hash. So no
test level is a training level, not even one seen in a mirror, whatever the sizes of the sets, and level `i`
of a split is found without making the ones before it.

The levels of a split are independent draws, so on very small boards some occur more than once (6x6 with
one box: about one in four of 2,000).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from himac.envs.sokoban.generate import generate_level
from himac.envs.sokoban.rules import Level
from himac.envs.sokoban.text import cell_codes, is_of_symbols, parse_level
from himac.envs.splits import SEALED, SPLITS, rng_from, split_of
from himac.errors import ConfigError, DataError, MissingFileError
from himac.files import reason

_ENDINGS = (".txt", ".xsb", ".sok", ".sokoban")
_FOLDERS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}


class LevelSource(Protocol):
    """Gives the levels of each split."""

    seals: bool  # whether it has levels of a split "sealed", as many as in "test"

    def num_levels(self, split: str) -> int:
        """Return the size of a split."""
        ...

    def level(self, split: str, index: int) -> Level:
        """Return one level."""
        ...


class GeneratedLevels:
    """Levels made on demand, each from a seed of its own, and kept."""

    seals = True

    def __init__(self, *, size: tuple[int, int], boxes: int, search_depth: int, num: dict[str, int]) -> None:
        self._size, self._boxes, self._search_depth = size, boxes, search_depth
        self._num = num

    def num_levels(self, split: str) -> int:
        """Return the size of a split."""
        return self._num["test" if split == SEALED else split]

    def level(self, split: str, index: int) -> Level:
        """Return one level; the same for the same settings on every machine."""
        if split == SEALED:
            return _sealed(index, self._size, self._boxes, self._search_depth, self._num["test"])
        return _generated(split, index, self._size, self._boxes, self._search_depth)


class FileLevels:
    """Levels read from files."""

    seals = False

    def __init__(self, levels: dict[str, tuple[Level, ...]], *, num: dict[str, int | None]) -> None:
        self._levels = {}
        for split, found in levels.items():
            wanted = num[split]
            if wanted is not None and wanted > len(found):
                raise ConfigError(
                    f"env.{split} asks for {wanted} levels, but the level files hold {len(found)} for {split}"
                )
            self._levels[split] = found[:wanted]

    def num_levels(self, split: str) -> int:
        """Return the size of a split."""
        return len(self._levels[split])

    def level(self, split: str, index: int) -> Level:
        """Return one level."""
        return self._levels[split][index]


@lru_cache(maxsize=65536)
def _generated(split: str, index: int, size: tuple[int, int], boxes: int, search_depth: int) -> Level:
    rng = rng_from("sokoban", *size, boxes, search_depth, split, index)
    while True:
        level = generate_level(rng, size=size, boxes=boxes, search_depth=search_depth)
        if split_of(board_identity(level)) == split:
            return level


@lru_cache(maxsize=65536)
def _sealed(index: int, size: tuple[int, int], boxes: int, search_depth: int, test: int) -> Level:
    """Return a level of the sealed split: held out as the test split's are, from other seeds, and none of its boards."""
    rng = rng_from("sokoban", SEALED, *size, boxes, search_depth, index)
    for _ in range(10_000):
        level = generate_level(rng, size=size, boxes=boxes, search_depth=search_depth)
        board = board_identity(level)
        if split_of(board) == "test" and board not in _test_boards(size, boxes, search_depth, test):
            return level
    raise ConfigError(f"sokoban has too few boards of {size[0]}x{size[1]} for a sealed split of {test}")


@lru_cache(maxsize=8)
def _test_boards(size: tuple[int, int], boxes: int, search_depth: int, test: int) -> frozenset[bytes]:
    return frozenset(
        board_identity(_generated("test", index, size, boxes, search_depth)) for index in range(test)
    )


def board_identity(level: Level) -> bytes:
    """Return bytes that are the same for a board and all its rotations and mirror images, and for no other."""
    codes = np.array(cell_codes(level, level.start), dtype=np.uint8)
    turned = [np.rot90(codes, turns) for turns in range(4)]
    images = turned + [image.T for image in turned]
    return min(bytes(image.shape) + image.tobytes() for image in images)


def read_levels(path: Path) -> list[Level]:
    """Read a level file as people have them: boards in XSB, whatever stands between them, with or without a mark.

    A line is a row of a board when it holds a wall and nothing but symbols, or begins with a wall and is no sentence;
    titles, comments and empty lines end a board.

    Raises:
        MissingFileError: no such file.
        DataError: a level that cannot be read, named by file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise MissingFileError(f"no Sokoban level file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file: {error.reason} at byte {error.start}") from None
    levels: list[Level] = []
    block: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if _is_row(line):
            block.append(line.rstrip())
        elif block:
            try:
                levels.append(parse_level(block))
            except DataError as error:
                raise DataError(f"{path}, level at line {number - len(block)}: {error}") from None
            block = []
    if not levels:
        raise DataError(
            f"{path} holds no Sokoban level", hint="expected boards made of # . $ * @ + and spaces"
        )
    return levels


def _is_row(line: str) -> bool:
    """Whether a line is a row of a board."""
    if "#" not in line or line.startswith(";"):
        return False
    return is_of_symbols(line) or (line.lstrip().startswith("#") and not re.search(r"[a-z]{3}", line[:200]))


@lru_cache(maxsize=16)
def find_levels(path: Path) -> dict[str, tuple[Level, ...]]:
    """Read the levels of a file or folder, by split.

    A folder with subfolders named train, valid (or val) and test gives those splits; in any other case each
    level goes to the split of its board.

    Raises:
        MissingFileError: no such file or folder, or a folder without .txt files.
        DataError: a level that cannot be read.
    """
    if not path.exists():
        raise MissingFileError(f"no Sokoban level file or folder {path}")
    folders = {
        split: path / name for split, names in _FOLDERS.items() for name in names if (path / name).is_dir()
    }
    if folders:
        return {split: tuple(_read_all(folders[split])) if split in folders else () for split in SPLITS}
    by_split: dict[str, list[Level]] = {split: [] for split in SPLITS}
    for level in _read_all(path):
        by_split[split_of(board_identity(level))].append(level)
    return {split: tuple(found) for split, found in by_split.items()}


def _read_all(path: Path) -> Sequence[Level]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if path.is_dir():
        files = [file for file in files if file.suffix.lower() in _ENDINGS and file.is_file()]
        files = [file for file in files if file.stem.lower() not in ("license", "licence", "readme")]
    if not files:
        raise MissingFileError(f"no level file in {path}", hint=f"they end in {', '.join(_ENDINGS)}")
    return [level for file in files for level in read_levels(file)]
