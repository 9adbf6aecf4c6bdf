"""What a comparison's finished runs are judged by, in one small file: for other machines, and for readers of its numbers.

    himac compare PLAN --keep FILE        writes it
    himac compare FILE... --out FOLDER    lays runs in a folder and judges them; the plan goes on there

A run is kept as its config, its machine, its table and its evaluations with the outcome of every task: some kilobytes. Left out:
weights, episodes and what training did in between, so a kept run can be judged and not resumed, shown or unsealed.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from himac.compare.comparison import NAME
from himac.compare.criteria import FILE as TERMS
from himac.compare.seal import FILE as SEALED
from himac.compare.tuning import FILE as TUNED
from himac.errors import DataError
from himac.files import make_folder, parse_json, read_text, reading, write_text, write_with
from himac.report.reading import read_metrics
from himac.report.tables import TABLE
from himac.runs.folder import CONFIG, MACHINE, METRICS
from himac.types import Json, Row

KIND = "himac runs"
_MOST_BYTES = 2**28  # of a file, unpacked
_GZIP = 31  # zlib's word for a gzip header
_OF_RUN = (CONFIG, MACHINE, TABLE)
_BESIDE = (TERMS, TUNED, SEALED)
_PER_RUN = ("names", "starts")  # of the terms, what each run has its own entry in


class _Kept(msgspec.Struct):
    kind: str
    beside: dict[str, str]  # {file: text}
    runs: dict[str, dict[str, str]]  # {folder: {file: text}}


def keep(out: Path, folders: Sequence[Path], file: Path) -> int:
    """Write what finished runs are judged by.

    Args:
        out: folder of the comparison.
        folders: its runs; those that are not finished are left out.
        file: where to.

    Returns:
        How many runs it holds.

    Raises:
        DataError: none is finished, or two have one name.
    """
    runs: dict[str, dict[str, str]] = {}
    for folder in folders:
        if not (folder / TABLE).is_file():  # the last thing that a run writes
            continue
        if folder.name in runs:
            raise DataError(f"two runs are called {folder.name!r}; a file keeps runs by their names")
        evaluations = [row for row in read_metrics(folder) if row["phase"] == "eval"]
        told = {name: read_text(folder / name) for name in _OF_RUN if (folder / name).is_file()}
        runs[folder.name] = told | {METRICS: "".join(f"{json.dumps(row)}\n" for row in evaluations)}
    if not runs:
        raise DataError(f"no finished run in {str(out)!r}, so there is nothing to keep")
    beside = {name: read_text(out / name) for name in _BESIDE if (out / name).is_file()}
    data = json.dumps({"kind": KIND, "beside": beside, "runs": runs}, separators=(",", ":")).encode()
    write_with(
        file, lambda part: part.write_bytes(gzip.compress(data, mtime=0))
    )  # the same runs, the same bytes
    return len(runs)


def lay(files: Sequence[Path], out: Path) -> list[str]:
    """Lay kept runs in a comparison's folder. A run that is there already stays as it is.

    Args:
        files: what `keep` wrote; several may hold parts of one comparison.
        out: the folder.

    Returns:
        Names of the runs that were laid.

    Raises:
        DataError: not such a file, damaged, or of another comparison.
    """
    kept = [_read(file) for file in files]
    terms = _joined([parse_json(k.beside[TERMS]) for k in kept if TERMS in k.beside], out)
    make_folder(out)
    if terms:
        write_text(out / TERMS, json.dumps(terms, indent=1) + "\n")
    laid = []
    for one in kept:
        for name, text in one.beside.items():
            if name != TERMS and not (out / name).is_file():
                write_text(out / name, text)
        for run, told in one.runs.items():
            if not (out / run).exists():
                make_folder(out / run)
                for name in (*_OF_RUN, METRICS):
                    if name in told:
                        write_text(out / run / name, told[name])
                laid.append(run)
    return laid


def _read(file: Path) -> _Kept:
    with reading(file):
        packed = file.read_bytes()
    try:
        unpacker = zlib.decompressobj(_GZIP)
        data = unpacker.decompress(packed, _MOST_BYTES)
        if not unpacker.eof:
            raise ValueError(f"it is cut, or unpacks to more than {_MOST_BYTES >> 20} MB")
        kept = msgspec.json.decode(data, type=_Kept)
        if kept.kind != KIND:
            raise ValueError(f"its kind is {kept.kind!r}")
        for name in kept.runs:
            if not NAME.fullmatch(name) or name.strip(".") == "":
                raise ValueError(f"{name!r} cannot name a run's folder")
        if strange := set(kept.beside) - set(_BESIDE):
            raise ValueError(f"it holds {', '.join(sorted(strange))}")
        for name, text in kept.beside.items():
            if not isinstance(parse_json(text), dict):
                raise ValueError(f"its {name} is no table")
    except (ValueError, zlib.error, RecursionError) as error:
        raise DataError(
            f"cannot read {str(file)!r} as kept runs: {error}",
            hint="himac compare PLAN --keep FILE writes such a file",
        ) from error
    return kept


def _joined(terms: Sequence[Json], out: Path) -> Row:
    """Return the terms of all of them, those of the folder included, as one comparison's.

    Raises:
        DataError: they are of two comparisons.
    """
    there = [parse_json(read_text(out / TERMS))] if (out / TERMS).is_file() else []
    whole: dict[str, Any] = {}
    for one in [*there, *terms]:
        if whole and one.get("name") != whole["name"]:
            raise DataError(
                f"runs of two comparisons, {whole['name']!r} and {one.get('name')!r}",
                hint="give another --out",
            )
        own = {key: {**whole.get(key, {}), **one.get(key, {})} for key in _PER_RUN}
        whole = {**one, **own}
    return whole
