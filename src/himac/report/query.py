"""Which episodes a person asked for, and what became of each sub-goal.

One idea: `himac show` takes the same filters as the page, each a test on one row of episodes.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from himac.report.episode_index import Key, stream_episodes
from himac.runs.rows import Broken
from himac.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeFilter:
    """Which episodes are wanted; None takes all."""

    iteration: int | None = None
    phase: str | None = None
    kind: str | None = None  # task type
    index: int | None = None  # of the task in its split
    success: bool | None = None
    stop: str | None = None


def find_episodes(
    folder: Path, wanted: EpisodeFilter, *, skip: int = 0, count: int = 1, broken: Broken | None = None
) -> Iterator[Row]:
    """Yield the rows that pass the filter: `count` of them, after the first `skip`. `broken` counts unreadable lines."""

    def keep(key: Key) -> bool:
        return wanted.iteration in (None, key[0]) and wanted.phase in (None, key[1])

    matching = (row for row in stream_episodes(folder, keep, broken) if _passes(row, wanted))
    return islice(matching, skip, skip + count)


def subgoal_status(row: Row) -> list[tuple[str, str]]:
    """Return (sub-goal, what became of it) for a blueprint: done, forced, solved here, ended here, never reached.

    >>> subgoal_status({"blueprint": {"subgoals": ["a", "b"]}, "success": False,
    ...     "segments": [{"index": 0, "stop": "sub_done"}]})
    [('a', 'done'), ('b', 'never reached')]
    """
    names = row["blueprint"]["subgoals"] if row["blueprint"] else []
    found = {segment["index"]: _status(segment, row) for segment in row["segments"]}
    return [(name, found.get(index, "never reached")) for index, name in enumerate(names)]


def _status(segment: Row, row: Row) -> str:
    by_stop = {"sub_done": "done", "budget": "forced"}
    return by_stop.get(segment["stop"], "solved here" if row["success"] else "ended here")


def _passes(row: Row, wanted: EpisodeFilter) -> bool:
    pairs = (
        (wanted.kind, row["task"]["kind"]),
        (wanted.index, row["task"]["index"]),
        (wanted.stop, row["stop"]),
        (wanted.success, row["success"]),
    )
    return all(asked is None or asked == value for asked, value in pairs)
