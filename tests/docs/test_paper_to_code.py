"""docs/paper.md names functions and tests that exist, where it says they are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "paper.md"
_NAMED = re.compile(r"\[`[\w/.]+`\]\(\.\./([\w/.]+\.py)\) `(\w+)`")
_ROWS = [
    line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|") and ".py" in line
]


@pytest.mark.parametrize("row", _ROWS, ids=[row.split("|")[1].strip()[:40] for row in _ROWS])
def test_a_row_names_a_function_a_test_and_what_differs(row: str) -> None:
    _, piece, function, test, differs, _ = _cells(row)
    assert piece and differs
    assert _missing(function, "src/himac/") == [], "a function of the package"
    assert _missing(test, "tests/") == [], "a test"


def test_a_name_that_is_nowhere_would_be_noticed() -> None:
    cell = "[`algo/losses.py`](../src/himac/algo/losses.py) `no_such_loss`"
    assert _missing(cell, "src/himac/") == ["no_such_loss"]
    assert _missing(cell, "tests/") == ["no_such_loss"]


def test_the_page_has_the_whole_method() -> None:
    assert len(_ROWS) >= 25


def _cells(row: str) -> list[str]:
    cells = re.split(r" ?(?<!\\)\| ?", row)
    assert len(cells) == 6, f"{len(cells) - 2} cells"
    return cells


def _missing(cell: str, folder: str) -> list[str]:
    """Return the names of a cell that their file does not define at its top level."""
    named = _NAMED.findall(cell)
    assert named, f"no file and name in {cell!r}"
    return [name for path, name in named if not path.startswith(folder) or name not in _defined(ROOT / path)]


def _defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
