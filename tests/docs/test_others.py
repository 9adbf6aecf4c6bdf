"""The table of other libraries: every cell about one of them has a source or says that it has none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "others.md").read_text(encoding="utf-8")
_TABLE = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
ROWS = _TABLE[1:]
SOURCES = {int(n) for n in re.findall(r"^(\d+)\. \[[^\]]+\]\(https://", PAGE, re.MULTILINE)}


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_each_cell_about_another_library_names_a_source_or_says_not_checked(row: list[str]) -> None:
    _, _, *others = row
    assert len(others) == 5, "TRL, verl-agent, verifiers + prime-rl, tinker-cookbook, Gymnasium"
    unsourced = [cell for cell in others if not re.search(r"\[\d+\]", cell)]
    assert set(unsourced) <= {"not checked", "-"}


def test_sources_are_used_and_uses_have_sources() -> None:
    used = {int(n) for n in re.findall(r"\[(\d+)\]", PAGE)}
    assert used == SOURCES
    assert set(range(1, len(SOURCES) + 1)) == SOURCES


def test_the_table_says_when_it_was_made() -> None:
    assert re.search(r"as of \*\*\d+ \w+ \d{4}\*\*", PAGE)
