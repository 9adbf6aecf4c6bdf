"""The report in a real browser: filters filter, the timeline steps, boards move, nothing hostile runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from driving import errors, find, find_all, open_page, wait, width_of

from himac.report.page import build_report
from himac.runs.folder import CONFIG, EPISODES, read_rows


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report([run_folder], tmp_path_factory.mktemp("page") / "report.html").as_uri()


@pytest.fixture(scope="module")
def long_episode(run_folder: Path) -> str:
    """Address of an episode of at least five steps."""
    rows = read_rows(run_folder / EPISODES)
    return f"episode/0/{next(place for place, row in enumerate(rows) if row['env_steps'] >= 5)}"


def _count(browser: Any) -> int:
    return int(find(browser, "#count").get_attribute("data-count"))


def _pick(browser: Any, name: str, value: str) -> None:
    before = browser.execute_script("return location.hash")
    script = "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    browser.execute_script(script, f"[data-filter={name}] select", value)
    wait(lambda: browser.execute_script("return location.hash") != before)
    wait(lambda: browser.execute_script("return '#' + document.body.dataset.ready === location.hash"))


def test_the_run_page_draws_curves_and_facts_without_an_error(browser: Any, page: str) -> None:
    open_page(browser, page, "run")
    assert len(find_all(browser, ".chart")) >= 8
    assert find(browser, "h1").text == "sokoban"
    assert "null" not in find(browser, "main").text.split() and "NaN" not in find(browser, "main").text
    assert errors(browser) == []


def test_filters_filter(browser: Any, page: str) -> None:
    open_page(browser, page, "episodes")
    assert _count(browser) == 5 + 2 * 2 * (4 + 3) + 5
    _pick(browser, "phase", "planner")
    assert _count(browser) == 2 * 2 * 4
    _pick(browser, "iteration", "2")
    assert _count(browser) == 2 * 4
    assert {e.text for e in find_all(browser, ".groups .where")} == {"iteration 2 · phase A"}
    find(browser, ".filters button").click()
    wait(lambda: _count(browser) == 38)


def test_the_timeline_steps_and_the_board_moves_by_buttons_and_keys(
    browser: Any, page: str, long_episode: str
) -> None:
    open_page(browser, page, long_episode)
    board = lambda: find(browser, ".board").get_attribute("data-board")  # noqa: E731
    start = board()
    assert not find_all(browser, ".turn.now")
    find(browser, "#forth").click()
    assert len(find_all(browser, ".turn.now")) == 1 and "step 1" in find(browser, ".stage .label").text
    find(browser, "body").send_keys("\ue014")  # arrow right
    assert "step 2" in find(browser, ".stage .label").text
    find(browser, "body").send_keys("\ue012")
    find(browser, "#back").click()
    assert board() == start
    moved = set()
    for name in ("up", "down", "left", "right"):
        find(browser, "#forth").click()
        find(browser, "#back").click()
        find(browser, f"[data-move={name}]").click()
        moved.add(board())
    assert len(moved - {start}) >= 1
    assert errors(browser) == []


def test_an_episode_plays_by_itself(browser: Any, page: str, long_episode: str) -> None:
    open_page(browser, page, long_episode)
    watch = """const label = document.querySelector('.stage .label'); window.seen = [];
      new MutationObserver(() => window.seen.push(label.textContent)).observe(label, { childList: true });"""
    browser.execute_script(watch)
    find(browser, "#play").click()
    wait(lambda: any(text.startswith("step 2 ") for text in browser.execute_script("return window.seen")))
    if find(browser, "#play").text == "pause":
        find(browser, "#play").click()
    wait(lambda: find(browser, "#play").text == "play")
    steps = [int(text.split()[1]) for text in browser.execute_script("return window.seen")]
    assert steps == list(range(1, len(steps) + 1))


def test_the_coloured_tokens_are_the_ones_that_were_trained(
    browser: Any, page: str, run_folder: Path
) -> None:
    rows = list(read_rows(run_folder / EPISODES))
    place, row = next((place, row) for place, row in enumerate(rows) if row["phase"] == "executor")
    turns = [turn for segment in row["segments"] for turn in segment["turns"]]
    open_page(browser, page, f"episode/0/{place}")
    said = [node.get_attribute("data-said") for node in find_all(browser, ".timeline .token")]
    assert len(said) == sum(turn["end"] - turn["start"] for turn in turns)
    assert all(text.endswith("trained: mask 1") for text in said)
    ids = [i for turn in turns for i in row["contexts"][turn["context"]]["ids"][turn["start"] : turn["end"]]]
    assert [int(text.split(" id ")[1].split(" ")[0]) for text in said] == ids
    find(browser, "details summary").click()
    wait(lambda: len(find_all(browser, ".sequence .token")) == len(row["contexts"][0]["ids"]))
    masked = [n for n in find_all(browser, ".sequence .token") if "mask 1" in n.get_attribute("data-said")]
    assert len(masked) == sum(end - start for start, end in row["contexts"][0]["sampled"])


def test_the_numbers_of_a_token_stand_under_the_pointer(browser: Any, page: str, run_folder: Path) -> None:
    open_page(browser, page, "episode/0/5")
    token = find(browser, ".timeline .token")
    assert not find(browser, "#tip").is_displayed()
    webdriver = pytest.importorskip("selenium.webdriver")
    webdriver.ActionChains(browser).move_to_element(token).perform()
    wait(lambda: find(browser, "#tip").is_displayed())
    said = find(browser, "#tip").text
    assert said == token.get_attribute("data-said")
    assert all(part in said for part in (" id ", "position ", "log p ", "advantage ", "mask 1"))
    webdriver.ActionChains(browser).move_to_element(find(browser, "h1")).perform()
    wait(lambda: not find(browser, "#tip").is_displayed())


def test_the_colours_follow_the_choice(browser: Any, page: str) -> None:
    open_page(browser, page, "episode/0/6")
    count = lambda css: len(find_all(browser, f".timeline .token{css}"))  # noqa: E731
    find(browser, "input[value=none]").click()
    wait(lambda: count(":is(.good, .bad, .sure)") == 0)
    find(browser, "input[value=logp]").click()
    wait(lambda: count(".sure") == count("") > 0)
    find(browser, "input[value=advantage]").click()
    wait(lambda: count(".sure") == 0)
    assert 0 < count(":is(.good, .bad)") < count("")  # phase A: the blueprint's tokens alone were trained


def test_episodes_without_tokens_show_their_text(browser: Any, run_folder: Path, tmp_path: Path) -> None:
    """A model behind an endpoint gives texts; its contexts are empty."""
    (tmp_path / CONFIG).write_bytes((run_folder / CONFIG).read_bytes())
    row = next(iter(read_rows(run_folder / EPISODES)))
    empty = {"ids": [], "sampled": [], "logps": []}
    turns = [turn for segment in row["segments"] for turn in segment["turns"]]
    for turn in [row["planning"], *turns]:
        turn |= {"start": 0, "end": 0}
    (tmp_path / EPISODES).write_text(json.dumps({**row, "contexts": [empty] * len(row["contexts"])}) + "\n")
    page = build_report([tmp_path], tmp_path / "report.html").as_uri()
    open_page(browser, page, "episode/0/0")
    said = [node.text for node in find_all(browser, ".timeline .raw .tokens")]
    assert [text.split() for text in said] == [turn["text"].split() for turn in [row["planning"], *turns]]
    assert "no tokens" in find(browser, "main").text
    assert errors(browser) == []


def test_task_types_are_a_filter(browser: Any, household_folder: Path, tmp_path: Path) -> None:
    rows = list(read_rows(household_folder / EPISODES))
    kind = rows[0]["task"]["kind"]
    page = build_report([household_folder], tmp_path / "report.html").as_uri()
    open_page(browser, page, "episodes")
    _pick(browser, "kind", kind)
    assert _count(browser) == sum(row["task"]["kind"] == kind for row in rows) < len(rows)
    _pick(browser, "stop", "max_steps")
    wanted = [r for r in rows if r["task"]["kind"] == kind and r["stop"] == "max_steps"]
    assert _count(browser) == len(wanted)


def test_a_group_stands_side_by_side_with_its_executions(browser: Any, page: str) -> None:
    open_page(browser, page, "group/0/6")
    assert len(find_all(browser, ".card")) == 4 + 3
    assert len(find_all(browser, ".card.best")) == 1
    assert len(find_all(browser, ".thumb .board .player")) == 1  # what the task is
    assert errors(browser) == []


def test_nothing_a_model_writes_runs(browser: Any, hostile_folder: Path, tmp_path: Path) -> None:
    url = build_report([hostile_folder], tmp_path / "report.html").as_uri()
    count = len(_episodes(browser, url))
    for address in ("run", "episodes", *(f"episode/0/{i}" for i in range(0, count, 3)), "group/0/6"):
        open_page(browser, url, address)
        assert browser.execute_script("return window.pwned") is None
        assert not find_all(browser, "main script, main img, main b:empty")
    open_page(browser, url, "episode/0/6")
    assert "window.pwned=1" in find(browser, "main").text  # shown, as text
    assert errors(browser) == []


def _episodes(browser: Any, url: str) -> list[Any]:
    open_page(browser, url, "episodes")
    return find_all(browser, ".marks .mark")


def test_an_injected_script_is_stopped_by_the_policy(browser: Any, page: str) -> None:
    open_page(browser, page, "run")
    add = "const s = document.createElement('script'); s.textContent = 'window.pwned = 1'; document.body.append(s);"
    browser.execute_script(
        add + "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=pwned=1>')"
    )
    time.sleep(0.2)
    assert browser.execute_script("return window.pwned") is None
    browser.get_log("browser")  # the policy's own complaints


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_scrolls_sideways(browser: Any, page: str, width: int) -> None:
    script = "const m = document.querySelector('main'); return [m.scrollWidth - m.clientWidth, document.documentElement.scrollWidth - innerWidth]"
    with width_of(browser, width):
        for address in (
            "run",
            "episodes",
            "episodes?q=go",
            "episodes?sort=return",
            "group/0/6",
            "episode/0/6",
        ):
            open_page(browser, page, address)
            assert max(browser.execute_script(script)) <= 0, address
