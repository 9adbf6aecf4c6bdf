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
from typing import TextIO

from himac.errors import MissingFileError, RunError
from himac.images import TAG, Album, data_url
from himac.runs.formats import read_line
from himac.types import Row

CONFIG, RECIPE, METRICS, EPISODES = "config.toml", "recipe.toml", "metrics.jsonl", "episodes.jsonl"
IMAGES = "images.jsonl"
MACHINE, CHECKPOINTS, EVALUATIONS, CURVE = "machine.json", "checkpoints", "evaluations", "curve.png"
START = "start"  # folder of the model that the run starts from, when the run itself made it
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
        self._files: dict[str, TextIO] = {}
        self._pictures: set[str] = set()  # whose PNG is written
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, EPISODES):
                self._open(name, (lengths or {}).get(name, 0))
            if (folder / IMAGES).is_file():
                self._open(IMAGES, (lengths or {}).get(IMAGES, 0))
                self._pictures = {row["image"] for row in read_rows(folder / IMAGES)}
        except OSError as error:
            raise RunError(f"cannot write the run folder {str(folder)!r}: {error}") from error

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
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: (self.folder / name).stat().st_size for name in self._files}

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _open(self, name: str, length: int) -> None:
        path = self.folder / name
        path.touch()
        cut_back(path, length)
        self._files[name] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

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
        try:
            self._files[name].write("".join(line + "\n" for line in lines))
            self._files[name].flush()
        except OSError as error:
            raise RunError(
                f"cannot write {str(self.folder / name)!r}: {error}",
                hint="free some space and go on with himac train --resume; the last checkpoint is whole",
            ) from error


def cut_back(path: Path, length: int | None = None) -> None:
    """Cut a file of lines to a length; without one, or where the file is shorter, to its last whole line."""
    with open(path, "rb+") as file:
        if length is None or path.stat().st_size < length:
            length = file.read().rfind(b"\n") + 1
        file.truncate(length)


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically: it is either the old one or the new one, whole.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunError(f"cannot write {str(path)!r}: {error}") from error


def read_rows(path: Path) -> Iterator[Row]:
    """Stream the rows of a .jsonl file; a broken line (a run killed while writing) is skipped."""
    if not path.is_file():
        raise MissingFileError(f"no {path.name} in {str(path.parent)!r}", hint="is this a run directory?")
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if (row := read_line(line)) is not None:
                yield row


def read_images(folder: Path) -> Album:
    """Return the pictures that a run's episodes name; none where its world shows none. Damaged ones are left out."""
    album = Album()
    path = folder / IMAGES
    for row in read_rows(path) if path.is_file() else ():
        with contextlib.suppress(KeyError, ValueError):
            album.put(str(row["image"]), base64.b64decode(str(row["png"]).partition(",")[2], validate=True))
    return album


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
