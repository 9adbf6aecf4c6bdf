"""The official shop: where its files come from, how they are fetched. The functions print nothing.

WebShop publishes them on Google Drive. Left out: the catalogue of all products (5.5 GB; docs/webshop.md says where it is).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from himac.envs.fetch import Source, cache_folder, fetch
from himac.errors import DataError

_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
ITEMS, INSTRUCTIONS = "items_shuffle*.json", "items_ins_v2*.json"
"""What the files of either catalogue are called."""
FILES = (
    Source(
        name="items_shuffle_1000.json",
        url=f"{_DRIVE}1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib",
        size=4_467_013,
        sha256="30a4765c3a327af72d9a9a95a6b2486d516f0fa1d3ecd83681901ce82a21b269",
    ),
    Source(
        name="items_ins_v2_1000.json",
        url=f"{_DRIVE}1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu",
        size=147_099,
        sha256="f88a36314a397b53b3d9c3fa5878e5f7b26d35019a51ec83fbedeca61a948f6f",
    ),
    Source(
        name="items_human_ins.json",
        url=f"{_DRIVE}14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O",
        size=5_137_548,
        sha256="cf78667548a71786e1d9049c24b802e48e1084ad4bb021cae56ce1f6d96954a3",
    ),
)
"""The 1,000 products, their attributes, and the instructions that people wrote."""
SIZE = sum(file.size for file in FILES)


def data_folder() -> Path:
    """Return where the shop goes when no folder is named: `webshop` in himac's cache."""
    return cache_folder() / "webshop"


def is_there(folder: Path) -> bool:
    """Whether a folder holds a catalogue and its attributes."""
    return all(any(folder.glob(pattern)) for pattern in (ITEMS, INSTRUCTIONS))


def describe_download(folder: Path) -> list[str]:
    """Say what `download` will do, a line each."""
    return [
        f"fetching into {folder}, {SIZE / 1e6:.0f} MB:",
        *(f"  {file.name}: {file.url}" for file in FILES),
        "WebShop is MIT-licensed.",
    ]


def download(
    folder: Path,
    files: tuple[Source, ...] = FILES,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Fetch the files that are not there; what an earlier try left is gone on with.

    Args:
        folder: where they go.
        files: which.
        advance: told how many bytes have come.

    Raises:
        DataError: the network does not bring one, or it is another file.
        RunError: the folder cannot be written.
    """
    for file in files:
        fetch(file, folder, advance=advance)


def one(folder: Path, pattern: str) -> Path:
    """Return the smallest file that matches: the 1,000-product catalogue where both sizes lie together.

    Raises:
        DataError: none does.
    """
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_size)
    if not found:
        raise DataError(f"no {pattern} in {str(folder)!r}", hint="give the folder that holds both files")
    return found[0]
