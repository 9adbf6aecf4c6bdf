"""The official games: where they come from, how they are fetched, whether they are all there.

Himac ships no official game and downloads none by itself; ALFWorld's own downloader does it, and
himac says beforehand what it will fetch and afterwards what it found. The functions print nothing.

Left out: the command line (`himac data alfworld`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from himac.envs.alfworld.catalog import index_file, open_catalog
from himac.envs.alfworld.games import OFFICIAL_COUNTS
from himac.errors import DataError, missing_extra

RELEASES = "https://github.com/alfworld/alfworld/releases/download"
DOWNLOADS = (
    f"{RELEASES}/0.2.2/json_2.1.1_json.zip",
    f"{RELEASES}/0.2.2/json_2.1.1_pddl.zip",
    f"{RELEASES}/0.4.0/json_2.1.2_tw-pddl.zip",
    f"{RELEASES}/0.2.2/mrcnn_alfred_objects_sep13_004.pth",
)
"""What `alfworld-download` of ALFWorld 0.4.2 fetches. The games are in the third; himac needs no other."""


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
        f"alfworld-download will fetch into {folder}:",
        *(f"  {url}" for url in DOWNLOADS),
        "ALFWorld and ALFRED are MIT-licensed. The downloader belongs to the package 'alfworld'.",
    ]


def download(folder: Path) -> None:
    """Fetch the official games with ALFWorld's own downloader; what is already there is kept.

    Raises:
        MissingExtraError: the package `alfworld` is not installed.
        DataError: the downloader failed.
    """
    beside = Path(sys.executable).parent / "alfworld-download"
    script = str(beside) if beside.exists() else shutil.which("alfworld-download")
    if script is None:
        raise missing_extra("alfworld", "textworld", "downloading ALFWorld's games")
    done = subprocess.run([script, "--data-dir", str(folder)], check=False)
    if done.returncode != 0:
        raise DataError(
            f"alfworld-download ended with status {done.returncode}",
            hint="its own message stands above; run it again, it resumes where it stopped",
        )


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
