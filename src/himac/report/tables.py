"""Tables in Markdown."""

from __future__ import annotations

import functools
import itertools
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from himac.files import write_text
from himac.runs.folder import METRICS, read_rows
from himac.types import Row

TABLE = "table.md"  # of a run
OVERLAP = (
    "Careful: the world says that its splits overlap: tasks of the evaluation may be among those trained on."
)
_NAMES = {
    "iteration": "iteration",
    "split": "split",
    "kind": "kind",
    "best_of": "best of",
    "episodes": "episodes",
    "success": "success",
    "interval": "95 % interval",
    "score": "score",
    "return": "return",
    "env_steps": "env steps",
    "turns": "turns",
    "tokens": "tokens",
    "sub_done": "done",
    "fallback": "forced",
    "malformed": "malformed",
    "unreadable": "unreadable",
    "inadmissible": "inadmissible",
}
_FORMS = {"success": ".3f", "score": ".3f", "return": ".2f", "env_steps": ".1f", "turns": ".1f", "tokens": ".0f", "sub_done": ".2f", "fallback": ".2f", "malformed": ".2f", "unreadable": ".2f", "inadmissible": ".2f"}  # fmt: skip


def evaluation_table(rows: Sequence[Row], *, width: int | None = None) -> str:
    """Return evaluations as a Markdown table: a row per trial where there were several, then one per task kind.

    >>> print(evaluation_table([{"split": "val", "episodes": 2, "success": 0.5, "success_low": 0.1, "success_high": 0.9}]))
    | split | episodes | success | 95 % interval |
    |-------|----------|---------|---------------|
    | val   | 2        | 0.500   | 0.100 - 0.900 |
    """
    if not rows:
        return "no evaluation (eval.every, eval.final)"
    lines = [line for row in rows for line in _with_kinds(row)]
    keys = [key for key in _NAMES if any(key in line for line in lines)]
    cells = [[_cell(line, key) for key in keys] for line in lines]
    shown = markdown([_NAMES[key] for key in keys], cells)
    while width is not None and len(keys) > 1 and len(shown.partition("\n")[0]) > width:
        keys.pop()
        shown = markdown([_NAMES[key] for key in keys], [row[: len(keys)] for row in cells])
    return "\n".join([shown, *(narrow(line, width) for line in provenance_lines(rows))])


def run_table(folder: Path, *, width: int | None = None) -> str:
    """Write a run's evaluations as a table (table.md); return it, its last columns left out where it is wider than `width`."""
    rows = [row for row in read_rows(folder / METRICS) if row["phase"] == "eval"]
    table = evaluation_table(rows)
    write_text(folder / TABLE, table + "\n")
    return table if width is None else evaluation_table(rows, width=width)


def provenance_lines(rows: Sequence[Row]) -> list[str]:
    """Say below a table what its numbers have to be reported with, and warn where test tasks were trained on."""
    told = list(dict.fromkeys(json.dumps(r["provenance"]) for r in rows if r.get("provenance")))
    lines = []
    for fact in map(json.loads, told):
        lines += ["", "; ".join(f"{key}: {value}" for key, value in fact.items())]
        if fact.get("splits_overlap"):
            lines += ["", OVERLAP]
    return lines


def markdown(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table."""
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in [head, *cells]]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def narrow(page: str, width: int | None) -> str:
    """Return a Markdown page for a terminal: prose goes on in the next line, a table too wide in one below it.

    Nothing is left out; a table's first column is repeated. A width of None takes the page as it is.

    >>> print(narrow(markdown(["method", "success", "minutes"], [["HiMAC", "59.1", "12.0"]]), 20))
    | method | success |
    |--------|---------|
    | HiMAC  | 59.1    |
    <BLANKLINE>
    | method | minutes |
    |--------|---------|
    | HiMAC  | 12.0    |
    """
    if width is None:
        return page
    blocks = ([*lines] for _, lines in itertools.groupby(page.split("\n"), lambda line: line.startswith("|")))
    return "\n".join(_narrow_block(lines, width) for lines in blocks)


def _narrow_block(lines: Sequence[str], width: int) -> str:
    """Return lines of a table, or lines that are none, no wider than they can be."""
    if max(map(len, lines)) <= width or lines[0].count("|") == 2:
        return "\n".join(lines)
    if not lines[0].startswith("|"):
        return "\n".join(map(functools.partial(_wrapped, width=width), lines))
    first, *columns = zip(*([cell.strip() for cell in line.split("|")[1:-1]] for line in lines), strict=True)
    widths = [max(map(len, (column[0], *column[2:]))) for column in columns]
    margin, parts = max(map(len, (first[0], *first[2:]))) + 4, [[0]]
    for index in range(1, len(columns)):
        if margin + sum(widths[i] + 3 for i in (*parts[-1], index)) > width:
            parts.append([])
        parts[-1].append(index)
    cells = ([[first[row], *(columns[i][row] for i in part)] for row in range(len(first))] for part in parts)
    return "\n\n".join(markdown(rows[0], rows[2:]) for rows in cells)


def _wrapped(line: str, *, width: int) -> str:
    """Return a line of prose as lines; those of a list's item stand below its words."""
    indent = "  " if line.startswith("- ") else ""
    found = textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(found) or line


def _with_kinds(row: Row) -> list[Row]:
    own = {**row, "interval": f"{row['success_low']:.3f} - {row['success_high']:.3f}"}
    kinds = own.pop("kinds", {})
    trials = own.pop("after_trial", [])
    rest = [
        line
        for kind, part in kinds.items()
        for line in _with_kinds({"split": row["split"], "kind": kind, **_best_of(own), **part})
    ]
    earlier = [line for part in trials[:-1] for line in _with_kinds({"split": row["split"], **part})]
    return [*earlier, own, *rest]


def _best_of(row: Row) -> Row:
    return {"best_of": row["best_of"]} if "best_of" in row else {}


def _cell(line: Row, key: str) -> str:
    value = line.get(key, "")
    return f"{value:{_FORMS[key]}}" if key in _FORMS and value != "" else str(value)
