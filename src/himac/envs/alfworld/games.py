"""Where an environment's games come from: files, or the generator. Compiled games are shared by everyone.

A source knows its splits, the task type of every game without compiling it, and how to start a
world for one of them. Which engine plays is decided here and nowhere else.

Left out: what an episode is (`env`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from himac.envs.alfworld.catalog import GAME_FILE, KNOWN_SPLITS, SPLITS, Catalog, Entry, open_catalog
from himac.envs.alfworld.game import Game, load_game
from himac.envs.alfworld.generate import Settings, generated_game, kinds_of, make_content
from himac.envs.alfworld.world import World
from himac.envs.splits import SEALED, seed_from

OFFICIAL_COUNTS = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""How many games the official splits have; generated splits have as many unless told otherwise."""

MAX_SHARED_GAMES = 512
"""Compiled games kept for the next reset; one takes about 0.1 MB."""


class Playable(Protocol):
    """One play of one game: `world.World`, or TextWorld behind the same four names."""

    admissible: tuple[str, ...]
    won: bool

    def intro(self) -> str:
        """Begin; return the first text."""
        ...

    def step(self, command: str) -> str:
        """Carry out a command; return what the world says."""
        ...


class Source(Protocol):
    """A set of games in splits."""

    splits: tuple[str, ...]
    seals: bool  # whether it has games of a split "sealed"

    def kinds(self, split: str) -> Sequence[str]:
        """Return the task type of each of the split's games, in their fixed order."""
        ...

    def game(self, split: str, index: int) -> Game:
        """Return one compiled game."""
        ...

    def file(self, split: str, index: int) -> Path:
        """Return one game as a file that TextWorld can load."""
        ...


class FileGames:
    """Games found in files."""

    seals = False

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.splits = tuple(catalog.splits)
        self._kinds = {
            name: tuple(entry.kind for entry in entries) for name, entries in catalog.splits.items()
        }

    def kinds(self, split: str) -> Sequence[str]:
        """See `Source.kinds`."""
        return self._kinds[split]

    def game(self, split: str, index: int) -> Game:
        """See `Source.game`."""
        return _loaded(str(self.file(split, index)))

    def file(self, split: str, index: int) -> Path:
        """See `Source.file`."""
        return self.catalog.root / self.entry(split, index).path

    def entry(self, split: str, index: int) -> Entry:
        """Return what the catalog knows about one game."""
        return self.catalog.splits[split][index]


class GeneratedGames:
    """Games made on the fly from a seed.

    The sealed split is the unseen kitchens of another seed, as many as this one's, in layouts that are none of this one's.
    """

    seals = True

    def __init__(self, settings: Settings, counts: dict[str, int]) -> None:
        self.settings = settings
        self._sealed = replace(
            settings, seed=seed_from("alfworld", SEALED, settings.seed), apart_from=settings.seed
        )
        self.counts = counts
        self.splits: tuple[str, ...] = SPLITS
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def kinds(self, split: str) -> Sequence[str]:
        """See `Source.kinds`."""
        settings, drawn = self._drawn_from(split)
        return kinds_of(settings, drawn, self.counts[drawn])

    def game(self, split: str, index: int) -> Game:
        """See `Source.game`."""
        settings, drawn = self._drawn_from(split)
        return generated_game(settings, drawn, index, self.kinds(split)[index])

    def file(self, split: str, index: int) -> Path:
        """See `Source.file`."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="himac-alfworld-")
        home = Path(self._folder.name) / split / str(index)
        if not home.exists():
            settings, drawn = self._drawn_from(split)
            content = make_content(settings, drawn, index, self.kinds(split)[index])
            home.mkdir(parents=True)
            (home / GAME_FILE).write_text(json.dumps(content), encoding="utf-8")
        return home / GAME_FILE

    def _drawn_from(self, split: str) -> tuple[Settings, str]:
        """Return the generator's settings, and the split it makes."""
        return (self._sealed, "valid_unseen") if split == SEALED else (self.settings, split)


_opened: WeakValueDictionary[tuple[str, ...], FileGames] = WeakValueDictionary()
"""Sources in use, so that a thousand environments on one folder share one catalog."""


def open_games(path: Path) -> FileGames:
    """Return the games at `path`; environments alive at the same time share them.

    Raises:
        MissingFileError: `path` does not exist.
        DataError: no playable game there.
    """
    folders = [
        path,
        *(path / "json_2.1.1" / name for name in KNOWN_SPLITS),
        *(path / name for name in KNOWN_SPLITS),
    ]
    key = (str(path.resolve()), *(str(folder.stat().st_mtime_ns) for folder in folders if folder.exists()))
    source = _opened.get(key)
    if source is None:
        source = _opened[key] = FileGames(open_catalog(path))
    return source


def start(source: Source, split: str, index: int, engine: str) -> Playable:
    """Begin a play of one game with the chosen engine ("himac" or "textworld")."""
    if engine == "textworld":
        from himac.envs.alfworld.reference import TextworldWorld

        return TextworldWorld(source.file(split, index))
    return World(source.game(split, index))


@lru_cache(maxsize=MAX_SHARED_GAMES)
def _loaded(path: str) -> Game:
    return load_game(Path(path))
