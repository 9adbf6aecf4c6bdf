"""Which games there are: files in folders, split by split, in an order that is the same everywhere.

A catalog is a list of (relative path, task type) per split, sorted by relative path. Walking the
folders is cheap; reading every file to see whether it is playable is not, so what was read is remembered
in one index file in the user's cache folder and only files that changed are read again.

Left out: compiling games, which happens when one is first played, or for all at once in `data.prepare`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from himac.envs.alfworld.game import FIELDS, compile_game
from himac.envs.fetch import cache_folder
from himac.errors import DataError, MissingFileError
from himac.files import parse_json, reason
from himac.types import Json

log = logging.getLogger("himac")

GAME_FILE = "game.tw-pddl"
SPLITS = ("train", "valid_seen", "valid_unseen")
KNOWN_SPLITS = (*SPLITS, "valid_train")
TASK_TYPES = {
    "pick_and_place_simple": "pick",
    "look_at_obj_in_light": "look",
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
    "pick_two_obj_and_place": "pick2",
}
"""ALFRED's task types and what himac calls them (`Task.kind`)."""

UNSUPPORTED = ("movable", "Sliced")
"""ALFWorld's own loader passes over games in folders with one of these in their name; so do we."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One playable game file."""

    path: str  # relative to the catalog's root, with "/"
    kind: str  # "pick", "look", "clean", "heat", "cool", "pick2"; "" when unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The games below one path."""

    root: Path  # what the entries' paths are relative to
    splits: dict[str, tuple[Entry, ...]]  # name -> games, sorted by path
    skipped: tuple[str, ...]  # one line for each damaged or foreign file
    unsolvable: int  # games whose file says solvable: false


def open_catalog(path: Path, *, thorough: bool = False) -> Catalog:
    """Find the games at `path`.

    - a folder with split folders (train, valid_seen, valid_unseen, valid_train), or one that holds such a
      folder as `json_2.1.1`: those splits;
    - a folder named like a split: that split;
    - any other folder, or one game file: all its games, under each of the three split names.

    Args:
        path: where to look.
        thorough: compile every game (about 5 ms each) and remember which are damaged, instead of only looking
            whether each file is JSON and has its fields.

    Raises:
        MissingFileError: `path` does not exist.
        DataError: no playable game there.
    """
    if not path.exists():
        raise MissingFileError(f"ALFWorld data {str(path)!r} does not exist", hint="himac data alfworld")
    if path.is_file():
        root, groups = path.parent, {name: [path] for name in SPLITS}
    else:
        root = path / "json_2.1.1" if (path / "json_2.1.1").is_dir() else path
        named = [name for name in KNOWN_SPLITS if (root / name).is_dir()]
        if named:
            groups = {name: _game_files(root / name) for name in named}
        elif root.name in KNOWN_SPLITS:
            groups = {root.name: _game_files(root)}
        else:
            games = _game_files(root)
            groups = dict.fromkeys(SPLITS, games)
    files = sorted({file for group in groups.values() for file in group})
    entries, skipped, unsolvable = _read(root, files, thorough)
    splits = {
        name: tuple(
            sorted((entries[file] for file in files if file in entries), key=lambda entry: entry.path)
        )
        for name, files in groups.items()
    }
    for line in skipped[:3]:
        log.warning("skipped: %s", line)
    if len(skipped) > 3:
        log.warning("skipped %d damaged or foreign game files in all", len(skipped))
    if not any(splits.values()):
        reason = skipped[0] if skipped else f"no file named {GAME_FILE} below it"
        raise DataError(
            f"no playable ALFWorld game found at {str(path)!r}: {reason}", hint="himac data alfworld"
        )
    return Catalog(root=root, splits=splits, skipped=tuple(skipped), unsolvable=unsolvable)


def has_games(path: Path) -> bool:
    """Whether there is a game file at or below a path."""
    return path.is_file() or next(_walk(str(path)), None) is not None


def _game_files(folder: Path) -> list[Path]:
    return list(_walk(str(folder)))


def _walk(folder: str) -> Iterator[Path]:
    """Yield every game file below a folder; faster than Path.rglob."""
    inner = []
    with os.scandir(folder) as items:
        for item in items:
            if item.name == GAME_FILE:
                yield Path(item.path)
            elif item.is_dir() and not any(mark in item.name for mark in UNSUPPORTED):  # quirk "passed-over"
                inner.append(item.path)
    for name in inner:
        yield from _walk(name)


def index_file(root: Path) -> Path:
    """Return where the index of the games below `root` is kept."""
    return cache_folder() / f"alfworld-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.json"


def _read(root: Path, files: list[Path], thorough: bool) -> tuple[dict[Path, Entry], list[str], int]:
    """Say of every file whether it is playable: (entries, lines about the damaged, number unsolvable)."""
    known = _load_index(index_file(root))
    index, entries, skipped, unsolvable, changed = {}, {}, [], 0, False
    for file in files:
        relative = file.relative_to(root).as_posix()
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        record = known.get(relative)
        if record is None or record[:2] != stamp or (thorough and not record[4]):
            record = [*stamp, *_inspect(file, thorough), thorough]
            changed = True
        index[relative] = record
        kind, problem = record[2:4]
        if problem == "unsolvable":
            unsolvable += 1
        elif problem:
            skipped.append(f"{file}: {problem}")
        else:
            entries[file] = Entry(path=relative, kind=kind)
    if changed and len(files) > 1:
        _save_index(index_file(root), known | index)
    return entries, skipped, unsolvable


def _inspect(file: Path, thorough: bool) -> tuple[str, str]:
    """Return (kind, "" or what is wrong) of one game file."""
    try:
        content = parse_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        return "", f"not a readable JSON file ({reason(error)})"
    if not isinstance(content, dict):
        return "", f"one JSON object expected, got {type(content).__name__}"
    for name in FIELDS:
        if not isinstance(content.get(name), str):
            return "", f"field {name!r}: {'text expected' if name in content else 'missing'}"
    if content.get("solvable") is False:
        return "", "unsolvable"
    if thorough:
        try:
            compile_game(content, name="")
        except DataError as error:
            return "", str(error).removeprefix(": ")
    return _kind(file, content["pddl_problem"]), ""


def _kind(file: Path, problem: str) -> str:
    """Tell the task type: from the folder's name, else from the goal."""
    for name, kind in TASK_TYPES.items():
        if any(part.startswith(name) for part in file.parts[-3:]):
            return kind
    goal = problem.lower().partition("(:goal")[2]
    for word, kind in (("istoggled", "look"), ("isclean", "clean"), ("ishot", "heat"), ("iscool", "cool")):
        if word in goal:
            return kind
    return "pick2" if goal.count("inreceptacle") == 2 else "pick" if "inreceptacle" in goal else ""


def _load_index(file: Path) -> dict[str, list[Json]]:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        return content["games"] if content["version"] == 1 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _save_index(file: Path, games: dict[str, list[Json]]) -> None:
    """Write the index whole or not at all; a cache that cannot be written is no error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps({"version": 1, "games": games}, separators=(",", ":")), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        log.warning("could not write the game index %s (%s); it will be rebuilt next time", file, error)
