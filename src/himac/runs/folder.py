"""The run directory: its names, its writers, its readers.

    runs/NAME/
      config.toml        the resolved config
      recipe.toml        the recipe it came from (when there was one)
      machine.json       where it was started: processor, cores, versions
      metrics.jsonl      one line an iteration and an evaluation
      episodes.jsonl     one line an episode: turns, token ids, masks, log-probabilities, advantages
      images.jsonl       one line a picture that an episode saw: its name and its PNG (where the world shows any)
      evaluations/       one JSON per `himac eval`
      checkpoints/       iteration-000010/ ..., best -> which, last -> which
      curve.png          success over iterations

The .jsonl files only grow, and a checkpoint remembers how long they were. Resuming cuts them back
to that length, so a killed run leaves no half-told iteration behind. Readers stream and skip a broken
last line.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from himac.errors import DataError, MissingFileError
from himac.files import read_json, reading, writing
from himac.images import TAG, Album, data_url
from himac.runs.formats import read_line
from himac.runs.rows import Broken, is_episode, is_metrics, pieces
from himac.types import Row

CONFIG, RECIPE, METRICS, EPISODES = "config.toml", "recipe.toml", "metrics.jsonl", "episodes.jsonl"
IMAGES = "images.jsonl"
MACHINE, CHECKPOINTS, EVALUATIONS, CURVE = "machine.json", "checkpoints", "evaluations", "curve.png"
START = "start"  # folder of the model that the run starts from, when the run itself made it
WARMING = ".part-start"  # where it is made
_GO_ON = "free some space and go on with himac train --resume; the last checkpoint is whole"
_GOOD = {METRICS: is_metrics, EPISODES: is_episode}
_BLOCK = 2**16  # bytes that are read at once where a file's last line is looked for
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RunWriter:
    """Writes one run. What is appended is flushed at once, so a reader beside it sees whole lines.

    Args:
        folder: the run directory, made when absent.
        lengths: {file name: bytes} to cut the growing files back to; None starts them anew.
        album: holds the pictures that episodes name; None where there are none.

    Raises:
        RunError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, lengths: dict[str, int] | None = None, album: Album | None = None
    ) -> None:
        self.folder, self._album = folder, album
        self._files: dict[str, BinaryIO] = {}
        self._pictures: set[str] = set()  # whose PNG is written
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, EPISODES):
                self._open(name, (lengths or {}).get(name, 0))
            if (folder / IMAGES).is_file():
                self._open(IMAGES, (lengths or {}).get(IMAGES, 0))
                self._pictures = {str(row.get("image")) for row in read_rows(folder / IMAGES)}

    def metrics(self, row: Row) -> None:
        """Append one line of metrics."""
        self._append(METRICS, row)

    def episodes(self, rows: Sequence[Row]) -> None:
        """Append episodes (see `episode_row`), a line each."""
        lines = [_to_json(row) for row in rows]
        if self._album is not None:
            self._keep_pictures(lines, self._album)
        self._write(EPISODES, lines)

    def lengths(self) -> dict[str, int]:
        """Flush, and return how long each growing file is, in bytes."""
        with writing(self.folder, hint=_GO_ON):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            return {name: (self.folder / name).stat().st_size for name in self._files}

    def close(self) -> None:
        """Close the files."""
        with writing(self.folder, hint=_GO_ON):
            for file in self._files.values():
                file.close()

    def _open(self, name: str, length: int) -> None:
        path = self.folder / name
        path.touch()
        cut_back(path, length)
        # without a buffer of its own: what a full disk refused would be written again by close()
        self._files[name] = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def _keep_pictures(self, lines: Sequence[str], album: Album) -> None:
        """Write the pictures that some lines name and no line before did."""
        named = dict.fromkeys(name for line in lines for name in TAG.findall(line))
        new = [name for name in named if name not in self._pictures and name in album]
        if not new:
            return
        if IMAGES not in self._files:
            self._open(IMAGES, 0)
        self._write(IMAGES, [_to_json({"image": name, "png": data_url(album.png(name))}) for name in new])
        self._pictures.update(new)

    def _append(self, name: str, *rows: Row) -> None:
        self._write(name, [_to_json(row) for row in rows])

    def _write(self, name: str, lines: Sequence[str]) -> None:
        left = memoryview("".join(line + "\n" for line in lines).encode("utf-8", "replace"))
        with writing(self.folder / name, hint=_GO_ON):
            while left:  # a disk that is nearly full takes a part
                left = left[self._files[name].write(left) :]


def cut_back(path: Path, length: int | None = None) -> None:
    """Cut a file of lines to a length; without one, or where the file is shorter, to its last whole line."""
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if length is None or size < length:
            length = _whole_lines(file, size)
        file.truncate(length)


def _whole_lines(file: BinaryIO, size: int) -> int:
    """Return the bytes up to the last line's end, reading from the end: files grow to gigabytes."""
    end = size
    while end:
        begin = max(0, end - _BLOCK)
        file.seek(begin)
        if (at := file.read(end - begin).rfind(b"\n")) >= 0:
            return begin + at + 1
        end = begin
    return 0


def read_rows(path: Path, broken: Broken | None = None) -> Iterator[Row]:
    """Stream the good rows of a .jsonl file.

    Args:
        path: the file.
        broken: counts the others; the last line is none of them where its end is not written yet.

    Raises:
        MissingFileError: no such file.
        DataError: it cannot be read.
    """
    if not path.is_file():
        raise MissingFileError(f"no {path.name} in {str(path.parent)!r}", hint="is this a run directory?")
    is_good = _GOOD.get(path.name, bool)
    with reading(path), open(path, "rb") as file:
        for line in pieces(file):
            row = read_line(line)
            if row is not None and is_good(row):
                yield row
            elif broken is not None and line.endswith(b"\n") and line.strip():
                broken.add(path.name)


def rows_since(path: Path, length: int) -> Iterator[Row | None]:
    """Stream the rows of a .jsonl file behind its first `length` bytes; None ends them where one is damaged, or not all is there."""
    is_good = _GOOD[path.name]
    if not path.is_file() or path.stat().st_size < length:
        yield None
        return
    with reading(path), open(path, "rb") as file:
        file.seek(length)
        for line in pieces(file):
            row = read_line(line)
            if row is None or not line.endswith(b"\n") or not is_good(row):
                yield None
                return
            yield row


def read_images(folder: Path) -> Album:
    """Return the pictures that a run's episodes name; none where its world shows none. Damaged ones are left out."""
    album = Album()
    path = folder / IMAGES
    for row in read_rows(path) if path.is_file() else ():
        with contextlib.suppress(KeyError, ValueError):
            album.put(str(row["image"]), base64.b64decode(str(row["png"]).partition(",")[2], validate=True))
    return album


def maker_of(folder: Path) -> str:
    """Return the command that made a run: "himac train", "himac sft"; "" where its folder does not say."""
    try:
        told = read_json(folder / MACHINE)
    except DataError:
        return ""
    return str(told.get("made_by", "")) if isinstance(told, dict) else ""


def find_run(name: str | Path, root: str | Path = "runs") -> Path:
    """Return a run's directory, given its path or its name under `root`.

    Raises:
        MissingFileError: there is none.
    """
    for path in (Path(name), Path(root) / name):
        if (path / CONFIG).is_file():
            return path
    known = sorted(p.parent.name for p in Path(root).glob(f"*/{CONFIG}"))
    hint = f"runs here: {', '.join(known[-5:])}" if known else ""
    raise MissingFileError(f"no run at {str(name)!r}", hint=hint)
