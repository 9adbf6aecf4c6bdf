"""The one door to files: what is written is whole or not there, and what goes wrong is one line.

Disks fill, folders are read-only, files are cut, machines lose power. Whoever writes or reads for a user does it
through here, so that each of these is said once, in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from himac.errors import DataError, HimacError, RunError

LOCK = ".lock"
"""Says who works in a folder; empty when nobody does."""
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}  # what a lock that somebody holds answers, by system
_LOCKED_AT = 1 << 30  # on Windows a locked byte cannot be read: one that the file does not have is locked


def parse_json(text: str | bytes) -> Any:
    """Return a JSON value; whatever is wrong with it is a ValueError, too deep a nesting included.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return a TOML document; whatever is wrong with it is a ValueError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_text(path: Path) -> str:
    """Read a text file, with or without a byte order mark.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    return str(_read(path, lambda: path.read_text(encoding="utf-8-sig")))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    return _read(path, lambda: parse_json(path.read_text(encoding="utf-8-sig")))


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a small file atomically: it is either the old one or the new one, whole, also after a power cut.

    Args:
        path: the file.
        text: what it will hold.
        durable: wait for the disk; without, a power cut may lose it, and a kill may not.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_with(path, lambda part: part.write_text(text, encoding="utf-8"), durable=durable)


def write_with(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Write a file atomically with a function that takes a path: of a part beside it, which then takes its place.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    part = path.with_name(f".part-{path.name}")
    with writing(path):
        try:
            write(part)
            if durable:
                sync(part)
            os.replace(part, path)
            if durable:
                sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # the first fault is what is told
                part.unlink(missing_ok=True)
            raise


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where there is none.

    Raises:
        RunError: it cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def as_usual(path: Path) -> None:
    """Give a file, or a folder and all in it, the permissions that what is made here gets (umask).

    safetensors and Python's temporary folders are for their owner alone; nobody could serve or read such a model.
    """
    home = path if path.is_dir() else path.parent
    probe = home / f".part-mode-{os.getpid()}"
    with contextlib.suppress(OSError):  # a file system without permissions
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            mode = os.fstat(handle).st_mode & 0o666
        finally:
            os.close(handle)
            probe.unlink()
        for part in (path, *path.rglob("*")):
            also = mode | (mode & 0o444) >> 2 if part.is_dir() else mode  # who may read a folder may enter it
            if part.stat().st_mode & also != also:
                part.chmod(part.stat().st_mode & 0o7777 | also)


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    if path.is_dir():
        if os.name == "nt":  # a folder cannot be opened there
            return
        handle = os.open(path, os.O_RDONLY)
    else:
        # Windows syncs only what may be written
        handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring all that lies in a folder to the disk, and the folder itself."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


@contextlib.contextmanager
def writing(target: Path, *, hint: str = "", also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Say in one line whatever the operating system raises while a file or folder is written.

    Args:
        target: what is written, for the message.
        hint: what to do about it.
        also: what libraries raise for the same.

    Raises:
        RunError: it happened.
    """
    faults: tuple[type[Exception], ...] = (OSError, *also)
    try:
        if "\0" in str(target):  # Python's own ValueError says neither which path nor that it is one
            raise OSError(errno.EINVAL, "its name holds a null character")
        yield
    except HimacError:
        raise
    except faults as error:
        raise RunError(f"cannot write {str(target)!r}: {reason(error)}", hint=hint) from error


def reason(error: BaseException) -> str:
    """Return what went wrong, in one line: of the operating system's errors, its words without number and path.

    >>> reason(OSError(28, "No space left on device", "runs/a/model"))
    'No space left on device'
    """
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = words.strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


@contextlib.contextmanager
def owned(folder: Path, doing: str, *, hint: str = "") -> Iterator[int | None]:
    """Have a folder to oneself while working in it; made when absent.

    The lock is the system's and ends with the process, however it ends: one that a dead process left is no hindrance. Who
    holds it, where and since when stands in the file. Yields the descriptor that holds the lock; None where the
    file system has no locks.

    Args:
        folder: to be owned.
        doing: what is done in it, told to the next one: "himac train".
        hint: told to the next one as well.

    Raises:
        RunError: somebody else is at work in it, or it cannot be written.
    """
    path = folder / LOCK
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        is_held = _lock(handle)
        if is_held is False:
            raise RunError(
                f"{str(folder)!r} is in use{_by_whom(path)}", hint=hint or "wait for it, or stop it"
            )
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        told = {"doing": doing, "pid": os.getpid(), "host": platform.node(), "since": since}
        with writing(path):
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(told).encode())
        try:
            yield handle if is_held else None
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def holder(folder: Path) -> str:
    """Return what is at work in a folder that is `owned`: "himac train"; "" where nothing is, as far as can be seen."""
    told = _told_of(folder / LOCK)
    return told["doing"] if told and (told["host"] != platform.node() or _is_alive(int(told["pid"]))) else ""


def drop(name: str) -> None:
    """Let a standard stream that cannot be written lead nowhere, so that the interpreter does not try again at its end.

    Args:
        name: "stdout" or "stderr".
    """
    stream = getattr(sys, name)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say in one line whatever the operating system raises while a file is read.

    Raises:
        DataError: it happened.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {reason(error)}") from error


def _read(path: Path, read: Callable[[], Any]) -> Any:
    try:
        with reading(path):
            return read()
    except HimacError:
        raise
    except ValueError as error:
        raise DataError(f"{str(path)!r} is damaged: {reason(error)}") from error


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # there a signal of 0 ends the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _lock(handle: int) -> bool | None:
    """Take the lock: True; False where somebody has it; None where the file system has none."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, _LOCKED_AT, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _BUSY else None
    return True


def _by_whom(path: Path) -> str:
    """Return who has a lock, as its file says."""
    if not (told := _told_of(path)):
        return " by another process"
    return f" by {told['doing']!r} (process {told['pid']} on {told['host']}, since {told['since']})"


def _told_of(path: Path) -> dict[str, str]:
    """Return what a lock's file says of who has it; {} where it says nothing, or is damaged."""
    try:
        told = parse_json(path.read_text(encoding="utf-8"))
        int(told["pid"])
        return {key: str(told[key]) for key in ("doing", "pid", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
