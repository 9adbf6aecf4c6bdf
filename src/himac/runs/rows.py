"""What a row of a run's files holds, and which lines are none: damaged, cut, or written by something else.

A reader takes the good rows and counts the others (`Broken`), so that a file with a bad sector is still read and nobody
mistakes the rest for the whole. What is checked here no reader has to check again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, NotRequired, TypedDict

import msgspec

from himac.files import parse_json
from himac.types import Json, Row

_Count = Annotated[int, msgspec.Meta(ge=0)]
_MOST_BYTES = 2**26  # of a row; an episode of 4,000 steps has a few million
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escape that may be half a surrogate pair

_Phase = TypedDict(
    "_Phase",
    {
        "iteration": _Count, "phase": str, "success": float, "return": float, "turns": float, "collect_s": float,
        "learn_s": float,
    },
)  # fmt: skip


class _Outcomes(TypedDict):
    index: list[int]
    success: str
    score: NotRequired[list[float]]


class _Evaluation(TypedDict):
    iteration: _Count
    phase: str
    split: str
    episodes: _Count
    success: float
    success_low: float
    success_high: float
    seconds: float
    outcomes: NotRequired[_Outcomes]
    total_env_steps: NotRequired[float]
    total_tokens: NotRequired[float]
    total_train_s: NotRequired[float]


class _Task(TypedDict):
    env: str
    split: str
    index: int
    kind: str


class _Turn(TypedDict):
    role: str
    context: int
    start: int
    end: int
    text: str
    action: str | None
    readable: bool
    admissible: bool
    reward: float
    observation: str


class _Blueprint(TypedDict):
    subgoals: list[str]
    malformed: bool


class _Segment(TypedDict):
    index: int
    subgoal: str
    stop: str
    turns: list[_Turn]


class _Context(TypedDict):
    ids: list[int]
    sampled: list[tuple[int, int]]
    logps: list[float]


class _Episode(TypedDict):
    iteration: _Count
    phase: str
    group: _Count
    chosen: bool
    advantages: list[float | None] | None
    task: _Task
    replica: _Count
    instruction: str
    blueprint: _Blueprint | None
    planning: _Turn | None
    segments: list[_Segment]
    contexts: list[_Context]
    env_return: float
    penalty: float
    success: bool
    score: float
    stop: str
    env_steps: int
    calls: int
    tokens: int
    is_copy: bool
    error: str
    split: NotRequired[str]


class _Place(TypedDict):
    index: int


class _Outcome(TypedDict):
    iteration: _Count
    split: str
    task: _Place
    success: bool
    score: float


class _Result(TypedDict):
    split: str
    episodes: _Count
    success: float
    success_low: float
    success_high: float


class Broken:
    """How many lines of each file could not be read; a line that is still being written is none of them."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count a line of a file."""
        self.lines[name] += 1

    def told(self) -> str:
        """Return what to tell a reader; "" when all lines were good.

        >>> broken = Broken()
        >>> broken.add("episodes.jsonl"), broken.add("episodes.jsonl"), broken.told()
        (None, None, 'left out 2 damaged lines of episodes.jsonl')
        """
        parts = [f"{n:,} damaged line{'s' * (n != 1)} of {name}" for name, n in sorted(self.lines.items())]
        return f"left out {' and '.join(parts)}" if parts else ""


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's lines; one that is longer than any row, in pieces: what is damaged may be one line of gigabytes.

    All that is yielded is the whole file; a piece that lacks its end is no row.
    """
    return iter(lambda: file.readline(_MOST_BYTES), b"")


def parse_line(line: str | bytes) -> Row | None:
    """Return a line's table, whatever it holds; None where it holds none."""
    text = line if isinstance(line, str) else line.decode("utf-8", "replace")
    try:
        row = parse_json(text)
    except ValueError:
        return None
    if not isinstance(row, dict):
        return None
    return _mended(row) if _HALF.search(text) else row


def is_metrics(row: Row) -> bool:
    """Whether a row is one of metrics.jsonl: a phase of an iteration, or an evaluation."""
    return _fits(row, _Evaluation if row.get("phase") == "eval" else _Phase)


def is_episode(row: Row) -> bool:
    """Whether a row is one of episodes.jsonl."""
    return _fits(row, _Episode)


def is_result(row: Row) -> bool:
    """Whether a table is the JSON of `himac eval`."""
    return _fits(row, _Result)


def is_outcome(row: Row) -> bool:
    """Whether a row tells at least what became of an evaluation's task."""
    return _fits(row, _Outcome)


def _fits(row: Row, kind: Any) -> bool:
    try:
        msgspec.convert(row, kind)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _mended(value: Json) -> Any:
    """Return a value without halves of surrogate pairs: JSON can carry them, files and terminals cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_mended(key): _mended(part) for key, part in value.items()}
    return [_mended(part) for part in value] if isinstance(value, list) else value
