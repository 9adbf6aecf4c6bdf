"""An episode as a line of JSON, and back: what `episodes.jsonl` holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from himac.types import Blueprint, Context, Episode, Row, Segment, StopReason, Task, Turn


def episode_row(episode: Episode, **labels: Any) -> Row:
    """Return an episode as JSON-ready dicts.

    Args:
        episode: what to write.
        **labels: what else to say about it: iteration, phase, group, advantages, chosen, ...
    """
    return {
        **labels,
        "task": _fields(episode.task),
        "replica": episode.replica,
        "instruction": episode.instruction,
        "blueprint": None if episode.blueprint is None else _fields(episode.blueprint),
        "planning": None if episode.planning is None else _fields(episode.planning),
        "segments": [
            {**_fields(segment), "turns": [_fields(turn) for turn in segment.turns]}
            for segment in episode.segments
        ],
        "contexts": [_context_row(context) for context in episode.contexts],
        **{
            key: getattr(episode, key)
            for key in ("env_return", "penalty", "success", "score", "stop", "env_steps", "calls", "tokens")
        },
        "is_copy": episode.is_copy,
        **({"worth": list(episode.worth)} if episode.worth else {}),
        **({} if episode.judged is None else {"judged": episode.judged}),
        "error": episode.error,
    }


def evaluation_row(episode: Episode, *, iteration: int, group: int, split: str) -> Row:
    """Return an evaluation's episode as JSON-ready dicts; what tells rows apart comes first, where readers look for it."""
    labels = {"iteration": iteration, "phase": "eval", "group": group, "chosen": False, "split": split}
    return episode_row(episode, **labels, advantages=None)


def read_episode(row: Row) -> Episode:
    """Return the Episode that `episode_row` wrote, to float rounding of the log-probabilities."""
    return Episode(
        task=Task(**row["task"]),
        replica=row["replica"],
        instruction=row["instruction"],
        blueprint=None if row["blueprint"] is None else _blueprint(row["blueprint"]),
        planning=None if row["planning"] is None else Turn(**row["planning"]),
        segments=tuple(_segment(s) for s in row["segments"]),
        contexts=tuple(_context(c) for c in row["contexts"]),
        env_return=row["env_return"],
        penalty=row["penalty"],
        success=row["success"],
        score=row["score"],
        stop=StopReason(row["stop"]),
        env_steps=row["env_steps"],
        calls=row["calls"],
        tokens=row["tokens"],
        is_copy=row["is_copy"],
        judged=row.get("judged"),
        worth=tuple(row.get("worth", ())),
        error=row["error"],
    )


def _fields(value: Task | Blueprint | Segment | Turn) -> Row:
    """Return a dataclass as a dict that shares its values, where `asdict` would copy each of them."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _context_row(context: Context) -> Row:
    """Ids, the sampled spans, and the log-probabilities of the sampled tokens alone."""
    return {
        "ids": context.ids.tolist(),
        "sampled": _spans(context.sampled),
        "logps": context.logps[context.sampled].astype(np.float64).round(5).tolist(),
    }


def _context(row: Row) -> Context:
    ids = np.asarray(row["ids"], np.int32)
    sampled, logps = np.zeros(len(ids), bool), np.zeros(len(ids), np.float32)
    for start, end in row["sampled"]:
        sampled[start:end] = True
    logps[sampled] = row["logps"]
    return Context(ids=ids, sampled=sampled, logps=logps)


def _spans(mask_T: np.ndarray) -> list[list[int]]:
    """Return [start, end) of each run of True.

    >>> _spans(np.array([0, 1, 1, 0, 1], bool))
    [[1, 3], [4, 5]]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_T.astype(np.int8), [0]])))
    return edges.reshape(-1, 2).tolist()


def _blueprint(row: Row) -> Blueprint:
    return Blueprint(subgoals=tuple(row["subgoals"]), malformed=row["malformed"])


def _segment(row: Row) -> Segment:
    turns: Sequence[Turn] = tuple(Turn(**turn) for turn in row["turns"])
    rest = {key: row[key] for key in ("index", "subgoal", "trimmed")}
    return Segment(turns=tuple(turns), stop=StopReason(row["stop"]), **rest)
