"""Group and task pages in a real browser: the first state, attempts side by side, a blueprint over training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from driving import errors, find, find_all, open_page, wait, width_of

from himac.report.boards import Boards
from himac.report.page import build_report
from himac.report.reading import fates
from himac.runs.folder import EPISODES, read_rows
from himac.types import Row


@pytest.fixture(scope="module")
def page(words_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report([words_folder], tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture(scope="module")
def rows(words_folder: Path) -> list[Row]:
    return list(read_rows(words_folder / EPISODES))


def _drawn(node: Any) -> str:
    return node.find_element("css selector", ".board").get_attribute("data-board").replace("/", "\n")


def test_an_episode_told_in_words_is_drawn_and_can_be_played_on(
    browser: Any, page: str, rows: list[Row], words_folder: Path
) -> None:
    place = next(place for place, row in enumerate(rows) if row["env_steps"] >= 3)
    boards = Boards(words_folder).of(rows[place]).boards
    open_page(browser, page, f"episode/0/{place}")
    for board in boards:
        assert _drawn(find(browser, ".stage .view")) == board
        find(browser, "#forth").click()
    assert "you: row" in find(browser, ".stage .shown").get_attribute("textContent")
    for _ in boards:
        find(browser, "#back").click()
    moved = set()
    for name in ("up", "down", "left", "right"):
        find(browser, f"[data-move={name}]").click()
        moved.add(_drawn(find(browser, ".stage .view")))
    assert len(moved | {boards[0]}) > 1
    assert errors(browser) == []


def test_a_group_begins_with_its_task_and_first_state(
    browser: Any, page: str, rows: list[Row], words_folder: Path
) -> None:
    place = next(place for place, row in enumerate(rows) if row["phase"] == "planner")
    open_page(browser, page, f"group/0/{place}")
    task = find(browser, ".task")
    assert _drawn(task) == Boards(words_folder).of(rows[place]).boards[0]
    assert "Push every box onto a target." in task.text
    assert rows[place]["instruction"].split("\n")[0] in task.text


def test_attempts_stand_side_by_side_by_step_and_by_sub_goal(
    browser: Any, page: str, rows: list[Row], words_folder: Path
) -> None:
    places = [p for p, row in enumerate(rows) if row["phase"] == "executor" and row["iteration"] == 1][:3]
    open_page(browser, page, f"group/0/{places[0]}?with={places[0]},{places[1]}&by=step")
    heads = [head.text.split("\n")[0] for head in find_all(browser, ".sides thead th")[1:]]
    assert heads == ["attempt B1", "attempt B2"]
    acted = [_actions(rows[place]) for place in places]
    parting = next(i for i, pair in enumerate(itertools.zip_longest(*acted[:2]), 1) if pair[0] != pair[1])
    boards = Boards(words_folder)
    cells = find(browser, f".sides [data-step='{parting}']").find_elements("css selector", "td")
    for cell, actions, place in zip(cells, acted, places, strict=False):
        if parting <= len(actions):
            assert cell.find_element("css selector", "code").text == actions[parting - 1]
            assert _drawn(cell) == boards.of(rows[place]).boards[parting]
    find(browser, f".choice [data-id='{places[2]}']").click()
    wait(lambda: len(find_all(browser, ".sides thead th")) == 4)
    find(browser, ".choice input[value=subgoal]").click()
    wait(lambda: find(browser, ".sides thead th").text == "sub-goal")
    assert len(find_all(browser, ".sides tbody tr")) >= max(len(rows[p]["segments"]) for p in places)
    assert browser.execute_script("return location.hash").endswith("&by=subgoal")
    for place in places[:2]:
        find(browser, f".choice [data-id='{place}']").click()
    wait(lambda: "Choose two or more attempts" in find(browser, ".beside").text)
    assert errors(browser) == []


def _actions(row: Row) -> list[str]:
    turns = [turn for segment in row["segments"] for turn in segment["turns"]]
    return [turn["action"] for turn in turns if turn["action"] is not None]


def test_a_task_lists_its_blueprint_at_every_evaluation_and_marks_what_changed(
    browser: Any, page: str, rows: list[Row]
) -> None:
    tasks = {row["task"]["index"] for row in rows if row["phase"] == "eval"}
    assert len(tasks) == 5
    for index in tasks:
        own = [
            (p, row) for p, row in enumerate(rows) if row["phase"] == "eval" and row["task"]["index"] == index
        ]
        open_page(browser, page, f"task/0/{own[0][0]}")
        stations = find_all(browser, ".career > li")
        assert [int(s.get_attribute("data-iteration")) for s in stations] == [r["iteration"] for _, r in own]
        before, now = own[-2][1], own[-1][1]
        kept = "!e.closest('{}') && !e.closest('.status')"
        lines = (
            "const t = document.createTreeWalker(arguments[0].querySelector('.plan') ?? arguments[0], 4); let s = '', n;"
            "while ((n = t.nextNode())) {{ const e = n.parentElement; if ("
            + kept
            + ") s += n.data + ' '; }} return s"
        )
        for mark, row in (("del", now), ("ins", before)):
            text = browser.execute_script(lines.format(mark), stations[-1])
            assert text.split() == " ".join(row["blueprint"]["subgoals"]).split()
        assert ("success" in stations[-1].text) == now["success"]
    assert errors(browser) == []


def test_tasks_are_listed_by_what_became_of_them(browser: Any, page: str, rows: list[Row]) -> None:
    open_page(browser, page, "tasks")
    first, last = (
        {r["task"]["index"]: r["success"] for r in rows if r["phase"] == "eval" and r["iteration"] == i}
        for i in (0, 2)
    )
    counts = {h.text.split(":")[0]: int(h.text.split(": ")[1]) for h in find_all(browser, "main h2")}
    learned = sum(not first[i] and last[i] for i in first)
    assert counts.get("Learned", 0) == learned and sum(counts.values()) == 5
    find(browser, ".careers a").click()
    wait(lambda: find_all(browser, ".career") != [])


def test_all_tasks_are_counted_where_some_are_listed(
    browser: Any, rows: list[Row], words_folder: Path, tmp_path: Path
) -> None:
    url = build_report([words_folder], tmp_path / "few.html", most=len(rows) // 2).as_uri()
    open_page(browser, url, "tasks")
    counted = sum(int(h.text.split(": ")[1]) for h in find_all(browser, "main h2"))
    listed = len(find_all(browser, ".careers > li"))
    assert counted == 5 > listed > 0
    assert find(browser, ".counted").text == (
        f"Counted are all 5 tasks evaluated more than once; listed are the {listed} whose episodes are shown."
    )
    assert errors(browser) == []


def test_the_tasks_fates_are_those_of_their_first_and_last_evaluation() -> None:
    def told(iteration: int, split: str, index: list[int], success: str) -> Row:
        outcomes = {"index": index, "success": success}
        return {"phase": "eval", "iteration": iteration, "split": split, "outcomes": outcomes}

    rows = [
        told(0, "val", [3, 1, 2], "010"),
        {"phase": "eval", "iteration": 0, "split": "old"},
        {"phase": "executor", "iteration": 1},
        told(5, "val", [1, 2, 3], "000"),
        told(10, "val", [1, 2, 3, 4], "0111"),
        told(10, "test", [1], "1"),
    ]
    assert fates(rows) == {"val": {"index": [1, 2, 3], "first": "100", "last": "011"}}


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_scrolls_sideways(browser: Any, page: str, width: int) -> None:
    script = "const m = document.querySelector('main'); return [m.scrollWidth - m.clientWidth, document.documentElement.scrollWidth - innerWidth]"
    with width_of(browser, width):
        for address in ("tasks", "task/0/0", "group/0/6?with=6,7,8&by=step", "episode/0/0"):
            open_page(browser, page, address)
            assert max(browser.execute_script(script)) <= 0, address


def test_without_a_board_the_words_stand_there_and_a_line_says_why(
    browser: Any, words_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / EPISODES).write_bytes((words_folder / EPISODES).read_bytes())  # and no config
    url = build_report([tmp_path], tmp_path / "report.html").as_uri()
    open_page(browser, url, "episode/0/0")
    assert "you: row" in find(browser, ".stage .view").text
    assert find(browser, ".stage .unboarded").text.startswith("No board: ")
    open_page(browser, url, "group/0/6")
    assert "No board: " in find(browser, ".task").text
    assert errors(browser) == []
