"""The record of a sealed split: when it was drawn, by which commit, for which runs, and what came of it.

    runs/PLAN/sealed.json

A draw is on file before the first task is played, so one that was broken off is seen, and each holds the hash of the one
before, so that none can be taken out or changed unnoticed. What cannot be seen is a record that was deleted whole: publish the
last hash where you publish the numbers. Left out: playing the tasks (`himac.evaluation.sealed`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from himac.compare.reading import Evaluation, RunRecord
from himac.config import override
from himac.envs.splits import SEALED
from himac.errors import DataError
from himac.files import read_json, write_text
from himac.types import Row

FILE = "sealed.json"
FOLDER = "sealed"
"""Folder of the evaluations, in that of the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One look at the sealed split."""

    at: str  # when it began, UTC
    commit: str  # of himac's source; "" where it is not a checkout, "+" at its end where files were changed
    version: str  # himac's
    plan: str  # hash of the plan's terms
    runs: dict[str, list[str]]  # {run: hashes of the weights it started from, and that it ended with}
    tasks: dict[str, list[str]]  # {environment: number of sealed tasks, hash of their first observations}
    previous: str  # hash of the draw before; "" for the first
    hash: str = ""  # of all of the above

    def hashed(self) -> Draw:
        """Return it with its hash."""
        told = {key: value for key, value in asdict(self).items() if key != "hash"}
        return replace(self, hash=digest_of(json.dumps(told, sort_keys=True).encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All draws of one comparison."""

    draws: tuple[Draw, ...] = ()
    results: dict[str, dict[str, Row]] = field(
        default_factory=dict
    )  # {run: {"before" or "after": evaluation}}
    results_of: str = ""  # hash of the draw whose results these are; "": it was broken off
    results_hash: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the last draw has its results."""
        return bool(self.draws) and self.results_of == self.draws[-1].hash


def digest_of(data: bytes) -> str:
    """Return a hash as the record has it: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_record(folder: Path) -> Record:
    """Return a comparison's record; an empty one where nothing was drawn.

    Raises:
        DataError: it is damaged, or was changed by hand.
    """
    path = folder / FILE
    if not path.is_file():
        return Record()
    tree = read_json(path)
    try:
        draws = tuple(Draw(**draw) for draw in tree["draws"])
        record = Record(draws=draws, **{key: tree[key] for key in ("results", "results_of", "results_hash")})
    except (TypeError, KeyError) as error:
        raise DataError(f"{str(path)!r} is no record of a sealed split: {error}") from error
    chain = ["", *(draw.hash for draw in draws)]
    is_whole = all(
        draw.hashed().hash == draw.hash and draw.previous == before for draw, before in zip(draws, chain)
    )
    if not is_whole or (record.results and _hash_of(record.results) != record.results_hash):
        raise DataError(
            f"{str(path)!r} does not agree with its own hashes: it was changed after it was written",
            hint="restore it; without it nobody can tell how often the sealed split was drawn",
        )
    return record


def write_record(record: Record, folder: Path) -> None:
    """Save a comparison's record."""
    write_text(folder / FILE, json.dumps(asdict(record), indent=1) + "\n")


def finished(record: Record, results: Mapping[str, dict[str, Row]]) -> Record:
    """Return the record with the results of its last draw."""
    kept = dict(results)
    return replace(record, results=kept, results_of=record.draws[-1].hash, results_hash=_hash_of(kept))


def unsealed(runs: Sequence[RunRecord], record: Record) -> list[RunRecord]:
    """Return runs as the sealed split judges them; as they are where it was not drawn to the end."""
    return (
        [_judged(run, record.results.get(run.folder.name, {})) for run in runs]
        if record.is_complete
        else [*runs]
    )


def _judged(run: RunRecord, rows: Mapping[str, Row]) -> RunRecord:
    last = max((e.iteration for e in (run.final, *run.curve) if e), default=0)
    costs = next((e for e in (run.final, *reversed(run.curve)) if e and e.iteration == last), None)
    return replace(
        run,
        config=override(run.config, eval={"final": SEALED}),
        before=_evaluation(rows["before"], None, 0) if "before" in rows else None,
        final=_evaluation(rows["after"], costs, last) if "after" in rows else None,
    )


def _evaluation(row: Row, costs: Evaluation | None, iteration: int) -> Evaluation:
    kept = row["outcomes"]
    success_T = np.array([float(c) for c in kept["success"]])
    found = Evaluation(
        iteration=iteration,
        env_steps=0,
        tokens=0,
        train_s=0.0,
        row=row,
        index_T=np.array(kept["index"], int),
        success_T=success_T,
        score_T=np.array(kept["score"], float) if "score" in kept else success_T,
    )
    if costs is None:
        return found
    spent = ("env_steps", "tokens", "train_s", "processed_tokens", "processor_s")
    return replace(found, **{key: getattr(costs, key) for key in spent})


def told_of(record: Record) -> Row:
    """Return what a table says of the draws; {} where there were none."""
    if not record.draws:
        return {}
    keys = ("at", "commit", "version", "hash")
    draws = [{key: getattr(d, key) for key in keys} | {"runs": len(d.runs)} for d in record.draws]
    return {"draws": draws, "is_complete": record.is_complete, "tasks": record.draws[-1].tasks}


def paragraph(told: Row) -> str:
    """Return the paragraph of a table that says how often the sealed split was drawn, and for what.

    >>> first = {"at": "2026-03-01 10:00", "commit": "abc", "version": "0.2.0", "hash": "f00", "runs": 15}
    >>> tasks = {"toy": ["200", "beef"]}
    >>> print(paragraph({"draws": [first], "is_complete": True, "tasks": tasks}))
    Sealed split, drawn once: 2026-03-01 10:00 UTC, 15 runs, commit abc, himac 0.2.0, hash f00. Tasks: toy 200 (beef).
    """
    *earlier, last = [_words(draw) for draw in told["draws"]]
    tasks = ", ".join(f"{name} {count} ({digest})" for name, (count, digest) in told["tasks"].items())
    often = "drawn once" if not earlier else f"drawn {len(earlier) + 1} times, the last time"
    text = f"Sealed split, {often}: {last}. Tasks: {tasks}."
    if earlier:
        text += f" **It had been drawn before**: {'; '.join(earlier)}. Whatever was changed since then was changed knowing it."
    return (
        text
        if told["is_complete"]
        else f"{text} This draw was broken off; the tables are of the final split."
    )


def _words(draw: Row) -> str:
    commit = f"commit {draw['commit']}" if draw["commit"] else "commit unknown"
    return f"{draw['at']} UTC, {draw['runs']} runs, {commit}, himac {draw['version']}, hash {draw['hash']}"


def _hash_of(results: Mapping[str, dict[str, Row]]) -> str:
    return digest_of(json.dumps(results, sort_keys=True).encode())
