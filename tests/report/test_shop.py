"""WebShop in the page: the goal, what can be pressed, products and prices, what was bought; in both notations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driving import errors, open_page
from scripted import buyer, write_run

from himac.envs.base import make_env
from himac.report.page import build_report
from himac.runs.folder import EPISODES, read_rows
from himac.types import Task

SETTINGS = {"generated": 200, "num_types": 6}
READ = """
const all = (css) => [...document.querySelectorAll('.shop ' + css)].map((n) => n.textContent);
return { goal: all('.goal'), pressed: all('.chip.button, .chip.chosen'), chosen: all('.chip.chosen'), text: all('p, dd'),
  products: [...document.querySelectorAll('.shop .product')].map((p) => [...p.children].map((n) => n.textContent)) };
"""


@pytest.mark.parametrize("mode", ["text", "text_rich"])
def test_the_page_shows_what_the_shop_offers(browser: Any, tmp_path: Path, mode: str) -> None:
    words = (*(f"env.{key}={value}" for key, value in SETTINGS.items()), f"env.observation={mode}")
    folder = write_run(
        tmp_path / "webshop",
        env=("env.name=webshop", *words, "agent.max_steps=12"),
        iterations=1,
        model=buyer(3),
    )
    page = build_report([folder], tmp_path / "report.html").as_uri()
    env = make_env("webshop", **SETTINGS, observation=mode)
    listed = offered = bought = chosen = 0
    for place, row in enumerate(read_rows(folder / EPISODES)):
        if place % 3 != 1:
            continue
        observation = env.reset(Task(**row["task"]))
        open_page(browser, page, f"episode/0/{place}")
        turns = [t for s in row["segments"] for t in s["turns"] if t["action"] is not None]
        for turn in [None, *turns]:
            if turn:
                observation = env.step(turn["action"]).observation
                browser.execute_script("document.querySelector('#forth').click()")
            shown = browser.execute_script(READ)
            assert len(shown["goal"]) == 1 and shown["goal"][0].lower() in row["instruction"].lower()
            if observation.text.startswith("Thank you"):
                assert float(shown["text"][-1]) == pytest.approx(row["score"], abs=5e-3)
                bought += 1
                continue
            clicks = [
                c.removeprefix("click[").removesuffix("]")
                for c in observation.admissible
                if c.startswith("click[")
            ]
            pressed = {text.lower() for text in shown["pressed"]}
            if mode == "text_rich":
                assert pressed == set(clicks), turn
                offered += 1
            else:
                assert pressed <= set(clicks), turn
            chosen += len(shown["chosen"])
            if "Total results" in observation.text:
                assert [p[0].lower() for p in shown["products"]] == [
                    c for c in clicks if not c.startswith(("back", "next", "<"))
                ]
                assert all(title and price.startswith("$") for _, title, price in shown["products"])
                listed += 1
    assert listed >= 5 and bought >= 1, (listed, bought)
    assert mode == "text" or (offered >= 20 and chosen >= 1), (offered, chosen)
    assert errors(browser) == []
