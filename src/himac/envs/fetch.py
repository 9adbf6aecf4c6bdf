"""Files of a benchmark from where it publishes them: exactly those we know, or none.

A file is known by its size and SHA-256. It comes in parts where a connection breaks, and takes its name when it is whole; a
file that somebody put in its place by hand is taken as well. Of an archive only what we name is unpacked, into its folder and
nowhere else. Left out: what a benchmark's files mean.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from himac.errors import DataError
from himac.files import make_folder, reading, reason, sync, writing

_BLOCK = 1 << 18
_SILENCE_S = 60.0
_MOST_BYTES, _MOST_FILES = 4 << 30, 50_000  # unpacked; ALFWorld's games are 3,827 files


def cache_folder() -> Path:
    """Return himac's cache folder: $HIMAC_CACHE, else ~/.cache/himac."""
    return Path(os.environ.get("HIMAC_CACHE") or Path.home() / ".cache" / "himac")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A published file."""

    name: str  # what it is called here
    url: str
    size: int  # bytes
    sha256: str


def fetch(source: Source, folder: Path, *, advance: Callable[[int], None] = lambda count: None) -> Path:
    """Bring a file into a folder, or find it there; go on with what an earlier try left.

    Args:
        source: which file.
        folder: where it goes; made when absent.
        advance: told how many bytes have come.

    Raises:
        DataError: the network does not bring it, or what is there is another file.
        RunError: the folder cannot be written.
    """
    path, part = folder / source.name, folder / f".part-{source.name}"
    if path.is_file():
        advance(source.size)
        if _digest(path) != source.sha256:
            raise DataError(
                f"{str(path)!r} is not the published file: its sha256 is not {source.sha256}",
                hint="take it away, and run this again",
            )
        return path
    make_folder(folder)
    with writing(part), part.open("ab") as file:
        advance(min(file.tell(), source.size))
        if file.tell() < source.size:
            _receive(source, file, path, advance)
        came = file.tell()
    if came < source.size:
        raise DataError(
            f"{source.url} broke off after {came:,} of {source.size:,} bytes",
            hint="run this again: it goes on from there",
        )
    if _digest(part) != source.sha256:
        with writing(part):
            part.unlink()
        raise DataError(
            f"{source.url} sent another file: its sha256 is not {source.sha256}", hint=_by_hand(source, path)
        )
    with writing(path):
        sync(part)
        os.replace(part, path)
    return path


def unpack(archive: Path, folder: Path, wanted: Callable[[PurePosixPath], bool]) -> int:
    """Unpack the files that are wanted below a folder, and return how many; one that lies there is replaced.

    They are unpacked beside it first: after a kill nothing of them is in the folder.

    Args:
        archive: a zip file.
        folder: what the names in it are relative to.
        wanted: whether to take a file.

    Raises:
        DataError: it is damaged, or holds what no such archive holds.
        RunError: the folder cannot be written.
    """
    part = folder / f".part-{archive.stem}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with writing(part, hint="free some space, and run this again"), zipfile.ZipFile(archive) as packed:
            infos = [info for info in packed.infolist() if not info.is_dir() and wanted(_inside(info))]
            if len(infos) > _MOST_FILES or sum(info.file_size for info in infos) > _MOST_BYTES:
                raise DataError(f"{str(archive)!r} unpacks to more than {_MOST_BYTES >> 30} GB")
            for info in infos:
                packed.extract(info, part)  # checks its CRC, and reads no more than file_size
            for info in infos:
                target = folder / _inside(info)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part / _inside(info), target)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise DataError(f"{str(archive)!r} is damaged: {reason(error)}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(infos)


def _receive(source: Source, file: BinaryIO, path: Path, advance: Callable[[int], None]) -> None:
    """Append to a file what is missing of a source, and no more; less where the connection breaks."""
    begun = file.tell()
    request = urllib.request.Request(source.url, headers={"User-Agent": "himac"})
    if begun:
        request.add_header("Range", f"bytes={begun}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_SILENCE_S)
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "code", 0) == 416:  # no such range: what is here is not a part of it
            file.truncate(0)
        told = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else _cause(error)
        raise DataError(f"cannot fetch {source.url}: {told}", hint=_by_hand(source, path)) from error
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise DataError(f"{source.url} answered with a page, not a file", hint=_by_hand(source, path))
        if begun and not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
            advance(-begun)  # it knows no ranges, and begins anew
            file.truncate(0)
        while missing := source.size - file.tell():
            try:
                block = answer.read(min(_BLOCK, missing))
            except (OSError, http.client.HTTPException):
                return
            if not block:
                return
            file.write(block)
            advance(len(block))


def _cause(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    return reason(inner) if isinstance(inner, BaseException) else str(inner)


def _by_hand(source: Source, path: Path) -> str:
    return f"fetch it elsewhere, put it at {path}, and run this again"


def _digest(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(info: zipfile.ZipInfo) -> PurePosixPath:
    """Return a member's path, which must be one inside the archive and of an ordinary file."""
    path = PurePosixPath(info.filename)
    is_file = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in info.filename
        or ":" in info.filename
        or not is_file
    ):
        raise DataError(f"the archive holds {info.filename!r}, which is no ordinary file inside it")
    return path
