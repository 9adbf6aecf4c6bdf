"""The page of a run and of several: what was run, how they differ, means over seeds, numbers under the keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from driving import errors, find, find_all, open_page
from scripted import write_run

from himac import __version__
from himac.report.page import build_report
from himac.runs.folder import CONFIG, METRICS, RECIPE, read_rows

SHORT = ("env=sokoban", "env.size=[6,6]", "env.boxes=1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of one setting, each with a start of its own, and one run of another setting."""
    root = tmp_path_factory.mktemp("runs")
    made = []
    for name, seed, more in (("one-0", 0, ()), ("one-1", 1, ()), ("other", 0, ("agent.subgoal_turns=2",))):
        words = (*SHORT, *more, f"run.name={name}", f"model.name=runs/start-{seed}/start")
        made.append(write_run(root / name, env=words, iterations=1, seed=seed))
    return made


@pytest.fixture(scope="module")
def page(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report(folders, tmp_path_factory.mktemp("page") / "report.html").as_uri()


def _table(browser: Any, name: str) -> list[list[str]]:
    script = """return [...document.querySelectorAll(`[aria-label="${arguments[0]}"] tr`)]
      .map((row) => [...row.children].map((cell) => cell.textContent))"""
    return browser.execute_script(script, name)


def _last_success(folder: Path) -> float:
    return [row["success"] for row in read_rows(folder / METRICS) if row["phase"] == "eval"][-1]


def test_several_runs_are_compared_and_seeds_averaged(browser: Any, page: str, folders: list[Path]) -> None:
    open_page(browser, page, "run")
    assert find(browser, "h1").text == "3 runs"
    rows = _table(browser, "Comparison of runs")
    assert [row[0] for row in rows[1:]] == [
        "one-0",
        "one-1",
        "mean of 2 seeds: one-0 and 1 more (seeds)",
        "other",
    ]
    values = [_last_success(folder) for folder in folders]
    percent = [float(row[3].rstrip(" %")) / 100 for row in rows[1:]]
    assert percent == pytest.approx([values[0], values[1], (values[0] + values[1]) / 2, values[2]], abs=6e-4)
    assert errors(browser) == []


def test_it_says_in_what_the_runs_differ(browser: Any, page: str) -> None:
    open_page(browser, page, "run")
    rows = _table(browser, "Settings in which the runs differ")
    assert rows == [
        ["setting", "one-0", "one-1", "other"],
        ["model.name", '"runs/start-0/start"', '"runs/start-1/start"', '"runs/start-0/start"'],
        ["agent.subgoal_turns", "4", "4", "2"],
    ]


def test_each_run_unfolds(browser: Any, page: str) -> None:
    open_page(browser, page, "run")
    shown = (
        "return [...document.querySelectorAll('details.run dl')].filter((n) => n.checkVisibility()).length"
    )
    assert browser.execute_script(shown) == 0
    for line in find_all(browser, "details.run > summary"):
        line.click()
    assert browser.execute_script(shown) >= 3


def test_the_arrow_keys_read_a_curve_out(browser: Any, page: str, folders: list[Path]) -> None:
    open_page(browser, page, "run")
    chart = find(browser, ".chart svg")
    browser.execute_script("arguments[0].focus()", chart)
    chart.send_keys("\ue012")  # arrow left
    low, high = sorted(_last_success(folder) for folder in folders[:2])
    said = find(browser, ".chart .reading").text
    assert said.startswith("iteration 1: one-0, evaluation on val")
    spread = said.split("[")[1].split("]")[0].split(", ")
    assert [float(part.rstrip(" %")) / 100 for part in spread] == pytest.approx([low, high], abs=6e-4)


def test_the_settings_tell_recipe_from_command_line(
    browser: Any, folders: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "told"
    folder.mkdir()
    for name in (CONFIG, METRICS):
        (folder / name).write_bytes((folders[0] / name).read_bytes())
    (folder / RECIPE).write_text("[rollout]\ngroup_size = 16\n[agent]\nmax_steps = 10\n")
    (folder / "machine.json").write_text(json.dumps({"processor": "Difference Engine", "himac": "0.1.0"}))
    open_page(browser, build_report([folder], tmp_path / "report.html").as_uri(), "run")
    rows = {row[0]: row[1:] for row in _table(browser, "Settings")}
    assert rows["setting"] == ["this run", "recipe", "default"]
    assert rows["rollout.group_size"] == ["4", "16", "8"]
    assert rows["agent.max_steps"] == ["10", "10", "0"]
    assert rows["env.boxes"] == ["1", "–", "–"]
    assert [node.text for node in find_all(browser, "td b")] == [
        "4"
    ]  # the command line overrode the recipe here alone
    text = find(browser, "main").text
    assert "Difference Engine" in text and "Made " in text and f"himac {__version__}" in text


def test_small_rates_are_not_shown_as_zero(browser: Any, folders: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / CONFIG).write_bytes((folders[0] / CONFIG).read_bytes())
    rows = [{**row, "inadmissible": 0.0004} for row in read_rows(folders[0] / METRICS)]
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    open_page(browser, build_report([folder], tmp_path / "report.html").as_uri(), "run")
    chart = next(f for f in find_all(browser, "figure") if f.text.startswith("Inadmissible"))
    labels = [n.get_attribute("textContent") for n in chart.find_elements("css selector", "svg text")]
    assert labels.count("0 %") == 1
    assert "0.04 %" in chart.find_element("css selector", "svg").get_attribute("aria-label")
