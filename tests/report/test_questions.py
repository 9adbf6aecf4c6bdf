"""The report answers questions: where was that said, what surprised the model, which episodes are behind this point."""

from __future__ import annotations

import gzip
import json
import math
import re
import shutil
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from driving import errors, find, find_all, open_page, wait

from himac.cli.main import main
from himac.report.families import group_seeds
from himac.report.page import build_report
from himac.report.reading import sample_episodes
from himac.runs.folder import CONFIG, EPISODES, MACHINE, METRICS, START, read_rows
from himac.types import Row


@pytest.fixture(scope="module")
def unsure_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, with log-probabilities that differ from episode to episode: a scripted model's are all alike."""
    folder = tmp_path_factory.mktemp("runs") / "unsure"
    shutil.copytree(run_folder, folder)
    told = list(read_rows(run_folder / EPISODES))
    for place, row in enumerate(told):
        for context in row["contexts"]:
            context["logps"] = [p * (1 + place * 7 % 11) for p in context["logps"]]
    (folder / EPISODES).write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in told))
    return folder


@pytest.fixture(scope="module")
def rows(unsure_folder: Path) -> list[Row]:
    return list(read_rows(unsure_folder / EPISODES))


@pytest.fixture(scope="module")
def page(unsure_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report([unsure_folder], tmp_path_factory.mktemp("page") / "report.html").as_uri()


def _turns(row: Row) -> list[Row]:
    return [
        *([row["planning"]] if row["planning"] else []),
        *(t for s in row["segments"] for t in s["turns"]),
    ]


def _texts(row: Row) -> list[str]:
    """What a search looks at, as a person would list it."""
    given = "" if row["planning"] or not row["blueprint"] else "\n".join(row["blueprint"]["subgoals"])
    return [
        row["instruction"],
        given,
        *(t for turn in _turns(row) for t in (turn["text"], turn["observation"])),
    ]


def _marks(browser: Any) -> list[int]:
    """The episodes of the list, in its order."""
    while [b for b in find_all(browser, ".results > div > button") if b.is_displayed()]:
        find(browser, ".results > div > button").click()
    hrefs = [node.get_attribute("href") for node in find_all(browser, ".groups .mark")]
    return [int(str(href).rpartition("/")[2]) for href in hrefs]


def _search(browser: Any, words: str) -> None:
    box = find(browser, "#search")
    box.clear()
    box.send_keys(words)
    wait(lambda: find(browser, "#count").get_attribute("data-words") == words.strip())


@pytest.mark.parametrize(
    "words", ["lies", "GO UP", "finish 3", "<sub_done>", "no such words", "a.*b", "(", "-", "\\"]
)
def test_a_search_finds_every_episode_that_says_it_and_no_other(
    browser: Any, page: str, rows: list[Row], words: str
) -> None:
    open_page(browser, page, "episodes")
    _search(browser, words)
    says = lambda text: words.lower() in " ".join(text.lower().split())  # noqa: E731
    wanted = [place for place, row in enumerate(rows) if any(map(says, _texts(row)))]
    assert int(find(browser, "#count").get_attribute("data-count")) == len(wanted)
    assert _marks(browser) == wanted
    assert all(words.lower() == mark.text.lower() for mark in find_all(browser, "mark") if mark.text)
    assert errors(browser) == []


def test_a_match_leads_to_its_turn(browser: Any, page: str, rows: list[Row]) -> None:
    place, turn = next(
        (place, number)
        for place, row in enumerate(rows)
        for number, turn in enumerate(_turns(row))
        if number > 2 and "It lies" in turn["text"] and row["phase"] == "executor"
    )
    open_page(browser, page, "episodes?phase=executor&q=it+lies")
    for button in find_all(browser, ".places-found button"):
        button.click()
    address = f"#episode/0/{place}?turn={turn}"
    browser.execute_script("document.querySelector(arguments[0]).click()", f"a[href='{address}']")
    wait(lambda: browser.execute_script("return '#' + document.body.dataset.ready") == address)
    found = find(browser, ".turn.found")
    assert found.get_attribute("data-turn") == str(turn) and "It lies" in found.text
    top = browser.execute_script("return arguments[0].getBoundingClientRect().top / innerHeight", found)
    assert 0 < top < 1
    assert "now" in str(found.get_attribute("class"))  # the world beside it is the one after that turn
    browser.back()
    wait(lambda: len(find_all(browser, "#search")) == 1)
    assert find(browser, "#search").get_attribute("value") == "it lies"


def test_a_search_keeps_the_filters(browser: Any, page: str, rows: list[Row]) -> None:
    open_page(browser, page, "episodes?phase=planner&iteration=2")
    _search(browser, "go")
    of = [i for i, row in enumerate(rows) if row["phase"] == "planner" and row["iteration"] == 2]
    assert _marks(browser) == [i for i in of if any("go" in text.lower() for text in _texts(rows[i]))]


def test_hostile_words_are_found_and_do_nothing(browser: Any, hostile_folder: Path, tmp_path: Path) -> None:
    open_page(browser, build_report([hostile_folder], tmp_path / "report.html").as_uri(), "episodes")
    _search(browser, "</script><script>window.pwned=1</script>")
    assert int(find(browser, "#count").get_attribute("data-count")) > 0
    assert browser.execute_script("return window.pwned") is None and errors(browser) == []


def _value(row: Row, key: str) -> float:
    if key == "return":
        return round(row["env_return"] - row["penalty"], 4)
    if key == "surprise":
        logps = [p for context in row["contexts"] for p in context["logps"]]
        return round(-math.fsum(logps) / len(logps), 4)
    return float(row[key])


@pytest.mark.parametrize("key", ["return", "surprise", "env_steps"])
@pytest.mark.parametrize("sign", [1, -1])
def test_episodes_are_sorted(browser: Any, page: str, rows: list[Row], key: str, sign: int) -> None:
    open_page(browser, page, f"episodes?sort={'-' if sign < 0 else ''}{key}")
    values = [_value(rows[place], key) for place in _marks(browser)]
    assert len(values) == len(rows) and len(set(values)) > 3
    assert values == pytest.approx(sorted(values, key=lambda v: sign * v), abs=2e-4)


def test_the_latest_iteration_can_stand_first(browser: Any, page: str) -> None:
    open_page(browser, page, "episodes?sort=-iteration")
    lines = [node.text for node in find_all(browser, ".groups .where")]
    iterations = [int(text.split()[1]) for text in lines]
    assert iterations == sorted(iterations, reverse=True) and len(set(iterations)) > 2


def test_an_endpoint_told_no_probabilities_and_stands_last(
    browser: Any, run_folder: Path, rows: list[Row], tmp_path: Path
) -> None:
    (tmp_path / CONFIG).write_bytes((run_folder / CONFIG).read_bytes())
    silent = {**rows[0], "contexts": [{"ids": [], "sampled": [], "logps": []}] * len(rows[0]["contexts"])}
    (tmp_path / EPISODES).write_text("".join(json.dumps(row) + "\n" for row in (silent, *rows[1:4])))
    for sort in ("surprise", "-surprise"):
        url = build_report([tmp_path], tmp_path / "report.html").as_uri()
        open_page(browser, url, f"episodes?sort={sort}")
        assert _marks(browser)[-1] == 0


def _chart(browser: Any, title: str) -> Any:
    return next(f for f in find_all(browser, "figure") if f.text.startswith(title))


def test_a_click_on_a_curve_opens_the_episodes_behind_it(browser: Any, page: str, rows: list[Row]) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    open_page(browser, page, "run")
    picture = _chart(browser, "Turns an episode").find_element("css selector", "svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    dot = picture.find_element("css selector", "path.dot")  # the evaluation before training
    webdriver.ActionChains(browser).move_to_element(dot).click().perform()
    wait(lambda: "episodes?" in browser.current_url)
    assert browser.current_url.endswith("#episodes?iteration=0&phase=eval&split=val")
    wait(lambda: len(find_all(browser, "#count")) == 1)
    assert _marks(browser) == [i for i, r in enumerate(rows) if r["phase"] == "eval" and r["iteration"] == 0]


def test_keys_open_the_episodes_behind_a_point(browser: Any, page: str, rows: list[Row]) -> None:
    open_page(browser, page, "run")
    figure = _chart(browser, "Success")
    picture = figure.find_element("css selector", "svg")
    browser.execute_script("arguments[0].focus()", picture)
    picture.send_keys("\ue012")  # arrow left: the last iteration
    parts = figure.find_elements("css selector", ".reading a")
    assert len(parts) == 3 and figure.text.count("iteration 2:") == 1
    place = next(i for i, part in enumerate(parts) if part.text.startswith("phase B"))
    for _ in range(place):
        picture.send_keys("\ue015")  # arrow down
    assert "phase B" in figure.find_element("css selector", ".reading .chosen").text
    picture.send_keys("\ue007")  # enter
    wait(lambda: browser.current_url.endswith("#episodes?iteration=2&phase=executor"))
    wait(lambda: len(find_all(browser, "#count")) == 1)
    wanted = [i for i, r in enumerate(rows) if r["phase"] == "executor" and r["iteration"] == 2]
    assert _marks(browser) == wanted


def test_a_point_without_kept_episodes_leads_nowhere(browser: Any, run_folder: Path, tmp_path: Path) -> None:
    for name in (CONFIG, METRICS):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    open_page(browser, build_report([tmp_path], tmp_path / "report.html").as_uri(), "run")
    picture = find(browser, ".chart svg")
    browser.execute_script("arguments[0].focus()", picture)
    picture.send_keys("\ue012", "\ue007")
    assert find(browser, ".chart .reading").text.startswith("iteration 2:")
    assert not find_all(browser, ".chart .reading a") and "#run" in browser.current_url


def _metrics(folder: Path, name: str, told: list[Row], config: Path) -> Path:
    made = folder / name
    made.mkdir()
    text = (
        config.read_text()
        .replace("seed = 0", f"seed = {name[-1]}", 1)
        .replace('name = ""', f'name = "{name}"', 1)
    )
    (made / CONFIG).write_text(text)
    (made / METRICS).write_text("".join(json.dumps(row) + "\n" for row in told))
    return made


def _phase(iteration: int, success: float, steps: float) -> Row:
    return {
        "iteration": iteration, "phase": "flat", "episodes": 10, "success": success, "success_low": success / 2,
        "success_high": min(1.0, success * 2), "return": 1.0, "turns": 4.0, "env_steps": steps, "tokens": 20.0,
        "collect_s": 5.0, "learn_s": 1.0, "generate_s": 3.0, "env_s": 1.0,
    }  # fmt: skip


def _evaluation(iteration: int, split: str, success: float, steps: int) -> Row:
    return {
        "iteration": iteration, "phase": "eval", "split": split, "episodes": 4, "success": success, "success_low": 0.1,
        "success_high": 0.9, "return": 1.0, "turns": 4.0, "env_steps": 5.0, "tokens": 20.0, "seconds": 4.0,
        "total_env_steps": steps, "total_tokens": 10 * steps,
    }  # fmt: skip


@pytest.fixture(scope="module")
def seeds(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds, of which one has come less far; known numbers."""
    root = tmp_path_factory.mktemp("seeds")
    made = []
    for seed, last in ((0, 3), (1, 3), (2, 2)):
        told = [_evaluation(0, "val", 0.1 * seed, 0), _evaluation(0, "test", 0.1 * seed, 0)]
        for iteration in range(1, last + 1):
            told.append(_phase(iteration, 0.1 * iteration + 0.1 * seed, 10.0))
            told.append(
                _evaluation(iteration, "val", 0.2 * iteration + 0.1 * seed, 80 * iteration + 10 * seed)
            )
        made.append(_metrics(root, f"run-{seed}", told, run_folder / CONFIG))
    return made


def _read_out(browser: Any, title: str, arrows: int) -> str:
    figure = _chart(browser, title)
    picture = figure.find_element("css selector", "svg")
    browser.execute_script("arguments[0].focus()", picture)
    for _ in range(arrows):
        picture.send_keys("\ue012")
    return str(figure.find_element("css selector", ".reading").text)


def test_a_mean_over_seeds_goes_as_far_as_all_have_come(
    browser: Any, seeds: list[Path], tmp_path: Path
) -> None:
    open_page(browser, build_report(seeds, tmp_path / "report.html").as_uri(), "run")
    said = _read_out(browser, "Success", 1)
    assert said == "iteration 2: run-0, evaluation on val 50.0 % [40.0 %, 60.0 %]"
    assert "from the lowest to the highest" in find(browser, "main").text
    assert find_all(browser, ".chart .band")


def test_curves_are_drawn_over_what_the_metrics_hold(browser: Any, seeds: list[Path], tmp_path: Path) -> None:
    open_page(browser, build_report(seeds[:1], tmp_path / "report.html").as_uri(), "run")
    script = "const s = document.querySelector('[data-axis] select'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))"
    options = [node.get_attribute("value") for node in find_all(browser, "[data-axis] option")]
    assert options == ["iteration", "env_steps", "tokens", "time"]
    for axis, says, label in (
        ("env_steps", "240 environment steps:", "environment steps of training"),
        ("tokens", "2,400 generated tokens:", "tokens generated in training"),
        ("time", "38 s:", "time of iterations and evaluations, s"),
        ("iteration", "iteration 3:", "iteration"),
    ):
        browser.execute_script(script, axis)
        assert _read_out(browser, "Success", 1).startswith(says)
        names = _chart(browser, "Success").find_elements("css selector", ".names text")
        assert [node.get_attribute("textContent") for node in names] == [label, "share of episodes"]
    assert all(len(f.find_elements("css selector", ".names text")) == 2 for f in find_all(browser, "figure"))


def test_two_splits_have_strokes_of_their_own(browser: Any, seeds: list[Path], tmp_path: Path) -> None:
    rows = [*read_rows(seeds[0] / METRICS), *(_evaluation(i, "test", 0.3, 80 * i) for i in (1, 2))]
    folder = _metrics(tmp_path, "two-0", rows, seeds[0] / CONFIG)
    open_page(browser, build_report([folder], tmp_path / "report.html").as_uri(), "run")
    strokes = """return [...document.querySelector('.chart svg').querySelectorAll('g')]
      .filter((g) => g.querySelector('.whisker'))
      .map((g) => [g.querySelector('.line').getAttribute('stroke-dasharray'), g.querySelector('.dot').getAttribute('d')])"""
    (first, second) = browser.execute_script(strokes)
    assert first[0] != second[0] and first[1] != second[1]


def test_advantage_bars_have_one_scale_that_is_told(browser: Any, page: str, rows: list[Row]) -> None:
    means = [
        sum(told) / len(told)
        for row in rows
        if (told := [a for a in row["advantages"] or [] if a is not None])
    ]
    most = max(map(abs, means))
    open_page(browser, page, "group/0/6")
    notes = [node.text for node in find_all(browser, "section > .note")]
    assert len(notes) == 2 and all("largest advantage of any episode" in note for note in notes)
    told = float(notes[0].split("±")[1].split(",")[0])
    assert told == pytest.approx(most, rel=6e-3)
    for bar in find_all(browser, ".adv"):
        value = float(bar.text.replace("advantage ", "").replace("−", "-"))
        wide = float(
            bar.find_element("css selector", "i").get_attribute("style").split("width: ")[1].split("%")[0]
        )
        assert wide == pytest.approx(50 * abs(value) / most, abs=0.5)


def test_time_says_how_long_the_warm_start_took_or_that_it_is_not_known(
    browser: Any, page: str, seeds: list[Path], tmp_path: Path
) -> None:
    open_page(browser, page, "run")  # it has a start of its own
    assert "warm start not counted" in find(browser, ".facts").text
    open_page(browser, build_report(seeds[:1], tmp_path / "report.html").as_uri(), "run")
    assert "warm start" not in find(browser, ".facts").text
    timed = tmp_path / "timed"
    shutil.copytree(seeds[0], timed)
    (timed / START).mkdir()
    (timed / MACHINE).write_text('{"warm_start_s": 75.2}', encoding="utf-8")
    open_page(browser, build_report([timed], tmp_path / "timed.html").as_uri(), "run")
    facts = find(browser, ".facts").text
    assert "time of the warm start before them" in facts and "not counted" not in facts
    assert re.search(r"warm start before them\s+75 s", facts)
    assert "warm start" in find(browser, "[role=img][aria-label*='warm start']").get_attribute("aria-label")


def test_what_is_searched_is_kept_once(run_folder: Path, rows: list[Row]) -> None:
    _, packed = sample_episodes(run_folder, 5000, 8_000_000)
    said = json.loads(gzip.decompress(b64decode(packed["texts"])))
    assert len(said["texts"]) == len(set(said["texts"]))
    found = [["" if place < 0 else said["texts"][place] for place in row] for row in said["rows"]]
    assert found == [_texts(row) for row in rows]


def test_seeds_are_told_from_settings_and_from_twins(run_folder: Path, tmp_path: Path) -> None:
    config = run_folder / CONFIG
    folders = [_metrics(tmp_path, name, [], config) for name in ("a-0", "a-1", "b-1")]
    other = _metrics(tmp_path, "c-2", [], config)
    (other / CONFIG).write_text((other / CONFIG).read_text().replace("max_steps = 10", "max_steps = 11"))
    assert group_seeds([*folders, other]) == [[0, 1], [2], [3]]


def test_a_folder_of_runs_is_reported_and_drawn(
    seeds: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    holder = seeds[0].parent
    assert main(["report", str(holder)]) == 0 and main(["plot", str(holder)]) == 0
    told = capsys.readouterr().out
    assert str(holder / "report.html") in told and str(holder / "seeds.svg") in told
    text = (holder / "seeds.svg").read_text()
    assert "3 seeds of run-0 (val): mean, lowest to highest" in text
    assert text.count("environment steps") == 0 and text.count("iteration") >= 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "80"], "--port is of --serve"),
        (["--serve", "--out", "x.html"], "--serve writes no file"),
        (["--episodes", "0"], "--episodes must be at least 1"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(
    run_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["report", str(run_folder), *words]) == 2
    assert message in capsys.readouterr().err
