"""A run's files as what a report shows of them: streamed, sampled by a stated rule. Layer 5.

One idea: the growing files are read line by line and twice: once to count (only the head of each line), once to
keep. What is kept goes into small compressed chunks, so that a page of thousands of episodes stays a few
megabytes and the browser unpacks only the chunk that somebody opens. A broken last line is skipped, a missing
file is an empty one: a run that is still being written can be read.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from himac.config import Config, to_toml
from himac.runs import CONFIG, EPISODES, EVALUATIONS, MACHINE, METRICS, RECIPE, read_rows

CHUNK = 16
"""Episodes a compressed chunk holds before the next group starts a new one."""

COLUMNS = (
    "iteration", "phase", "split", "group", "replica", "chosen", "index", "kind", "success", "return", "score",
    "stop", "env_steps", "calls", "tokens", "copy", "malformed", "subgoals", "advantage", "chunk", "place",
)  # fmt: skip
"""What the page knows of every kept episode without unpacking it, in this order."""

_DETAIL = (
    "instruction", "blueprint", "plan", "segments", "contexts", "advantages", "env_return", "penalty", "error",
)  # fmt: skip
_HEAD = re.compile(
    r'\{"iteration":(\d+),"phase":"(\w+)","group":(\d+),"chosen":(?:true|false)(?:,"split":"([^"\\]*)")?'
)

Key = tuple[int, str, str]  # (iteration, phase, split of an evaluation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Which groups of episodes.jsonl are shown."""

    total: int  # episodes in the file
    keep: Callable[[Key, int], bool]  # (iteration, phase, split), group -> shown
    rule: str  # the same in words, for the page


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; none when the run has not written any."""
    path = folder / METRICS
    return list(read_rows(path)) if path.is_file() else []


def read_machine(folder: Path) -> dict[str, Any]:
    """Return where a run was started; {} when it did not say."""
    try:
        found = json.loads((folder / MACHINE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return what `himac eval` saved with the run, by file name; unreadable files are left out."""
    found = []
    for path in sorted((folder / EVALUATIONS).glob("*.json")):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        if isinstance(row, dict) and "success" in row:
            found.append({"file": path.name, **row})
    return found


def read_settings(folder: Path) -> list[tuple[str, str, str, str]]:
    """Return (key, default, recipe, run) for every setting in which the run leaves its default or recipe.

    "" stands for a setting that a file does not mention.
    """
    default = _flat(tomllib.loads(to_toml(Config())))
    recipe, run = _read_toml(folder / RECIPE), _read_toml(folder / CONFIG)
    keys = [k for k in run if run[k] != default.get(k) or (k in recipe and recipe[k] != run[k])]
    texts = [[_shown(tree, key) for tree in (default, recipe, run)] for key in keys]
    return [(key, a, b, c) for key, (a, b, c) in zip(keys, texts)]


def choose_sample(folder: Path, most: int) -> Sampled:
    """Decide which groups are shown: whole groups, evenly spaced within each phase of each iteration.

    Args:
        folder: the run directory.
        most: episodes to show at most.

    Returns:
        The rule. When the first group of every phase is still too much, iterations are thinned as well.
    """
    sizes: dict[Key, dict[int, int]] = {}
    for key, group in _heads(folder / EPISODES):
        of_key = sizes.setdefault(key, {})
        of_key[group] = of_key.get(group, 0) + 1
    total = sum(sum(of_key.values()) for of_key in sizes.values())
    if total <= most:
        return Sampled(total=total, keep=lambda key, group: True, rule="Every episode of the file is shown.")
    iterations = sorted({key[0] for key in sizes})
    order = {iteration: place for place, iteration in enumerate(iterations)}
    widest = max(max(of_key) for of_key in sizes.values()) + 1
    every, step = 1, 2
    while every < len(iterations) and _kept(sizes, order, every, widest) > most:
        every += 1
    while step < widest and _kept(sizes, order, every, step) > most:
        step += 1

    def keep(key: Key, group: int) -> bool:
        return group % step == 0 and (order[key[0]] % every == 0 if key[0] in order else False)

    shown = _kept(sizes, order, every, step)
    which = "every iteration" if every == 1 else f"1 in {every} iterations (from the first)"
    return Sampled(
        total=total,
        keep=keep,
        rule=f"{shown:,} of {total:,} episodes are shown: of {which}, whole groups, 1 in {step} of each phase, "
        "from the first. The curves count every episode.",
    )


def pack_episodes(folder: Path, sampled: Sampled) -> dict[str, Any]:
    """Stream the sampled episodes into an index and compressed chunks.

    Returns:
        {"columns", "rows", "chunks": base64 of gzip of a JSON list, "ids": token ids that occur,
        "world": the environment's name, "" without episodes}.
    """
    rows: list[list[Any]] = []
    chunks: list[str] = []
    ids: set[int] = set()
    world = ""
    open_chunk: list[str] = []
    last: tuple[Key, int] | None = None
    for row in _sampled_rows(folder / EPISODES, sampled):
        here = (_key_of(row), row["group"])
        if len(open_chunk) >= CHUNK and here != last:
            chunks.append(_squeezed(open_chunk))
            open_chunk = []
        last, world = here, row["task"]["env"]
        rows.append([*_index_of(row), len(chunks), len(open_chunk)])
        open_chunk.append(_dumps({name: row[name] for name in _DETAIL}))
        for context in row["contexts"]:
            ids.update(context["ids"])
    if open_chunk:
        chunks.append(_squeezed(open_chunk))
    return {"columns": COLUMNS, "rows": rows, "chunks": chunks, "ids": ids, "world": world}


def stream_episodes(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of episodes.jsonl that are whole episodes; none when there is no file."""
    path = folder / EPISODES
    if path.is_file():
        yield from (row for row in read_rows(path) if "task" in row and "segments" in row)


def mean_advantage(row: dict[str, Any]) -> float | None:
    """Return an episode's advantage: the mean over its trained turns; None when none was trained."""
    values = [a for a in row.get("advantages") or () if a is not None]
    return round(sum(values) / len(values), 4) if values else None


def _kept(sizes: dict[Key, dict[int, int]], order: dict[int, int], every: int, step: int) -> int:
    return sum(
        count
        for key, of_key in sizes.items()
        if order[key[0]] % every == 0
        for group, count in of_key.items()
        if group % step == 0
    )


def _heads(path: Path) -> Iterator[tuple[Key, int]]:
    """Yield (key, group) of each line, from its head alone where it looks as `RunConsole` writes it."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if head := _HEAD.match(line):
                yield (int(head[1]), head[2], head[4] or ""), int(head[3])


def _sampled_rows(path: Path, sampled: Sampled) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            head = _HEAD.match(line)
            if head is None or not sampled.keep((int(head[1]), head[2], head[4] or ""), int(head[3])):
                continue
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def _key_of(row: dict[str, Any]) -> Key:
    return row["iteration"], row["phase"], row.get("split", "")


def _index_of(row: dict[str, Any]) -> list[Any]:
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
    ]


def _squeezed(texts: list[str]) -> str:
    packed = gzip.compress(("[" + ",".join(texts) + "]").encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode()


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return _flat(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError):
        return {}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _shown(tree: dict[str, Any], key: str) -> str:
    return json.dumps(tree[key], ensure_ascii=False) if key in tree else ""
