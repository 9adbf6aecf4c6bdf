"""Which episodes a person asked for, and what became of each sub-goal.

One idea: `himac show` takes the same filters as the page, each a test on one row of episodes.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from himac.report.sampling import Key, stream_episodes


def find_episodes(folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows that pass the filters, from `args.skip` on, `args.count` of them."""

    def keep(key: Key) -> bool:
        return args.iteration in (None, key[0]) and args.phase in (None, key[1])

    matching = (row for row in stream_episodes(folder, keep) if _passes(row, args))
    return islice(matching, args.skip, args.skip + args.count)


def subgoal_status(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (sub-goal, what became of it) for a blueprint: done, forced, solved here, ended here, never reached.

    >>> subgoal_status({"blueprint": {"subgoals": ["a", "b"]}, "success": False,
    ...     "segments": [{"index": 0, "stop": "sub_done"}]})
    [('a', 'done'), ('b', 'never reached')]
    """
    names = row["blueprint"]["subgoals"] if row["blueprint"] else []
    found = {segment["index"]: _status(segment, row) for segment in row["segments"]}
    return [(name, found.get(place, "never reached")) for place, name in enumerate(names)]


def _status(segment: dict[str, Any], row: dict[str, Any]) -> str:
    by_stop = {"sub_done": "done", "budget": "forced"}
    return by_stop.get(segment["stop"], "solved here" if row["success"] else "ended here")


def _passes(row: dict[str, Any], args: argparse.Namespace) -> bool:
    asked = {
        "kind": (args.kind, row["task"]["kind"]),
        "index": (args.index, row["task"]["index"]),
        "stop": (args.stop, row["stop"]),
        "success": (args.success, row["success"]),
    }
    return all(wanted is None or wanted == value for wanted, value in asked.values())
