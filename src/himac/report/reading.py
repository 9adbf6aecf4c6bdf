"""A run's files as what a report shows of them.

What is kept of an episode goes into small compressed chunks, so that a page of thousands of episodes stays a
few megabytes and the browser unpacks only the chunk that somebody opens. A broken last line is skipped, a missing file
is an empty one: a run that is still being written can be read.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from himac.config import Config, to_toml
from himac.errors import DataError
from himac.files import parse_toml, read_json, read_text
from himac.images import FIRST_ID, TAG
from himac.report.boards import Boards, Replay
from himac.report.episode_index import Sampled, choose_sample, find_lines, read_lines
from himac.report.packed import Said, dumps, squeezed
from himac.runs.folder import CONFIG, EVALUATIONS, MACHINE, METRICS, RECIPE, read_rows
from himac.runs.rows import Broken, is_result
from himac.toml import flat
from himac.types import Row

CHUNK = 16
"""Episodes a compressed chunk holds before the next group starts a new one."""

_PROBE = 200  # episodes whose size tells how many fit

COLUMNS = (
    "iteration", "phase", "split", "group", "replica", "chosen", "index", "kind", "success", "return", "score",
    "stop", "env_steps", "calls", "tokens", "copy", "malformed", "subgoals", "advantage", "surprise", "chunk", "place",
)  # fmt: skip
"""What the page knows of every kept episode without unpacking it, in this order."""

_DETAIL = (
    "instruction", "blueprint", "planning", "segments", "contexts", "advantages", "env_return", "penalty", "error",
)  # fmt: skip


def read_metrics(folder: Path, broken: Broken | None = None) -> list[Row]:
    """Return the good rows of metrics.jsonl; none when the run has not written any. `broken` counts the others."""
    path = folder / METRICS
    return list(read_rows(path, broken)) if path.is_file() else []


def read_machine(folder: Path) -> Row:
    """Read machine.json; {} if missing or unreadable."""
    try:
        found = read_json(folder / MACHINE)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


def read_evaluations(folder: Path) -> list[Row]:
    """Return what `himac eval` saved with the run, by file name; unreadable files are left out."""
    found = []
    for path in sorted((folder / EVALUATIONS).glob("*.json")):
        with contextlib.suppress(DataError):
            row = read_json(path)
            if isinstance(row, dict) and is_result(row):
                found.append({"file": path.name, **row})
    return found


def fates(metrics: Sequence[Row]) -> Row:
    """Return how every task of a split that was evaluated more than once began and ended.

    Evaluations tell it of all their tasks, whatever episodes are shown; those of old runs do not.

    Args:
        metrics: rows of metrics.jsonl.

    Returns:
        {split: {"index": the tasks' places in the split, "first", "last": a character "0" or "1" a task: whether its
        first and its last evaluation solved it}}.
    """
    found: Row = {}
    for split in dict.fromkeys(row["split"] for row in metrics if row["phase"] == "eval"):
        told = [
            row for row in metrics if row["phase"] == "eval" and row["split"] == split and "outcomes" in row
        ]
        told.sort(key=lambda row: int(row["iteration"]))
        if not told or told[0]["iteration"] == told[-1]["iteration"]:
            continue
        first, last = (
            dict(zip(row["outcomes"]["index"], row["outcomes"]["success"])) for row in (told[0], told[-1])
        )
        index = sorted(first.keys() & last.keys())
        found[split] = {
            "index": index,
            "first": "".join(first[i] for i in index),
            "last": "".join(last[i] for i in index),
        }
    return found


def read_toml(path: Path) -> Row:
    """Return a TOML file as {"table.key": value}; {} when it cannot be read."""
    try:
        return flat(parse_toml(read_text(path)))
    except ValueError:
        return {}


def read_settings(folder: Path) -> list[tuple[str, str, str, str]]:
    """Return (key, default, recipe, run) for every setting in which the run leaves its default or recipe.

    "" stands for a setting that a file does not mention.
    """
    default = flat(parse_toml(to_toml(Config())))
    recipe, run = read_toml(folder / RECIPE), read_toml(folder / CONFIG)
    keys = [k for k in run if run[k] != default.get(k) or (k in recipe and recipe[k] != run[k])]
    texts = [[_shown(tree, key) for tree in (default, recipe, run)] for key in keys]
    return [(key, a, b, c) for key, (a, b, c) in zip(keys, texts)]


def sample_episodes(
    folder: Path, most: int, most_bytes: int, broken: Broken | None = None, boards: Boards | None = None
) -> tuple[Sampled, Row]:
    """Choose episodes and pack them, so that what is packed stays near `most_bytes`.

    Where the lines may be too long for that, a few hundred episodes from all over the file are packed first, and their
    size tells how many fit.

    Args:
        folder: the run directory.
        most: episodes to show at most.
        most_bytes: how large the packed episodes may be.
        broken: counts the lines that cannot be read, of those that would be shown.
        boards: where things stood at each step; None leaves that out.

    Returns:
        (the sample, `pack_episodes` of it).
    """
    lines = find_lines(folder, broken)
    sampled = choose_sample(lines, most)
    if sum(line.length for line in sampled.lines) <= most_bytes:
        return sampled, pack_episodes(folder, sampled, broken, boards)
    packed = pack_episodes(folder, choose_sample(lines, min(most, _PROBE)), None, boards)
    count, shown = min(most, _fitting(packed, most_bytes)), -1
    while True:
        sampled, missed = choose_sample(lines, count), Broken()
        packed = pack_episodes(folder, sampled, missed, boards)
        fitting = _fitting(packed, most_bytes)
        if (
            fitting >= len(packed["rows"]) or len(packed["rows"]) == shown
        ):  # fits, or cannot be thinned further
            break
        count, shown = min(fitting, count - 1), len(packed["rows"])
    if broken is not None:  # of the sample that is shown, not of those that were too large
        broken.lines += missed.lines
    if count < most:
        sampled = replace(
            sampled, rule=f"{sampled.rule} More would make them larger than {most_bytes / 1e6:.3g} MB."
        )
    return sampled, packed


def _fitting(packed: Row, most_bytes: int) -> int:
    """Return how many episodes of this size fit; at least 1."""
    size = sum(map(len, packed["chunks"])) + len(packed["texts"])
    return max(len(packed["rows"]) * most_bytes // max(size, 1), 1)


def pack_episodes(
    folder: Path, sampled: Sampled, broken: Broken | None = None, boards: Boards | None = None
) -> Row:
    """Read the sampled episodes, one at a time, into an index and compressed chunks.

    Returns:
        {"columns", "rows", "chunks": base64 of gzip of a JSON list, "texts": see `Said.packed`, "ids": token ids that
        occur, "pictures": names of the pictures that were seen, "world": the environment's name, "" without episodes}.
    """
    rows: list[list[Any]] = []
    chunks: list[str] = []
    ids: set[int] = set()
    pictures: dict[str, None] = {}
    world = ""
    said = Said()
    open_chunk: list[str] = []
    last: tuple[Any, ...] = ()
    for row in read_lines(folder, sampled.lines, broken):
        here = (row["iteration"], row["phase"], row.get("split", ""), row["group"])
        if len(open_chunk) >= CHUNK and here != last:
            chunks.append(_squeezed(open_chunk))
            open_chunk = []
        last, world = here, row["task"]["env"]
        rows.append([*_index_of(row), len(chunks), len(open_chunk)])
        open_chunk.append(dumps({name: row[name] for name in _DETAIL} | _drawn(row, boards)))
        said.add(row)
        pictures |= dict.fromkeys(TAG.findall(open_chunk[-1]))
        for context in row["contexts"]:
            ids.update(number for number in context["ids"] if number < FIRST_ID)
    if open_chunk:
        chunks.append(_squeezed(open_chunk))
    return {
        "columns": COLUMNS,
        "rows": rows,
        "chunks": chunks,
        "texts": said.packed(),
        "ids": ids,
        "pictures": list(pictures),
        "world": world,
    }


def _drawn(row: Row, boards: Boards | None) -> Row:
    """Return what the page needs to draw an episode's world: its boards, or why there are none."""
    found = boards.of(row) if boards else Replay()
    return {"boards": found.boards} if found.boards else {"unboarded": found.why} if found.why else {}


def mean_advantage(row: Row) -> float | None:
    """Return an episode's advantage: the mean over its trained turns; None when none was trained."""
    values = [a for a in row.get("advantages") or () if a is not None]
    return round(sum(values) / len(values), 4) if values else None


def surprise(row: Row) -> float | None:
    """Return how unlikely an episode's tokens were: the mean of -log p over what was sampled, in nats a token.

    None where nobody told log-probabilities: an endpoint does not.

    >>> surprise({"contexts": [{"logps": [-0.5, -1.5]}, {"logps": []}]})
    1.0
    """
    logps = [p for context in row["contexts"] for p in context["logps"] if math.isfinite(p)]
    return round(-sum(logps) / len(logps), 4) + 0.0 if logps else None


def _index_of(row: Row) -> list[Any]:
    task, blueprint = row["task"], row["blueprint"]
    return [
        row["iteration"],
        row["phase"],
        row.get("split", task["split"]),
        row["group"],
        row["replica"],
        int(row["chosen"]),
        task["index"],
        task["kind"],
        int(row["success"]),
        round(row["env_return"] - row["penalty"], 4),
        round(row["score"], 4),
        row["stop"],
        row["env_steps"],
        row["calls"],
        row["tokens"],
        int(row["is_copy"]),
        int(bool(blueprint and blueprint["malformed"])),
        len(blueprint["subgoals"]) if blueprint else 0,
        mean_advantage(row),
        surprise(row),
    ]


def _squeezed(texts: list[str]) -> str:
    return squeezed("[" + ",".join(texts) + "]")


def _shown(tree: Row, key: str) -> str:
    return json.dumps(tree[key], ensure_ascii=False) if key in tree else ""
