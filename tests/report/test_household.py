"""ALFWorld in the page: the panel says at each step where the agent stands, what is where, what it carries.

What it says comes from the recorded sentences alone; here it is compared with the world itself, played again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from driving import errors, find, open_page, wait, width_of
from scripted import HOUSEHOLD

from himac.envs.alfworld.world import World
from himac.envs.base import make_env
from himac.report.page import build_report
from himac.runs.folder import CONFIG, EPISODES, read_rows
from himac.types import Task

READ = """
const text = (css) => document.querySelector(css)?.textContent ?? null;
return { here: text('.house .here'), held: text('.house .held'), label: text('.stage .label'),
  places: [...document.querySelectorAll('.house .places li')].map((li) => ({ name: li.dataset.place, now: li.className,
    state: li.dataset.state ?? '', things: li.dataset.things ?? null, part: 'part' in li.dataset })) };
"""


@pytest.fixture(scope="module")
def page(household_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_report([household_folder], tmp_path_factory.mktemp("page") / "report.html").as_uri()


def _names(text: str | None) -> set[str]:
    return set(filter(None, (text or "").split(", ")))


def _truth(world: World) -> dict[str, Any]:
    game = world.game
    states = {"hot": "hot", "cool": "cold", "clean": "clean", "sliced": "sliced", "on": "on"}
    held = game.objects[world.held] if world.held >= 0 else "nothing"
    traits = {shown for state, shown in states.items() if world.held in world.states[state]}
    return {
        "here": {game.receptacles[r] for r in game.here[world.at]},
        "held": held,
        "traits": traits if world.held >= 0 else set(),
        "inside": {
            name: {game.objects[o] for o in world.inside[r]} for r, name in enumerate(game.receptacles)
        },
        "open": {game.receptacles[r] for r in world.opened},
        "openable": {game.receptacles[r] for r in game.openable},
    }


def test_the_panel_is_the_world_as_far_as_it_was_seen(
    browser: Any, page: str, household_folder: Path
) -> None:
    env = make_env("alfworld", **HOUSEHOLD)
    rows = list(read_rows(household_folder / EPISODES))
    compared = opened = carried = changed = 0
    for place in (0, 2, 4):
        row = rows[place]
        env.reset(Task(**row["task"]))
        world = env._world
        open_page(browser, page, f"episode/0/{place}")
        turns = [t for s in row["segments"] for t in s["turns"] if t["action"] is not None]
        assert len(turns) >= 20
        for number, turn in enumerate([None, *turns]):
            if turn:
                env.step(turn["action"])
                browser.execute_script("document.querySelector('#forth').click()")
            shown, true = browser.execute_script(READ), _truth(world)
            assert (f"step {number} of {len(turns)}" if turn else "the start") in shown["label"]
            if shown["here"] == "the middle of the room":
                assert not true["here"]
            else:
                assert _names(shown["here"]) <= true["here"], (place, number)
            held, _, traits = shown["held"].partition(" (")
            assert held == true["held"], (place, number)
            assert _names(traits.rstrip(")")) == true["traits"], (place, number)
            carried += held != "nothing"
            changed += bool(traits)
            for spot in shown["places"]:
                name, inside = spot["name"], true["inside"][spot["name"]]
                assert (spot["state"] == "") or (name in true["openable"]), spot
                if spot["state"]:
                    assert (spot["state"] == "open") == (name in true["open"]), (place, number, spot)
                    opened += spot["state"] == "open"
                if spot["things"] is not None and not spot["part"]:
                    assert _names(spot["things"]) == inside, (place, number, spot)
                    compared += 1
                elif spot["part"]:
                    assert _names(spot["things"]) <= inside
            arrived = (
                (turn or {}).get("action", "").removeprefix("go to ") if turn and turn["admissible"] else ""
            )
            if arrived in true["inside"] and (arrived not in true["openable"] or arrived in true["open"]):
                spot = next(s for s in shown["places"] if s["name"] == arrived)
                assert not spot["part"] and spot["things"] is not None and spot["now"] == "now"
    assert compared > 300 and opened > 20 and carried > 20 and changed > 0, (
        compared,
        opened,
        carried,
        changed,
    )
    assert errors(browser) == []


def test_stepping_back_forgets_what_was_not_yet_seen(browser: Any, page: str) -> None:
    open_page(browser, page, "episode/0/0")
    start = browser.execute_script(READ)
    assert (start["here"], start["held"], start["places"]) == ("the middle of the room", "nothing", [])
    assert find(browser, ".house .unseen").text.startswith("not visited: ")
    assert find(browser, ".house .goal").text
    for _ in range(9):
        browser.execute_script("document.querySelector('#forth').click()")
    assert browser.execute_script(READ)["places"]
    for _ in range(9):
        find(browser, "body").send_keys("\ue012")  # arrow left
    assert browser.execute_script(READ) == start


def test_the_older_games_sentences_are_read_too(browser: Any, household_folder: Path, tmp_path: Path) -> None:
    """Text of ALFWorld 0.2.2: "You arrive at loc 12", "You put the mug 1 in/on the desk 1"."""
    said = [
        ("go to desk 1", "You arrive at loc 12. On the desk 1, you see a mug 2, and a pen 1."),
        ("take mug 2 from desk 1", "You pick up the mug 2 from the desk 1."),
        ("go to microwave 1", "You arrive at loc 3. The microwave 1 is closed."),
        ("heat mug 2 with microwave 1", "You heat the mug 2 using the microwave 1."),
        ("go to shelf 10", "You arrive at loc 4. On the shelf 10, you see nothing."),
        ("put mug 2 in/on shelf 10", "You put the mug 2 in/on the shelf 10."),
    ]
    room = "You are in the middle of a room. Looking quickly around you, you see a desk 1, a microwave 1, and a shelf 10."
    evil = "put a hot mug in <img src=x onerror=window.pwned=1>shelf."
    told = f"-= Welcome to TextWorld, ALFRED! =-\n\n{room}\n\nYour task is to: {evil}"
    open_page(browser, _report_of(household_folder, tmp_path, told, said), "episode/0/0")
    for _ in said:
        browser.execute_script("document.querySelector('#forth').click()")
    shown = browser.execute_script(READ)
    assert shown["here"] == "shelf 10" and shown["held"] == "nothing"
    assert [(s["name"], s["state"], s["things"]) for s in shown["places"]] == [
        ("desk 1", "", "pen 1"),
        ("microwave 1", "closed", None),
        ("shelf 10", "", "mug 2"),
    ]
    assert "mug 2 (hot)" in find(browser, ".house .places").text
    assert (
        find(browser, ".house .goal").text == evil and browser.execute_script("return window.pwned") is None
    )


def _report_of(like: Path, folder: Path, told: str, said: list[tuple[str, str]]) -> str:
    """Return the report of a run whose one episode was told this and heard these answers."""
    row = next(iter(read_rows(like / EPISODES)))
    segment = row["segments"][0]
    turns = [
        {**segment["turns"][0], "action": action, "observation": answer, "text": action, "sub_done": False}
        for action, answer in said
    ]
    row |= {"instruction": told, "segments": [{**segment, "turns": turns}]}
    (folder / CONFIG).write_text((like / CONFIG).read_text())
    (folder / EPISODES).write_text(json.dumps(row) + "\n")
    return build_report([folder], folder / "report.html").as_uri()


def test_the_panel_fits_a_telephone(browser: Any, page: str) -> None:
    with width_of(browser, 390):
        open_page(browser, page, "episode/0/0")
        for _ in range(12):
            browser.execute_script("document.querySelector('#forth').click()")
        wait(lambda: bool(browser.execute_script("return document.querySelectorAll('.places li').length")))
        wide = "return [document.querySelector('main'), ...document.querySelectorAll('.house, .places li')].map((n) => n.scrollWidth - n.clientWidth)"
        assert max(browser.execute_script(wide)) <= 0
