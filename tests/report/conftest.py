"""Runs to report on, and a browser to open the report with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted import HOUSEHOLD, buyer, resident, write_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "sokoban")


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "hostile<b>", hostile=True)


@pytest.fixture(scope="session")
def words_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same play as in `run_folder`, told in words: the model never sees a board."""
    env = ("env=sokoban", "env.size=[6,6]", "env.boxes=1", "env.observation=words")
    return write_run(tmp_path_factory.mktemp("runs") / "words", env=env)


@pytest.fixture(scope="session")
def household_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in ALFWorld, in the world that `HOUSEHOLD` makes."""
    words = [f"env.{key}={value}" for key, value in HOUSEHOLD.items()]
    env = ("env.name=alfworld", *words, "agent.max_steps=40", "agent.subgoal_turns=12")
    return write_run(tmp_path_factory.mktemp("runs") / "alfworld", env=env, iterations=1, model=resident(4))


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    env = ("env.name=webshop", "env.generated=200", "env.num_types=6", "env.observation=text_rich")
    return write_run(tmp_path_factory.mktemp("runs") / "webshop", env=env, iterations=1, model=buyer(3))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; tests that need it skip where it or selenium is absent."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver not found: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium drives the page")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()
