"""The README: short, with numbers from files, and readable on a package index."""

from __future__ import annotations

import doctest
import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOR_AN_INDEX = runpy.run_path(str(ROOT / "setup.py"), run_name="docs")["for_an_index"]
_RELATIVE = re.compile(r"\]\((?!https?://|#)[^)]*\)")


def test_the_readme_has_120_lines_at_most() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("source", ["", "https://example.org/himac"])
def test_on_an_index_no_link_leads_to_a_file_beside_the_page(source: str) -> None:
    assert _RELATIVE.search(README)
    shown = FOR_AN_INDEX(README, source)
    assert not _RELATIVE.search(shown)
    assert "not reproduced" in shown
    assert ("/raw/main/docs/img/two-phases.svg" in shown) == bool(source)


def test_what_the_readme_says_of_the_comparison_is_in_its_file() -> None:
    path = ROOT / "benchmarks" / "results" / "compare_alfworld_two_passes.json"
    judged = json.loads(path.read_text(encoding="utf-8"))["environments"]["alfworld"]
    ours, grpo = judged["methods"]["himac"], judged["methods"]["grpo"]
    lead = next(d for d in judged["differences"] if d["to"] == "grpo")
    said = " ".join(README.split())
    assert (
        f"HiMAC {100 * ours['success']['mean']:.1f} %, GRPO {100 * grpo['success']['mean']:.1f}, a difference of "
        f"{100 * lead['mean']:.1f} points [{100 * lead['low']:.1f}, {100 * lead['high']:.1f}]; "
        f"before training it was {100 * (ours['before'] - grpo['before']):.1f}."
    ) in said


def test_the_drawing_is_up_to_date_and_its_advantages_are_those_of_the_page_that_explains_them() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_drawing.py"), run_name="docs")
    drawn = (ROOT / "docs" / "img" / "two-phases.svg").read_text(encoding="utf-8")
    assert drawn == script["drawing"](), "run docs/make_drawing.py"
    page = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    for key in ("PHASE_A", "PHASE_B"):
        cells = " | ".join(f"{a:.2f}" for a in script["_advantages"](script[key]))
        assert f"| advantage | {cells} |" in page


def test_pictures_are_there() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(shown) == 3
    assert all((ROOT / path).is_file() for path in shown)


def test_the_examples_in_setup_py_are_true() -> None:
    script = runpy.run_path(str(ROOT / "setup.py"), run_name="docs")
    tests = doctest.DocTestFinder().find(script["for_an_index"], "for_an_index", globs=script)
    assert sum(len(test.examples) for test in tests) == 2
    assert all(doctest.DocTestRunner().run(test).failed == 0 for test in tests)
