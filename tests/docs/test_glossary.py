"""What tables, charts and pages of a run call a thing stands in the glossary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from himac.report import tables, watch
from himac.report.query import subgoal_status
from himac.types import StopReason

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "src" / "himac" / "report" / "web"
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = {
    term.strip().replace("\\*", "*")
    for row in re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE)
    for term in row.split(",")
}
_PLAIN = {"iteration", "episodes", "tokens"}  # ordinary words, and plurals of a term
_ALSO = {"env steps": "environment step", "grad": "gradient norm", "gap max": "engine/learner gap"}
_ALSO |= {
    "zero variance": "groups without variance",
    "inadmissible": "inadmissible actions",
    "unreadable": "unreadable turns",
    "kl": "KL",
}


def _known(word: str) -> bool:
    word = _ALSO.get(word, word)
    return word in TERMS or word.removesuffix("s") in TERMS or word in _PLAIN


def _titles() -> list[str]:
    """Return the charts' titles, as "Groups without variance"."""
    found = re.findall(r'title: "([^"]+)"', (WEB / "curves.js").read_text(encoding="utf-8"))
    assert len(found) > 10
    return found


@pytest.mark.parametrize("column", sorted(set(tables._NAMES.values())))
def test_a_table_s_column_is_a_term(column: str) -> None:
    assert _known(column)


@pytest.mark.parametrize("key", [key for key, _ in watch._CURVES])
def test_a_curve_of_watch_is_a_term(key: str) -> None:
    assert _known(watch._WORDS.get(key, key.replace("_", " ")))


@pytest.mark.parametrize("title", _titles())
def test_a_chart_s_title_is_made_of_terms(title: str) -> None:
    """A title is a term, or two: "Segments forced", "Turns an episode"."""
    words = title[0].lower() + title[1:] if not title.startswith("KL") else title
    parts = re.split(r" an? | to the ", words)
    pairs = [
        part.split(" ", 1) if not _known(part) and part.split(" ")[0] == "segments" else [part]
        for part in parts
    ]
    assert all(_known(word) for pair in pairs for word in pair), title


def test_what_becomes_of_a_sub_goal_is_said_in_the_same_words_by_terminal_and_report() -> None:
    script = (WEB / "episode_page.js").read_text(encoding="utf-8")
    said = set(re.findall(r'^  \w+: \[".", "([^"]+)", "', script, re.MULTILINE))
    assert said == {"done", "forced", "never reached", "solved here", "ended here"} <= TERMS
    row = {"blueprint": {"subgoals": ["a", "b", "c"]}, "success": False}
    segments = [{"index": 0, "stop": "sub_done"}, {"index": 1, "stop": "budget"}]
    told = [what for _, what in subgoal_status(row | {"segments": segments})]
    assert told == ["done", "forced", "never reached"]


def test_each_kind_of_ending_is_told_once() -> None:
    told = re.findall(
        r"^\| `(\w+)` \| \S", PAGE.partition("## How it ends")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert told == [reason.value for reason in StopReason]


def test_the_words_for_a_forced_segment_that_files_keep_are_told() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| forced |"))
    assert "`budget`" in row and "`fallback`" in row
