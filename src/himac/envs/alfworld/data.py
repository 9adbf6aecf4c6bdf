"""The official games: where they come from, how they are fetched, whether they are all there.

himac ships no official game and downloads none by itself: `himac data alfworld` does, from ALFWorld's own release, and needs
nothing of the package `alfworld` for it. The functions print nothing.

Left out: the command line; the trajectories and the detector's weights, which only ALFWorld's own loaders read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from himac.envs.alfworld.catalog import GAME_FILE, KNOWN_SPLITS, has_games, index_file, open_catalog
from himac.envs.alfworld.games import OFFICIAL_COUNTS
from himac.envs.fetch import Source, fetch, unpack
from himac.files import writing

GAMES = Source(
    name="json_2.1.3_tw-pddl.zip",
    url="https://github.com/alfworld/alfworld/releases/download/0.4.2/json_2.1.3_tw-pddl.zip",
    size=36_507_267,
    sha256="5df77ea759f2211a4106082839ddbbb790f1ba4e7d097ed732cf453f72aa36cf",
)
"""The games of ALFWorld 0.4.2. Its package on the index, of the same number, still fetches those of 0.4.0."""
_ROOT = "json_2.1.1"  # the archive's folder, whatever the archive's own number


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found at a path."""

    folder: Path
    counts: dict[str, int]  # split -> playable games
    unsolvable: int  # games that ALFWorld itself marks as unsolvable and passes over
    skipped: tuple[str, ...]  # one line for each damaged or foreign file
    index: Path  # the index file that makes the next start quick

    @property
    def complete(self) -> bool:
        """Whether each official split has as many games as it should."""
        return all(self.counts.get(split) == number for split, number in OFFICIAL_COUNTS.items())

    def lines(self) -> list[str]:
        """Say it in words, a line each."""
        told = [f"ALFWorld games at {self.folder}"]
        for split in dict.fromkeys((*OFFICIAL_COUNTS, *self.counts)):
            number, wanted = self.counts.get(split, 0), OFFICIAL_COUNTS.get(split)
            note = "" if wanted is None else " (complete)" if number == wanted else f" (officially {wanted})"
            told.append(f"  {split}: {number} games{note}")
        if self.unsolvable:
            told.append(f"  {self.unsolvable} games are marked unsolvable and passed over, as in ALFWorld")
        told += [f"  skipped: {line}" for line in self.skipped]
        return [*told, f"  index: {self.index}"]


def data_folder() -> Path:
    """Return where ALFWorld keeps its data: $ALFWORLD_DATA, else ~/.cache/alfworld."""
    return Path(os.environ.get("ALFWORLD_DATA") or Path.home() / ".cache" / "alfworld")


def describe_download(folder: Path) -> list[str]:
    """Say what `download` will do, a line each."""
    return [
        f"fetching into {folder}: {GAMES.url} ({GAMES.size / 1e6:.0f} MB)",
        "ALFWorld and ALFRED are MIT-licensed.",
    ]


def is_there(folder: Path) -> bool:
    """Whether the games lie in a folder, and not only a part of them: the archive goes when all are unpacked."""
    return folder.exists() and not (folder / GAMES.name).is_file() and has_games(folder)


def download(
    folder: Path, source: Source = GAMES, *, advance: Callable[[int], None] = lambda count: None
) -> int:
    """Fetch and unpack the official games; return how many. A try that was stopped is gone on with.

    Args:
        folder: where `json_2.1.1` goes.
        source: the archive.
        advance: told how many bytes have come.

    Raises:
        DataError: the network does not bring it, or it is another file.
        RunError: the folder cannot be written.
    """
    archive = fetch(source, folder, advance=advance)
    number = unpack(archive, folder, _is_game)
    with writing(archive):
        archive.unlink()
    return number


def _is_game(path: PurePosixPath) -> bool:
    return path.parts[:1] == (_ROOT,) and path.parts[1] in KNOWN_SPLITS and path.name == GAME_FILE


def prepare(path: Path) -> Report:
    """Read every game at `path` once, remember which are playable, and report what was found.

    Raises:
        MissingFileError: `path` does not exist.
        DataError: no playable game there.
    """
    catalog = open_catalog(path, thorough=True)
    return Report(
        folder=catalog.root,
        counts={split: len(entries) for split, entries in catalog.splits.items()},
        unsolvable=catalog.unsolvable,
        skipped=catalog.skipped,
        index=index_file(catalog.root),
    )
