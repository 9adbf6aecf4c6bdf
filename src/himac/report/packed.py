"""What a page carries compressed: JSON that only a browser unpacks, and the texts that it searches.

Search has a part of its own, each text once, because it has to answer at once: the episodes' chunks hold every prompt's
tokens again and again, and unpacking thousands of them takes seconds.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any

from himac.types import Json, Row


class Said:
    """What was said in episodes, in the order they are added."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._rows: list[list[int]] = []

    def add(self, row: Row) -> None:
        """Take one row of episodes.jsonl."""
        blueprint, planning = row["blueprint"], row["planning"]
        # a planner's own words are searched where it said them, a blueprint that was given is searched here
        given = "\n".join(blueprint["subgoals"]) if blueprint and planning is None else ""
        turns = [*([planning] if planning else []), *(t for s in row["segments"] for t in s["turns"])]
        texts = [
            row["instruction"],
            given,
            *(part for turn in turns for part in (turn["text"], turn["observation"])),
        ]
        self._rows.append([self._place(text) for text in texts])

    def packed(self) -> str:
        """Return {"texts": each text once, "rows": an episode's places in it, or -1} compressed.

        A row is [instruction, blueprint that was given, completion of turn 0, answer to it, completion of turn 1, ...].
        """
        return squeezed(dumps({"texts": list(self._places), "rows": self._rows}))

    def _place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places)) if text else -1


def squeezed(text: str) -> str:
    """Return base64 of gzip of a text; the same text gives the same."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), compresslevel=6, mtime=0)).decode()


def dumps(value: Json) -> str:
    """Return JSON as a browser reads it: NaN and infinities become null."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), ensure_ascii=False, separators=(",", ":"))


def finite(value: Json) -> Any:
    """Return a value whose numbers all have an end; the others become None."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
