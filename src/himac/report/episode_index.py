"""Which episodes of a run are shown, and where they stand in its file.

One pass over episodes.jsonl reads the head of each line and remembers where the line begins; whoever shows
episodes then reads those lines and no others. So a file of gigabytes costs memory for a few numbers a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from himac.runs.folder import EPISODES
from himac.runs.formats import ROLES, read_line
from himac.runs.rows import Broken, is_episode, pieces
from himac.types import Row

_HEAD = re.compile(
    rb'\{"iteration":(\d+),"phase":"(\w+)","group":(\d+),"chosen":(?:true|false)(?:,"split":"([^"\\]*)")?'
)

_DIGITS = 9  # of an iteration or a group: longer ones are damage

Key = tuple[int, str, str]  # (iteration, phase, split of an evaluation)


@dataclass(frozen=True, slots=True)
class Line:
    """Where an episode stands."""

    key: Key
    group: int
    start: int  # bytes from the file's beginning
    length: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Which lines of episodes.jsonl are shown."""

    total: int  # episodes in the file
    lines: list[Line]  # those shown, in the file's order
    rule: str  # how they were chosen, in words, for the page


def find_lines(folder: Path, broken: Broken | None = None) -> list[Line]:
    """Return where each episode of a run stands; none when there is no file. `broken` counts lines without a head."""
    found: list[Line] = []
    keys: dict[Key, Key] = {}  # one object a key, however many lines have it
    for start, line in _lines(folder):
        if head := _head(line):
            found.append(Line(keys.setdefault(head[0], head[0]), head[1], start, len(line)))
        elif broken is not None:
            broken.add(EPISODES)
    return found


def choose_sample(lines: Sequence[Line], most: int) -> Sampled:
    """Choose whole groups, evenly spaced within each phase of each iteration.

    Args:
        lines: where the file's episodes stand.
        most: episodes to show at most.

    Returns:
        The sample. When the first group of every phase is still too much, iterations are thinned as well.
    """
    total = len(lines)
    if total <= most:
        return Sampled(total=total, lines=list(lines), rule="Every episode of the file is shown.")
    sizes: dict[Key, dict[int, int]] = {}
    for line in lines:
        of_key = sizes.setdefault(line.key, {})
        of_key[line.group] = of_key.get(line.group, 0) + 1
    order = {iteration: index for index, iteration in enumerate(sorted({key[0] for key in sizes}))}
    widest = max(max(of_key) for of_key in sizes.values()) + 1
    every, step = 1, 2
    while every < len(order) and _kept(sizes, order, every, widest) > most:
        every += 1
    while step < widest and _kept(sizes, order, every, step) > most:
        step += 1
    kept = [line for line in lines if line.group % step == 0 and order[line.key[0]] % every == 0]
    which = "every iteration" if every == 1 else f"1 in {every} iterations (from the first)"
    return Sampled(
        total=total,
        lines=kept,
        rule=f"{len(kept):,} of {total:,} episodes are shown: of {which}, whole groups, 1 in {step} of each phase, "
        "from the first. The curves count every episode.",
    )


def read_lines(folder: Path, lines: Sequence[Line], broken: Broken | None = None) -> Iterator[Row]:
    """Yield the good ones of the episodes at these lines, one in memory at a time; `broken` counts the others."""
    if not lines:
        return
    with open(folder / EPISODES, "rb") as file:
        for line in lines:
            file.seek(line.start)
            if row := _episode(file.read(line.length)):
                yield row
            elif broken is not None:
                broken.add(EPISODES)


def stream_episodes(folder: Path, keep: Callable[[Key], bool], broken: Broken | None = None) -> Iterator[Row]:
    """Yield the good episodes of the iterations and phases that `keep` wants; the others are not even parsed.

    `broken` counts the lines that were to be read and cannot be.
    """
    for _, line in _lines(folder):
        head = _head(line)
        if head and not keep(head[0]):
            continue
        if head and (row := _episode(line)):
            yield row
        elif broken is not None:
            broken.add(EPISODES)


def _lines(folder: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (where it begins, line) of the file's lines; one without its end is still being written, and left out."""
    path, start = folder / EPISODES, 0
    if path.is_file():
        with open(path, "rb") as file:
            for line in pieces(file):
                if line.endswith(b"\n"):
                    yield start, line
                start += len(line)


def _episode(line: bytes) -> Row | None:
    """Return a line's episode; None when it is broken or holds something else."""
    row = read_line(line)
    return row if row is not None and is_episode(row) else None


def _head(line: bytes) -> tuple[Key, int] | None:
    """Return (key, group) of a line: from its head alone where that looks as himac writes it, else from the whole."""
    if head := _HEAD.match(line):
        phase = head[2].decode()
        if len(head[1]) > _DIGITS or len(head[3]) > _DIGITS:
            return None
        return (int(head[1]), ROLES.get(phase, phase), (head[4] or b"").decode("utf-8", "replace")), int(
            head[3]
        )
    row = read_line(line)
    if row is None or not is_episode(row):
        return None
    return (row["iteration"], row["phase"], row.get("split", "")), row["group"]


def _kept(sizes: dict[Key, dict[int, int]], order: dict[int, int], every: int, step: int) -> int:
    return sum(
        count
        for key, of_key in sizes.items()
        if order[key[0]] % every == 0
        for group, count in of_key.items()
        if group % step == 0
    )
